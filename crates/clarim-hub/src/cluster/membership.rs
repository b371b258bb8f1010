//! The other nodes of the cluster, and when each was last heard from.

use std::time::Duration;

use clarim_protocol::cluster::NodeId;
use hashbrown::HashMap;

/// Number of leases without this node's own messages after which the others are considered dead all the same.
/// A bus that does not return this node's messages gives no evidence about the others.
const LEASES_IN_SILENCE: u32 = 4;

/// The other nodes.
#[derive(Debug)]
pub(super) struct Membership {
    lease: Duration,
    /// When each was last heard from.
    heard: HashMap<NodeId, Duration, foldhash::fast::RandomState>,
    /// When this node last received its own message.
    heard_myself: Duration,
    /// When dead nodes were last looked for.
    checked: Duration,
    /// The end of the last time in which silence was no evidence.
    spared: Duration,
}

/// Whether a node that is heard from had been known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    New,
    Known,
}

impl Membership {
    pub(super) fn new(lease: Duration) -> Self {
        let never = Duration::ZERO;
        Self {
            lease,
            heard: HashMap::default(),
            heard_myself: never,
            checked: never,
            spared: never,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heard.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.heard.keys().copied()
    }

    /// Renews the lease of a node.
    pub(super) fn heard(&mut self, node: NodeId, now: Duration) -> Health {
        match self.heard.insert(node, now) {
            None => Health::New,
            Some(_) => Health::Known,
        }
    }

    /// Records that the bus has returned this node's own message.
    pub(super) fn heard_myself(&mut self, now: Duration) {
        if now - self.heard_myself > self.lease / 2 {
            self.spare(now);
        }
        self.heard_myself = now;
    }

    /// Whether the bus returns this node's messages.
    pub(super) fn hears_itself(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard_myself) <= self.lease / 2
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    /// Renews all leases after a reconnect, with one lease more: the other nodes may reconnect later.
    pub(super) fn await_return(&mut self, now: Duration) {
        self.spare(now);
        self.heard.values_mut().for_each(|heard| *heard = now + self.lease);
    }

    /// Renews all leases: up to now, nothing could be heard.
    pub(super) fn spare(&mut self, now: Duration) {
        self.heard.values_mut().for_each(|heard| *heard = now);
        self.heard_myself = now;
        self.spared = now;
    }

    /// Returns since when silence is evidence.
    pub(super) fn spared(&self) -> Duration {
        self.spared
    }

    /// Returns the nodes whose lease has ended.
    pub(super) fn take_dead(&mut self, now: Duration) -> Vec<NodeId> {
        // This node itself has not run for a while: messages of the others may still be unread.
        if now - self.checked > self.lease / 2 {
            self.spare(now);
        }
        self.checked = now;
        let silence = now.saturating_sub(self.heard_myself);
        if !self.hears_itself(now) && silence < self.lease * LEASES_IN_SILENCE {
            return Vec::new();
        }
        let lease = self.lease;
        let is_dead = |heard: Duration| now.saturating_sub(heard) >= lease;
        self.heard.iter().filter(|(_, heard)| is_dead(**heard)).map(|(node, _)| *node).collect()
    }
}
