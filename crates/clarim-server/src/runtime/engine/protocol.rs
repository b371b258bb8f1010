//! The protocols that an engine can speak.

use std::fmt::Debug;

use clarim_hub::{ConnectionId, Sockets as _};
use clarim_protocol::Code;
use clarim_protocol::websocket::Message;

use super::Engine;

/// The handling of client messages by an engine.
pub(crate) trait Protocol: Debug + Sized {
    /// Whether a new connection is greeted with `connection_established`.
    const HAS_GREETING: bool;

    /// Handles a text message, or a binary one that is text.
    fn receive(engine: &mut Engine<Self>, id: ConnectionId, message: &Message<'_>);
}

/// The Pusher protocol: messages go to the hub.
#[derive(Debug)]
pub(crate) enum Pusher {}

impl Protocol for Pusher {
    const HAS_GREETING: bool = true;

    fn receive(engine: &mut Engine<Self>, id: ConnectionId, message: &Message<'_>) {
        match message {
            Message::Text(text) => engine.receive_text(id, text),
            Message::Binary(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => engine.receive_text(id, text),
                Err(_) => engine.sockets.close(id, Code::INVALID_TEXT, "not UTF-8"),
            },
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
}
