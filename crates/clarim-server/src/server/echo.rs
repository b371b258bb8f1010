//! An echo server in place of the Pusher protocol, for Autobahn's test suite.

use clarim_hub::ConnectionId;
use clarim_protocol::Frame;
use clarim_protocol::websocket::Message;

use crate::runtime::{Engine, Protocol};

/// The app whose WebSocket has the root path, which Autobahn's client connects to.
pub(super) const ROOT_APP: Option<&str> = Some("echo");

/// Sends each message back.
#[derive(Debug)]
pub(super) enum ServedProtocol {}

impl Protocol for ServedProtocol {
    const HAS_GREETING: bool = false;

    fn receive(engine: &mut Engine<Self>, id: ConnectionId, message: &Message<'_>) {
        match message {
            Message::Text(text) => engine.send(id, Frame::text(text.as_bytes())),
            Message::Binary(bytes) => engine.send(id, Frame::binary(bytes)),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => {}
        }
    }
}
