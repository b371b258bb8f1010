//! The record of the cluster side of a channel.

use serde::{Deserialize, Serialize};

use super::time::SavedTime;
use crate::node_id::NodeId;

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
    pub(crate) heard_at: SavedTime,
    #[serde(default)]
    pub(crate) requested_at: Option<SavedTime>,
}
