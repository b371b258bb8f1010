//! Formats client messages for people, without the signatures in them.

use serde_json::Value;

/// Maximum length of a message's text, in bytes.
const MAX_TEXT: usize = 4096;

/// Formats JSON in lines, without its signatures. Other text is escaped.
pub(crate) fn pretty(text: &str) -> String {
    let mut shown = match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            redact(&mut value);
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
        Err(_) => text.escape_debug().to_string(),
    };
    if shown.len() > MAX_TEXT {
        shown.truncate(shown.floor_char_boundary(MAX_TEXT));
        shown.push_str("\n… cut");
    }
    // JSON allows the control characters of C1.
    printable(&shown)
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

/// Hides signatures, which would let a reader join the channel. Data that is a string of JSON is parsed,
/// both to be readable and because it may contain a signature.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if name == "auth" && field.is_string() {
                    *field = Value::from("…");
                } else {
                    parse_inner(field);
                    redact(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn parse_inner(field: &mut Value) {
    if let Value::String(text) = field
        && text.starts_with(['{', '['])
        && let Ok(inner) = serde_json::from_str(text)
    {
        *field = inner;
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
        ] {
            let shown = pretty(text);
            assert!(shown.contains("private-x") && !shown.contains("5ec3e7"), "{shown}");
        }
    }

    #[test]
    fn text_that_is_not_json_cannot_control_the_terminal() {
        assert_eq!(pretty("\u{1b}[2J"), "\\u{1b}[2J");
        assert_eq!(pretty("\"\u{9b}2J\""), "\"\\u{9b}2J\"");
        assert_eq!(printable("a\r\nb"), "a\\u{d}\nb");
        assert!(pretty(&"é".repeat(5000)).ends_with("… cut"));
    }
}
