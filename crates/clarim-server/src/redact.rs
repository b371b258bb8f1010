//! Formats client messages for people, without the signatures in them.

use serde::de::IgnoredAny;

/// Maximum length of a message's text, in bytes.
const MAX_TEXT: usize = 4096;

/// Formats JSON in lines, without its signatures. Fields keep their order, and numbers and strings are as in
/// the text. Other text is escaped.
pub(crate) fn pretty(text: &str) -> String {
    let mut shown = String::new();
    if is_json(text) {
        write_lines(text, 0, &mut shown);
    } else {
        shown.extend(text.escape_debug());
    }
    if shown.len() > MAX_TEXT {
        shown.truncate(shown.floor_char_boundary(MAX_TEXT));
        shown.push_str("\n… cut");
    }
    // JSON allows the control characters of C1.
    printable(&shown)
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Escapes control characters other than line feeds: a terminal interprets them.
pub(crate) fn printable(text: &str) -> String {
    let is_obeyed = |c: char| c.is_control() && c != '\n';
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    shown
}

/// Writes valid JSON in lines. Hides signatures, which would let a reader join the channel. A string that is
/// JSON is written as JSON, both to be readable and because it may contain a signature.
fn write_lines(json: &str, mut depth: usize, shown: &mut String) {
    let mut rest = json.trim_start();
    let mut is_signature = false;
    // A longer text is cut.
    while let Some(first) = rest.chars().next()
        && shown.len() <= MAX_TEXT
    {
        let mut token = &rest[..token_length(rest)];
        rest = rest[token.len()..].trim_start();
        match first {
            '{' | '[' if rest.starts_with(['}', ']']) => {
                shown.extend([token, &rest[..1]]);
                rest = rest[1..].trim_start();
            }
            '{' | '[' => {
                depth += 1;
                shown.push_str(token);
                end_line(depth, shown);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                end_line(depth, shown);
                shown.push_str(token);
            }
            ',' => {
                shown.push_str(token);
                end_line(depth, shown);
            }
            ':' => shown.push_str(": "),
            '"' if rest.starts_with(':') => {
                is_signature = unquoted(token) == "auth";
                shown.push_str(token);
                continue;
            }
            '"' if is_signature => {
                token = "\"…\"";
                shown.push_str(token);
            }
            '"' => write_string(token, depth, shown),
            _ => shown.push_str(token),
        }
        is_signature &= first == ':';
    }
}

fn write_string(token: &str, depth: usize, shown: &mut String) {
    let inner = unquoted(token);
    if inner.starts_with(['{', '[']) && is_json(&inner) {
        write_lines(&inner, depth, shown);
    } else {
        shown.push_str(token);
    }
}

fn unquoted(token: &str) -> String {
    serde_json::from_str(token).unwrap_or_default()
}

fn end_line(depth: usize, shown: &mut String) {
    shown.push('\n');
    shown.extend(std::iter::repeat_n("  ", depth));
}

/// The length of the first token of valid JSON.
fn token_length(json: &str) -> usize {
    let mut is_escaped = false;
    let ends_string = |(_, byte): &(usize, u8)| {
        let ends = !is_escaped && *byte == b'"';
        is_escaped = !is_escaped && *byte == b'\\';
        ends
    };
    let ends_literal = |c: char| c.is_whitespace() || ",:]}".contains(c);
    match json.as_bytes() {
        [b'"', string @ ..] => {
            let end = string.iter().copied().enumerate().find(ends_string);
            end.map_or(json.len(), |(at, _)| at + 2)
        }
        [b'{' | b'}' | b'[' | b']' | b',' | b':', ..] => 1,
        _ => json.find(ends_literal).unwrap_or(json.len()).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_not_shown() {
        for text in [
            r#"{"event":"pusher:subscribe","data":{"channel":"private-x","auth":"key:5ec3e7"}}"#,
            r#"{"event":"pusher:subscribe","data":"{\"channel\":\"private-x\",\"auth\":\"key:5ec3e7\"}"}"#,
            r#"{"channel":"private-x","\u0061uth" : "key:5ec3e7"}"#,
        ] {
            let shown = pretty(text);
            assert!(shown.contains("private-x") && !shown.contains("5ec3e7"), "{shown}");
        }
    }

    #[test]
    fn fields_numbers_and_escapes_are_as_in_the_text() {
        let text = r#"{"z":1.50,"a":[],"b":{"10":12345678901234567890,"2":"\u00e9\"{"},"c":[ 1e3 , null,true]}"#;
        let shown = pretty(text);
        assert_eq!(
            shown,
            "{\n  \"z\": 1.50,\n  \"a\": [],\n  \"b\": {\n    \"10\": 12345678901234567890,\n    \"2\": \"\\u00e9\\\"{\"\n  },\n  \"c\": [\n    1e3,\n    null,\n    true\n  ]\n}"
        );
        let inner = pretty(r#"{"data":"{\"b\":1,\"a\":2}","text":"[no"}"#);
        assert_eq!(
            inner,
            "{\n  \"data\": {\n    \"b\": 1,\n    \"a\": 2\n  },\n  \"text\": \"[no\"\n}"
        );
        assert_eq!([pretty("7"), pretty(" \"a\" "), pretty("{ }")], ["7", "\"a\"", "{}"]);
    }

    #[test]
    fn text_that_is_not_json_cannot_control_the_terminal() {
        assert_eq!(pretty("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(pretty("\"\u{9b}2J\""), "\"\\u{9b}2J\"");
        assert_eq!(printable("a\r\nb"), "a\\u{d}\nb");
        assert!(pretty(&"é".repeat(5000)).ends_with("… cut"));
    }
}
