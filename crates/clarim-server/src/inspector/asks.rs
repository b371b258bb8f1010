//! What a worker is asked about its connections, which nobody else can see.

use clarim_hub::{ChannelKey, ConnectionInfo};
use clarim_protocol::SocketId;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::origins::OriginId;

/// Connections in one answer.
pub(crate) const PAGE: usize = 100;

/// Names of channels shown of one connection.
const CHANNELS: usize = 50;

/// A question to a worker.
#[derive(Debug)]
pub(crate) enum Ask {
    /// What is known of some connections.
    Connections { which: Which, answer: oneshot::Sender<Page> },
    /// Close one. Whether it was there.
    Close { socket_id: SocketId, answer: oneshot::Sender<bool> },
}

#[derive(Debug, Clone)]
pub(crate) enum Which {
    /// With this id.
    One(SocketId),
    /// The first ones on a channel.
    On(ChannelKey),
    /// The next ones, at this place and after it, and how many at most.
    From(u32, usize),
}

#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) rows: Vec<Row>,
    /// There are more, from this place on.
    pub(crate) more: Option<u32>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Row {
    pub(super) facts: Value,
    pub(super) origin: OriginId,
}

impl Row {
    pub(crate) fn new(seen: &ConnectionInfo<'_>, (outbox, origin): (usize, OriginId)) -> Self {
        let facts = json!({
            "id": seen.socket_id,
            "app": seen.app.id,
            "age": seen.age.as_secs(),
            "user": seen.user,
            "outbox": outbox,
            "channels": seen.channels.iter().take(CHANNELS).collect::<Vec<_>>(),
            "channel_count": seen.channels.len(),
        });
        Self { facts, origin }
    }
}
