//! Text for a terminal: whether it may have colours, and untrusted text, whose control characters a terminal
//! would interpret.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::UNIX_EPOCH;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

/// Whether an output may have colours: it is a terminal, and NO_COLOR, CLICOLOR and TERM do not forbid them.
pub(crate) fn has_colours(output: &impl RawStream) -> bool {
    AutoStream::choice(output) != ColorChoice::Never
}

/// The time of day in UTC, as in the log: `14:03:22.518Z`.
pub(crate) fn now() -> String {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    let seconds = since.as_secs();
    let hours = seconds / 3_600 % 24;
    let minutes = seconds / 60 % 60;
    format!("{hours:02}:{minutes:02}:{:02}.{:03}Z", seconds % 60, since.subsec_millis())
}

/// Returns one line of text in which control characters are escaped: `\u{1b}[2J` does not clear the screen.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |out, c| write!(out, "{}", c.escape_unicode()))
}

/// Returns lines of text in which all other control characters are escaped.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Returns JSON in which the control characters are escaped that JSON itself allows, such as C1.
pub(crate) fn printable_json(json: &str) -> Cow<'_, str> {
    escaped(json, |out, c| write!(out, "\\u{:04x}", u32::from(c)))
}

fn escaped(text: &str, escape: impl Fn(&mut String, char) -> std::fmt::Result) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = if is_obeyed(c) { escape(&mut out, c) } else { out.write_char(c) };
    }
    out.into()
}

/// Whether a terminal interprets a character instead of showing it: C0, DEL, C1, and the marks that reverse
/// the direction of the text around them.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("olá 👋"), "olá 👋");
        assert_eq!(printable("\u{1b}[2J\u{7f}\u{9b}\r\n"), r"\u{1b}[2J\u{7f}\u{9b}\u{d}\u{a}");
        assert_eq!(printable("a\u{202e}b"), r"a\u{202e}b");
        assert_eq!(printable_lines("a\nb\u{7}"), "a\nb\\u{7}");
        assert_eq!(printable_json("{\"a\":\"\u{9b}\"}"), r#"{"a":"\u009b"}"#);
    }
}
