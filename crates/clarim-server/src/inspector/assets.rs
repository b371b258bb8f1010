//! The files of the page. It loads nothing else, so it works without internet access.

use crate::http::design;
use crate::http::response::{ApiResponse, page_file};

/// Allows the page's own files alone, and forbids frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:expr),* $(,)?) => {
        /// Name below `/inspector`, content type, content.
        const FILES: &[(&str, &str, &str)] =
            &[$(($name, $kind, include_str!(concat!("../../inspector/", $name)))),*];
    };
}

files! {
    "index.html": HTML,
    "style.css": STYLE,
    "main.js": SCRIPT,
    "alerts.js": SCRIPT,
    "api.js": SCRIPT,
    "dom.js": SCRIPT,
    "words.js": SCRIPT,
    "overview.js": SCRIPT,
    "channels.js": SCRIPT,
    "lists.js": SCRIPT,
    "place.js": SCRIPT,
    "events.js": SCRIPT,
    "vendor/uplot.js": SCRIPT,
    "vendor/uplot.css": STYLE,
    "vendor/LICENSE.uplot": TEXT,
}

pub(super) fn file(path: &[&str]) -> Option<ApiResponse> {
    if let ["design", name] = path {
        return design::file(name, CONTENT_SECURITY_POLICY);
    }
    let name = if path.is_empty() { "index.html".to_owned() } else { path.join("/") };
    let (_, kind, content) = FILES.iter().find(|(known, ..)| *known == name)?;
    Some(page_file(kind, content, CONTENT_SECURITY_POLICY))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_page_has_less_than_150_kilobytes() {
        let sizes = FILES.iter().chain(design::FILES).map(|(_, _, content)| {
            let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            zip.write_all(content.as_bytes()).unwrap();
            zip.finish().unwrap().len()
        });
        let size: usize = sizes.sum();
        assert!((1..150_000).contains(&size), "{size}");
    }

    #[test]
    fn scripts_never_insert_markup_or_load_from_elsewhere() {
        let all = FILES.iter().chain(design::FILES);
        let own = all.filter(|(name, kind, _)| *kind == SCRIPT && !name.contains("vendor"));
        for (name, _, content) in own {
            for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("]
            {
                assert!(!content.contains(word), "{word} in {name}");
            }
            for word in ["http://", "https://", "//cdn"] {
                assert!(!content.contains(word), "{name} loads something from elsewhere");
            }
        }
    }
}
