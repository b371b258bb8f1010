//! The other nodes, each for as long as it is heard of.

use std::time::Duration;

use clarim_protocol::cluster::NodeId;
use hashbrown::HashMap;

/// A bus that does not carry this node's own voice says nothing of others. After so many leases without it
/// they are given up all the same.
const LEASES_IN_SILENCE: u32 = 4;

#[derive(Debug)]
pub(super) struct Peers {
    lease: Duration,
    /// When each was last heard.
    heard: HashMap<NodeId, Duration, foldhash::fast::RandomState>,
    /// When this node last heard itself.
    heard_myself: Duration,
    /// When it was last looked who is dead.
    looked: Duration,
    /// Until when silence says nothing.
    spared: Duration,
}

/// Whether a node that is heard of had been known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    New,
    Known,
}

impl Peers {
    pub(super) fn new(lease: Duration) -> Self {
        let (heard, never) = (HashMap::default(), Duration::ZERO);
        Self { lease, heard, heard_myself: never, looked: never, spared: never }
    }

    pub(super) fn len(&self) -> usize {
        self.heard.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.heard.keys().copied()
    }

    pub(super) fn hear(&mut self, node: NodeId, now: Duration) -> Health {
        match self.heard.insert(node, now) {
            None => Health::New,
            Some(_) => Health::Known,
        }
    }

    pub(super) fn hear_myself(&mut self, now: Duration) {
        if now - self.heard_myself > self.lease / 2 {
            self.spare(now);
        }
        self.heard_myself = now;
    }

    /// Whether the bus brings back what this node says.
    pub(super) fn hears_itself(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard_myself) <= self.lease / 2
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    /// The bus is back. It need not be for everybody at once: those who seek it still have a lease more.
    pub(super) fn await_return(&mut self, now: Duration) {
        self.spare(now);
        self.heard.values_mut().for_each(|heard| *heard = now + self.lease);
    }

    /// Silence up to now says nothing: nobody could be heard.
    pub(super) fn spare(&mut self, now: Duration) {
        self.heard.values_mut().for_each(|heard| *heard = now);
        (self.heard_myself, self.spared) = (now, now);
    }

    /// When it last began that silence says something.
    pub(super) fn spared(&self) -> Duration {
        self.spared
    }

    /// Those whose lease has ended.
    pub(super) fn take_dead(&mut self, now: Duration) -> Vec<NodeId> {
        // This node itself has not run for a while, and what the others said meanwhile is still unread.
        if now - self.looked > self.lease / 2 {
            self.spare(now);
        }
        self.looked = now;
        let silence = now.saturating_sub(self.heard_myself);
        if !self.hears_itself(now) && silence < self.lease * LEASES_IN_SILENCE {
            return Vec::new();
        }
        let lease = self.lease;
        let dead = |heard: Duration| now.saturating_sub(heard) >= lease;
        self.heard.iter().filter(|(_, heard)| dead(**heard)).map(|(node, _)| *node).collect()
    }
}
