//! What the built-in pages have in common: colours, components and the mark. The demo uses the same files.

use super::response::{ApiResponse, page_file};

/// Name, content type, content.
pub(crate) const FILES: &[(&str, &str, &str)] = &[
    ("tokens.css", "text/css; charset=utf-8", include_str!("../../design/tokens.css")),
    ("components.css", "text/css; charset=utf-8", include_str!("../../design/components.css")),
    ("theme.js", "text/javascript; charset=utf-8", include_str!("../../design/theme.js")),
    ("mark.svg", "image/svg+xml", include_str!("../../design/mark.svg")),
];

/// Returns a file below `design/` of a page with this Content-Security-Policy.
pub(crate) fn file(name: &str, policy: &'static str) -> Option<ApiResponse> {
    let (_, kind, content) = FILES.iter().find(|(known, ..)| *known == name)?;
    Some(page_file(kind, content, policy))
}
