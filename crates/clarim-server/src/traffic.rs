//! What `--debug` shows: connections and messages as they come and go.
//!
//! These are `tracing` events of one target at debug level, so they cost a comparison while nobody looks.

use clarim_hub::app::App;
use clarim_protocol::{Code, SocketId};
use serde_json::Value;

use crate::sockets::End;

/// Target of the `tracing` events that report connections and messages, at debug level. Their fields are
/// `title`, `subject` and, with several lines, `payload`.
pub const TARGET: &str = "clarim::traffic";

macro_rules! traffic {
    ($title:literal, $subject:expr $(, $payload:expr)?) => {
        tracing::debug!(target: TARGET, title = $title, subject = %$subject $(, payload = $payload)?)
    };
}

fn shown() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::DEBUG)
}

pub(crate) fn connected(app: &App, socket_id: SocketId) {
    traffic!("Connection Established", format_args!("{socket_id} (app {})", app.id));
}

pub(crate) fn received(socket_id: SocketId, text: &str) {
    if shown() {
        traffic!("Message Received", socket_id, pretty(text));
    }
}

pub(crate) fn handled(socket_id: SocketId) {
    traffic!("Message Handled", socket_id);
}

/// An event of a backend goes out; `data` is its JSON string literal.
pub(crate) fn broadcasting(channel: &str, event: &str, data: &str) {
    if shown() {
        let inner = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
        let payload = format!("{event}\n{}", pretty(&inner));
        traffic!("Broadcasting To", channel, payload);
    }
}

pub(crate) fn closing(app: &App, socket_id: SocketId, end: End) {
    match end {
        End::Slow => tracing::warn!(
            app = app.id,
            %socket_id,
            "connection closed: it reads too slowly and its outbox was full"
        ),
        End::Closed(Code::PONG_TIMEOUT) => traffic!("Connection Pruned", socket_id),
        End::Left => {}
        End::Closed(code) => traffic!("Connection Closing", format_args!("{socket_id} ({code})")),
    }
}

pub(crate) fn closed(app: &App, socket_id: SocketId) {
    traffic!("Connection Closed", format_args!("{socket_id} (app {})", app.id));
}

/// Longest text shown of one message.
const MAX_SHOWN: usize = 4096;

/// JSON in lines, without its signatures; anything else as it is.
pub(crate) fn pretty(text: &str) -> String {
    let mut shown = match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            redact(&mut value);
            serde_json::to_string_pretty(&value).unwrap_or_default()
        }
        Err(_) => text.escape_debug().to_string(),
    };
    if shown.len() > MAX_SHOWN {
        shown.truncate(shown.floor_char_boundary(MAX_SHOWN));
        shown.push_str("\n… cut");
    }
    shown
}

/// A signature admits whoever has it: it is shown to nobody. Data that is a string of JSON is opened, both
/// to be readable and because a signature may stand in it.
fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if name == "auth" && field.is_string() {
                    *field = Value::from("…");
                } else {
                    open(field);
                    redact(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

fn open(field: &mut Value) {
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
    fn what_is_no_json_cannot_write_on_the_terminal() {
        assert_eq!(pretty("\u{1b}[2J"), "\\u{1b}[2J");
        assert!(pretty(&"é".repeat(5000)).ends_with("… cut"));
    }
}
