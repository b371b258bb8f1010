//! The record of the other nodes.

use serde::{Deserialize, Serialize};

use super::time::SavedTime;
use crate::node_id::NodeId;
use crate::versions::Versions;

/// The other nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedMembership {
    pub(crate) peers: Vec<SavedPeer>,
    /// When the node last received its own message.
    pub(crate) heard_myself: SavedTime,
    /// Since when silence is evidence.
    pub(crate) spared: SavedTime,
}

impl SavedMembership {
    /// Returns the number of other nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.peers.len()
    }
}

/// Another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedPeer {
    pub(crate) node: NodeId,
    pub(crate) heard: SavedTime,
    /// When its last message was received.
    #[serde(default)]
    pub(crate) last_message: Option<SavedTime>,
    /// Whether it was heard from since the bus was last lost.
    pub(crate) is_back: bool,
    pub(crate) versions: Versions,
}
