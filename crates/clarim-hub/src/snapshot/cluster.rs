//! The records of a node's part in its cluster.

use clarim_cluster::NodeId;
use clarim_cluster::snapshot::{SavedMembership, SavedTime};
use clarim_protocol::GapReason;
use serde::{Deserialize, Serialize};

/// A node's part in its cluster, without its channels.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedCluster {
    pub(crate) members: SavedMembership,
    /// The number of messages that the node has sent. No ticket is used twice.
    pub(crate) tickets: u64,
    /// The number of queries to all nodes.
    pub(crate) queries: u64,
    /// Whether the node has joined the cluster.
    pub(crate) is_joined: bool,
    /// The hand-over that the other nodes have prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hand_over: Option<SavedHandOver>,
    /// Whether events of others may have been missed since the bus was lost.
    #[serde(default)]
    pub(crate) is_gap_open: bool,
    /// Whether this node knew no others when it lost the bus.
    #[serde(default)]
    pub(crate) was_alone: bool,
    /// Whether events of this node may not have reached the others.
    #[serde(default)]
    pub(crate) has_unsent: bool,
    /// Whether external publishers have used the bus.
    #[serde(default)]
    pub(crate) has_publishers: bool,
    /// Channels whose history begins anew with what is being read of their log. Subscribers have not been
    /// notified yet.
    #[serde(default)]
    pub(crate) log_gaps: Vec<SavedLogGap>,
    #[serde(default)]
    pub(crate) invalid: u64,
    #[serde(default)]
    pub(crate) skipped: u64,
    #[serde(default)]
    pub(crate) lost: u64,
}

/// A hand-over that the other nodes have prepared.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SavedHandOver {
    /// The nodes that keep what they publish.
    pub(crate) ready: Vec<NodeId>,
    /// The messages of these nodes that have arrived all the same, by their ids.
    pub(crate) heard: Vec<u64>,
}

/// A gap in the history of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedLogGap {
    /// The id of its app.
    pub(crate) app: String,
    pub(crate) channel: String,
    pub(crate) reason: GapReason,
}

/// Users and subscribers of a channel that the node has reported as gone, while a lost node may return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedLoss {
    /// End of the time in which the lost nodes may return.
    pub(crate) until: SavedTime,
    /// Users, and the nodes that had them.
    pub(crate) users: Vec<(String, NodeId)>,
    /// The node whose loss left the channel without subscribers.
    #[serde(default)]
    pub(crate) vacated_by: Option<NodeId>,
}
