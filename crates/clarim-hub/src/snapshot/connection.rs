//! The records of a worker and its connections.

use clarim_cluster::snapshot::SavedTime;
use clarim_protocol::{Position, Since, SocketId};
use serde::{Deserialize, Serialize};

use super::page::SavedPageLink;

/// The state that the connections of a worker share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedWorker {
    /// When the last reconnect of all subscribers began.
    #[serde(default)]
    pub(crate) reconnect_at: Option<SavedTime>,
}

/// A connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedConnection {
    /// Its worker.
    pub worker: u16,
    /// Its slot in that worker.
    pub slot: u32,
    /// The id of its app.
    pub app: String,
    /// Its public id.
    pub socket_id: SocketId,
    /// When it was opened, in whole seconds.
    pub(crate) opened: u32,
    pub(crate) keepalive: SavedKeepalive,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<SavedRate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<SavedUser>,
    #[serde(default)]
    pub(crate) subscriptions: Vec<SavedSubscription>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pending: Vec<SavedPending>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) page: Option<SavedPageLink>,
}

/// The last sign of life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedKeepalive {
    /// In whole seconds.
    pub(crate) since: u32,
    pub(crate) is_pinged: bool,
    pub(crate) prefers_frames: bool,
    pub(crate) awaits_pong_frame: bool,
    pub(crate) is_authorized: bool,
}

/// A window of the rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedRate {
    pub(crate) began: SavedTime,
    pub(crate) messages: u32,
}

/// A user that has signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedUser {
    /// The user, as `channel_data`.
    pub(crate) member: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) watchlist: Vec<String>,
}

/// A subscription of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedSubscription {
    pub(crate) channel: String,
    /// On a presence channel: the connection's user, as `channel_data` without `user_info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
}

/// A subscription that waits until its channel is open. Only in a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPending {
    pub(crate) channel: String,
    /// On a presence channel: the member, as `channel_data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<SavedSince>,
    /// Former ids of the client's page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former: Vec<SocketId>,
}

/// The position from which a client asks for what it missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedSince {
    /// `None` if the client sent something else.
    pub(crate) position: Option<Position>,
    /// The client's former id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) socket_id: Option<SocketId>,
}

impl From<&Since> for SavedSince {
    fn from(since: &Since) -> Self {
        match *since {
            Since::Position { position, socket_id } => Self { position: Some(position), socket_id },
            Since::Invalid => Self { position: None, socket_id: None },
        }
    }
}

impl From<SavedSince> for Since {
    fn from(saved: SavedSince) -> Self {
        let SavedSince { position, socket_id } = saved;
        position.map_or(Self::Invalid, |position| Self::Position { position, socket_id })
    }
}
