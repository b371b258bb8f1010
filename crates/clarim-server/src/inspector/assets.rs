//! The files of the page. Nothing else is loaded, so it works without the internet.

use crate::http::answer::{Answer, page_file};

/// Only what the page itself is made of; and nobody may put it into a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! files {
    ($($name:literal: $kind:expr),* $(,)?) => {
        /// Name below `/inspector`, kind, content.
        const FILES: &[(&str, &str, &str)] =
            &[$(($name, $kind, include_str!(concat!("../../inspector/", $name)))),*];
    };
}

files! {
    "index.html": HTML,
    "style.css": STYLE,
    "main.js": SCRIPT,
    "api.js": SCRIPT,
    "dom.js": SCRIPT,
    "words.js": SCRIPT,
    "overview.js": SCRIPT,
    "lists.js": SCRIPT,
    "events.js": SCRIPT,
    "vendor/uplot.js": SCRIPT,
    "vendor/uplot.css": STYLE,
    "vendor/LICENSE.uplot": TEXT,
}

pub(super) fn file(path: &[&str]) -> Option<Answer> {
    let name = if path.is_empty() { "index.html".to_owned() } else { path.join("/") };
    let (_, kind, content) = FILES.iter().find(|(known, ..)| *known == name)?;
    Some(page_file(kind, content, CONTENT_SECURITY_POLICY))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn all_files_together_have_less_than_150_kilobytes() {
        let sizes = FILES.iter().map(|(_, _, content)| {
            let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            zip.write_all(content.as_bytes()).unwrap();
            zip.finish().unwrap().len()
        });
        let size: usize = sizes.sum();
        assert!((1..150_000).contains(&size), "{size}");
    }

    #[test]
    fn what_comes_from_elsewhere_is_never_taken_for_markup() {
        let own =
            FILES.iter().filter(|(name, kind, _)| *kind == SCRIPT && !name.contains("vendor"));
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
