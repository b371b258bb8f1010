//! The records of pages.

use clarim_cluster::snapshot::SavedTime;
use clarim_protocol::{Position, SocketId};
use serde::{Deserialize, Serialize};

/// The state of the registry of pages, without the pages.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPages {
    /// The keys of the hash by which pages are known.
    pub(crate) keys: [u64; 2],
    /// By app: until when a page may come back that was forgotten for lack of room.
    #[serde(default)]
    pub(crate) forgotten_until: Vec<(String, SavedTime)>,
}

/// A page. Its open connections refer to it: see [`SavedPageLink`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPage {
    /// The id of its app.
    pub app: String,
    /// A keyed hash of its id.
    pub(crate) key: u64,
    /// When it expires, in whole seconds; `None` if it has a live connection.
    #[serde(default)]
    pub(crate) expires: Option<u32>,
    pub(crate) socket_id: SocketId,
    pub(crate) positions: Vec<SavedPosition>,
    /// The ids of former connections, if they were others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former: Vec<SocketId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) twins: Option<SavedTwins>,
    #[serde(default)]
    pub(crate) is_shared: bool,
    #[serde(default)]
    pub(crate) is_incomplete: bool,
}

/// The position of a page on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPosition {
    pub(crate) channel: String,
    pub(crate) position: Position,
}

/// Connections of a page id that are open at the same time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedTwins {
    pub(crate) replaced_at: SavedTime,
    pub(crate) positions: Vec<SavedPosition>,
}

/// The page of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPageLink {
    pub(crate) key: u64,
    pub(crate) role: SavedPageRole,
}

/// The relation of a connection to its page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SavedPageRole {
    /// It is the live connection of the page.
    Live(SavedLive),
    /// It was replaced, and may be of another tab.
    Twin,
    /// The page has forgotten it.
    Former,
}

/// A request to acknowledge what was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedRequest {
    pub(crate) at: SavedTime,
    pub(crate) positions: Vec<SavedPosition>,
}

/// The live connection of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedLive {
    /// Whether it has been sent something that the page has not been asked to acknowledge.
    pub(crate) is_behind: bool,
    /// The number of the last request.
    pub(crate) number: u32,
    /// The request that the page has not replied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<SavedRequest>,
}
