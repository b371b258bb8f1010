//! Messages of clients.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::position::Since;

/// A decoded message of a client.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// `pusher:subscribe`
    Subscribe(Subscribe),
    /// `pusher:unsubscribe`
    Unsubscribe {
        /// The channel.
        channel: String,
    },
    /// `pusher:ping`
    Ping,
    /// `pusher:pong`
    Pong,
    /// `pusher:signin`
    SignIn(SignIn),
    /// `client-…`: an event for the other subscribers.
    ClientEvent(ClientEvent<'a>),
}

/// The data of `pusher:subscribe`.
#[derive(Debug, Deserialize)]
pub struct Subscribe {
    /// The channel's name, not validated.
    pub channel: String,
    /// `key:signature`; pusher-js sends an empty one for public channels.
    #[serde(default)]
    pub auth: Option<String>,
    /// The member, as the JSON text that was signed.
    #[serde(default)]
    pub channel_data: Option<String>,
    /// On channels with history: the position from which the client asks for what it missed.
    #[serde(default)]
    pub since: Option<Since>,
}

/// The data of `pusher:signin`.
#[derive(Debug, Deserialize)]
pub struct SignIn {
    /// `key:signature`
    pub auth: String,
    /// The user, as the JSON text that was signed.
    pub user_data: String,
}

/// A client event (whisper).
#[derive(Debug)]
pub struct ClientEvent<'a> {
    /// Its name, `client-…`.
    pub event: Cow<'a, str>,
    /// The channel's name, not validated.
    pub channel: Cow<'a, str>,
    /// Any JSON.
    pub data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Decodes a message.
///
/// The data of `pusher:` messages may be an object or, as some SDKs send it, a string that contains one.
///
/// # Errors
/// If the message is invalid. The error is written for the client's developer.
///
/// ```
/// use clarim_protocol::client::{ClientFrame, decode};
///
/// let frame = decode(r#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#).unwrap();
/// assert!(matches!(frame, ClientFrame::Subscribe(s) if s.channel == "news"));
/// ```
pub fn decode(text: &str) -> Result<ClientFrame<'_>, DecodeError> {
    let envelope: Envelope<'_> =
        serde_json::from_str(text).map_err(|e| DecodeError::Json(e.to_string()))?;
    match envelope.event.as_ref() {
        "pusher:ping" => Ok(ClientFrame::Ping),
        "pusher:pong" => Ok(ClientFrame::Pong),
        "pusher:subscribe" => Ok(ClientFrame::Subscribe(data(&envelope)?)),
        "pusher:unsubscribe" => {
            #[derive(Deserialize)]
            struct Unsubscribe {
                channel: String,
            }
            let Unsubscribe { channel } = data(&envelope)?;
            Ok(ClientFrame::Unsubscribe { channel })
        }
        "pusher:signin" => Ok(ClientFrame::SignIn(data(&envelope)?)),
        name if name.starts_with("client-") => {
            let channel = envelope.channel.ok_or(DecodeError::NoChannel)?;
            let channel =
                serde_json::from_str(channel.get()).map_err(|_| DecodeError::NoChannel)?;
            Ok(ClientFrame::ClientEvent(ClientEvent {
                event: envelope.event,
                channel,
                data: envelope.data,
            }))
        }
        name => Err(DecodeError::UnknownEvent(shortened(name))),
    }
}

fn data<T: DeserializeOwned>(envelope: &Envelope<'_>) -> Result<T, DecodeError> {
    let raw = envelope.data.map_or("null", RawValue::get);
    let parsed = if raw.starts_with('"') {
        serde_json::from_str::<String>(raw).and_then(|inner| serde_json::from_str(&inner))
    } else {
        serde_json::from_str(raw)
    };
    parsed.map_err(|e| DecodeError::Data {
        event: envelope.event.clone().into_owned(),
        reason: e.to_string(),
    })
}

/// Shortens text of a client that is repeated in an error message.
fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The error of an invalid message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message is not a JSON object with a string `event`.
    #[error("Invalid message format: {0}")]
    Json(String),
    /// The data of a protocol event is invalid.
    #[error("Invalid message format: data of {event}: {reason}")]
    Data {
        /// The event's name.
        event: String,
        /// The reason.
        reason: String,
    },
    /// A client event has no channel.
    #[error("Invalid message format: a client event needs a channel, as text")]
    NoChannel,
    /// Clients cannot send this event.
    #[error(
        "Invalid message format: clients cannot send the event \"{0}\"; names of client events begin with client-"
    )]
    UnknownEvent(String),
}

impl DecodeError {
    /// Returns a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json(_) => "message_json",
            Self::Data { .. } => "message_data",
            Self::NoChannel => "message_channel_missing",
            Self::UnknownEvent(_) => "message_event_unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_may_be_an_object_or_a_string_that_contains_one() {
        for text in [
            r#"{"event":"pusher:subscribe","data":{"channel":"private-x","auth":"k:s","channel_data":"{}"}}"#,
            r#"{"event":"pusher:subscribe","data":"{\"channel\":\"private-x\",\"auth\":\"k:s\",\"channel_data\":\"{}\"}"}"#,
        ] {
            let ClientFrame::Subscribe(s) = decode(text).unwrap() else { panic!("{text}") };
            assert_eq!(
                (s.channel.as_str(), s.auth.as_deref(), s.channel_data.as_deref()),
                ("private-x", Some("k:s"), Some("{}"))
            );
        }
    }

    #[test]
    fn data_of_a_client_event_is_not_changed() {
        let text = r#"{"event":"client-move","channel":"private-x","data": { "x" : 1.0e2 } ,"user_id":"forged"}"#;
        let ClientFrame::ClientEvent(event) = decode(text).unwrap() else { panic!() };
        assert_eq!(event.data.unwrap().get(), r#"{ "x" : 1.0e2 }"#);
        let ClientFrame::ClientEvent(event) =
            decode(r#"{"event":"client-a","channel":"x"}"#).unwrap()
        else {
            panic!()
        };
        assert!(event.data.is_none());
    }

    #[test]
    fn wrong_types_are_rejected() {
        for text in [
            "",
            "null",
            "[]",
            "1",
            "{",
            "{}",
            r#"{"event":1}"#,
            r#"{"event":null}"#,
            r#"{"event":"pusher:subscribe"}"#,
            r#"{"event":"pusher:subscribe","data":null}"#,
            r#"{"event":"pusher:subscribe","data":"x"}"#,
            r#"{"event":"pusher:subscribe","data":[]}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":1}}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":"x","auth":1}}"#,
            r#"{"event":"pusher:subscribe","data":{"channel":"x","channel_data":{}}}"#,
            r#"{"event":"pusher:signin","data":{}}"#,
            r#"{"event":"client-x"}"#,
            r#"{"event":"client-x","channel":7}"#,
            r#"{"event":"pusher:what"}"#,
            r#"{"event":"x","channel":"y"}"#,
        ] {
            assert!(decode(text).is_err(), "{text}");
        }
        let deep = format!(
            r#"{{"event":"client-x","channel":"y","data":{}1{}}}"#,
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        let _ = decode(&deep);
    }
}
