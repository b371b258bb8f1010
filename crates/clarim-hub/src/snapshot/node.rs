//! The records of a node.

use std::time::Duration;

use clarim_cluster::NodeId;
use clarim_cluster::snapshot::SavedTime;
use clarim_protocol::GapReason;
use serde::{Deserialize, Serialize};

use super::channel::SavedChannel;
use super::page::{SavedPage, SavedPages};

/// The state that workers and channels share. It comes before all other records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedNode {
    /// Number of workers.
    pub workers: u16,
    /// The node's time when the snapshot was made.
    pub now: SavedTime,
    /// The time of day at that moment, since 1970.
    pub wall: SavedTime,
    /// The node's id in its cluster.
    pub node_id: Option<NodeId>,
    /// The reading of the logical clock.
    pub(crate) clock: u64,
    /// The largest number of an event that was to be cached.
    pub(crate) last_number: u64,
    #[serde(default)]
    pub(crate) recoveries: SavedRecoveries,
    pub(crate) pages: SavedPages,
}

impl SavedNode {
    /// Returns the time to which the node's time has gone on. `wall`: the time of day, since 1970. The node's
    /// time goes on in the new process, where it is the time since the start of the first one.
    #[must_use]
    pub fn time_at(&self, wall: Duration) -> Duration {
        self.now.get() + wall.saturating_sub(self.wall.get())
    }
}

/// The counts of [`Recoveries`](crate::Recoveries).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SavedRecoveries {
    pub(crate) recovered: u64,
    pub(crate) replayed: u64,
    /// By reason.
    pub(crate) gaps: Vec<(GapReason, u64)>,
}

/// A part of what a node holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NodeRecord {
    /// A channel.
    Channel(Box<SavedChannel>),
    /// A page.
    Page(Box<SavedPage>),
}
