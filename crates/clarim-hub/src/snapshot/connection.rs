//! The records of a worker and its connections.

use clarim_protocol::SocketId;
use serde::{Deserialize, Serialize};

use super::time::SavedTime;

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
