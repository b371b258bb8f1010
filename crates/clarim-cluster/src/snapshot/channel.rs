//! The record of the cluster side of a channel.

use serde::{Deserialize, Serialize};

use super::time::SavedTime;
use crate::node_id::{Departure, NodeId};

/// The cluster side of a channel, without pending subscriptions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedClusterChannel {
    pub(crate) is_open: bool,
    /// The version of this node's state.
    pub(crate) number: u64,
    pub(crate) next_publication: u32,
    pub(crate) announced: u32,
    pub(crate) confirmed: u32,
    #[serde(default)]
    pub(crate) left_at: Option<SavedTime>,
    /// The node that has a shadow of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backup: Option<NodeId>,
    /// Nodes whose request for the state has not been answered.
    #[serde(default)]
    pub(crate) unanswered: Vec<NodeId>,
    #[serde(default)]
    pub(crate) peers: Vec<SavedPeerState>,
}

/// The state of another node on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPeerState {
    pub(crate) node: NodeId,
    /// The version that is known; `None` if a change was missed.
    pub(crate) number: Option<u64>,
    pub(crate) subscriptions: u32,
    pub(crate) online: bool,
    /// When it was first heard of on the channel.
    #[serde(default)]
    pub(crate) since: SavedTime,
    pub(crate) heard_at: SavedTime,
    #[serde(default)]
    pub(crate) requested_at: Option<SavedTime>,
}

/// The state of another node that is alone on a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedShadow {
    pub(crate) node: NodeId,
    /// How the node has gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) departure: Option<Departure>,
    /// The version that is known; `None` if a change was missed.
    pub(crate) number: Option<u64>,
    pub(crate) subscriptions: u32,
    /// The ids of its users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) users: Vec<String>,
    pub(crate) heard_at: SavedTime,
}
