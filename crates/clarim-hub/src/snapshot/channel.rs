//! The record of a channel.

use bytes::Bytes;
use clarim_cluster::NodeId;
use clarim_cluster::snapshot::{SavedClusterChannel, SavedShadow, SavedTime};
use clarim_protocol::{Epoch, GapReason, SocketId};
use serde::{Deserialize, Serialize};

use super::cluster::SavedLoss;

/// What a channel holds beside its subscribers, and its shadows. Channels that hold nothing have no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedChannel {
    /// The id of its app.
    pub app: String,
    /// Its name.
    pub name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) members: Vec<SavedMember>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cached: Option<SavedEvent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) history: Option<SavedHistory>,
    /// When its number of subscribers was last sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) counted_at: Option<SavedTime>,
    /// Whether its number of subscribers is still to be sent.
    #[serde(default)]
    pub(crate) is_uncounted: bool,
    /// Whether its number of subscribers is still to be published to the other nodes.
    #[serde(default)]
    pub(crate) is_unannounced: bool,
    /// Whether the node has it only as a backup for another node.
    #[serde(default)]
    pub(crate) is_backup: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<SavedClusterChannel>,
    /// When it is closed, because nothing on the node needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) closes_at: Option<SavedTime>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) loss: Option<SavedLoss>,
    /// The states of other nodes for which the node is a backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) shadows: Vec<SavedShadow>,
}

impl SavedChannel {
    pub(crate) fn new(app: String, name: String) -> Self {
        Self {
            app,
            name,
            members: Vec::new(),
            cached: None,
            history: None,
            counted_at: None,
            is_uncounted: false,
            is_unannounced: false,
            is_backup: false,
            cluster: None,
            closes_at: None,
            loss: None,
            shadows: Vec::new(),
        }
    }

    /// Whether it holds nothing.
    pub(crate) fn is_empty(&self) -> bool {
        let empty = Self::new(String::new(), String::new());
        *self == Self { app: self.app.clone(), name: self.name.clone(), ..empty }
    }
}

/// A member of a presence channel. Connections to this node follow from the subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedMember {
    /// The member, as `channel_data`.
    pub(crate) data: String,
    /// The times at which connections that have broken leave.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) held: Vec<SavedTime>,
    /// Other nodes to which the user is connected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) elsewhere: Vec<NodeId>,
}

/// The last event of a cache channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedEvent {
    pub(crate) payload: Bytes,
    pub(crate) at: SavedTime,
    pub(crate) number: u64,
}

/// The history of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedHistory {
    pub(crate) epoch: Epoch,
    /// The offset of the last event.
    pub(crate) last: u64,
    /// Everything up to this offset is not kept any more.
    pub(crate) dropped: u64,
    pub(crate) reason: GapReason,
    /// Whether only the history keeps the channel.
    pub(crate) is_alone: bool,
    pub(crate) ttl: SavedTime,
    pub(crate) used: SavedTime,
    pub(crate) events: Vec<SavedHistoryEvent>,
}

/// An event of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedHistoryEvent {
    pub(crate) offset: u64,
    pub(crate) at: SavedTime,
    /// The connection that does not get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) except: Option<SocketId>,
    pub(crate) payload: Bytes,
}
