//! Losses: users and channels that a node has reported to the backend as gone because another node died. That
//! node may only have been partitioned, and return with all its clients.

use std::time::Duration;

use clarim_cluster::NodeId;
use hashbrown::HashMap;

use crate::snapshot::SavedLoss;

/// The reported losses of a channel, by the node that had what was lost.
#[derive(Debug)]
pub(crate) struct Loss {
    /// End of the time in which the lost nodes may return.
    pub(crate) until: Duration,
    users: HashMap<Box<str>, NodeId, foldhash::fast::RandomState>,
    /// The node whose loss left the channel without subscribers.
    vacated_by: Option<NodeId>,
}

impl Loss {
    pub(crate) fn new(until: Duration) -> Self {
        Self { until, users: HashMap::default(), vacated_by: None }
    }

    /// Returns what a snapshot keeps of it.
    pub(crate) fn save(&self) -> SavedLoss {
        let users = self.users.iter().map(|(id, node)| (id.to_string(), *node));
        let mut users: Vec<(String, NodeId)> = users.collect();
        users.sort_unstable();
        SavedLoss { until: self.until.into(), users, vacated_by: self.vacated_by }
    }

    pub(crate) fn restored(saved: SavedLoss) -> Self {
        let SavedLoss { until, users, vacated_by } = saved;
        let users = users.into_iter().map(|(id, node)| (id.into(), node)).collect();
        Self { until: until.get(), users, vacated_by }
    }

    /// Records that the leave of a user was reported.
    pub(crate) fn add_user(&mut self, id: Box<str>, node: NodeId) {
        self.users.insert(id, node);
    }

    /// Records that the channel was reported as vacated.
    pub(crate) fn vacate(&mut self, node: NodeId) {
        self.vacated_by = Some(node);
    }

    /// Takes a user who is a member again. Returns the node with whose loss the leave was reported.
    pub(crate) fn take_user(&mut self, id: &str) -> Option<NodeId> {
        self.users.remove(id)
    }

    /// Records that the channel has subscribers again. Returns the node with whose loss it was reported as
    /// vacated.
    pub(crate) fn occupy(&mut self) -> Option<NodeId> {
        self.vacated_by.take()
    }

    /// Forgets a node whose whole state is known again: what it does not have any more has left.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.users.retain(|_, lost_by| *lost_by != node);
        self.vacated_by.take_if(|lost_by| *lost_by == node);
    }

    /// Adds a later loss.
    pub(crate) fn extend(&mut self, later: Self) {
        self.until = later.until;
        self.users.extend(later.users);
        self.vacated_by = later.vacated_by.or(self.vacated_by);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty() && self.vacated_by.is_none()
    }
}
