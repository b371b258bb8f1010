//! The other nodes of the cluster, and when each was last heard from.

use std::time::Duration;

use hashbrown::HashMap;

use crate::message::ClusterMessage;
use crate::node_id::NodeId;
use crate::snapshot::{SavedMembership, SavedPeer};
use crate::timing::LEASES_IN_SILENCE;
use crate::versions::{Version, Versions};

/// The other nodes.
#[derive(Debug)]
pub struct Membership {
    own: Versions,
    lease: Duration,
    peers: HashMap<NodeId, Peer, foldhash::fast::RandomState>,
    /// When this node last received its own message.
    heard_myself: Duration,
    /// When dead nodes were last looked for.
    checked: Duration,
    /// The end of the last period in which missing heartbeats were not held against nodes.
    spared: Duration,
}

#[derive(Debug)]
struct Peer {
    /// The beginning of its lease: when it was last heard from, or later.
    heard: Duration,
    /// When its last message was received.
    last_message: Duration,
    /// Whether it was heard from since the bus was last lost.
    is_back: bool,
    versions: Versions,
    /// The end of its hand-over, at the latest.
    spared_until: Duration,
}

/// Whether a node that is heard from had been known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It is new, or was considered dead.
    New,
    /// It had been known, but was not heard from since the bus was lost.
    Back,
    /// It had been known.
    Known,
}

impl Membership {
    /// A membership without other nodes. `own` are the versions that this node speaks.
    #[must_use]
    pub fn new(own: Versions, lease: Duration) -> Self {
        let never = Duration::ZERO;
        Self {
            own,
            lease,
            peers: HashMap::default(),
            heard_myself: never,
            checked: never,
            spared: never,
        }
    }

    /// Returns what a snapshot keeps of it.
    #[must_use]
    pub fn save(&self) -> SavedMembership {
        let peers = self.peers.iter().map(|(node, peer)| {
            let &Peer { heard, last_message, is_back, versions, .. } = peer;
            let last_message = Some(last_message.into());
            SavedPeer { node: *node, heard: heard.into(), last_message, is_back, versions }
        });
        let mut peers: Vec<SavedPeer> = peers.collect();
        peers.sort_unstable_by_key(|peer| peer.node);
        let heard_myself = self.heard_myself.into();
        SavedMembership { peers, heard_myself, spared: self.spared.into() }
    }

    /// Makes the membership as it was saved. The leases are renewed when dead nodes are looked for next: no
    /// heartbeat could be received while the program was replaced.
    #[must_use]
    pub fn restored(
        own: Versions,
        lease: Duration,
        saved: &SavedMembership,
        now: Duration,
    ) -> Self {
        let SavedMembership { peers, heard_myself, spared } = saved;
        let peers = peers.iter().map(|saved| {
            let &SavedPeer { node, heard, last_message, is_back, versions } = saved;
            let spared_until = Duration::ZERO;
            let heard = heard.get();
            let last_message = last_message.map_or(heard, |at| at.get());
            (node, Peer { heard, last_message, is_back, versions, spared_until })
        });
        Self {
            peers: peers.collect(),
            heard_myself: heard_myself.get().min(now),
            spared: spared.get().min(now),
            ..Self::new(own, lease)
        }
    }

    /// Returns the number of other nodes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.peers.len()
    }

    /// Returns the number of other nodes that were heard from since the bus was last lost.
    #[must_use]
    pub fn count_back(&self) -> usize {
        self.peers.values().filter(|peer| peer.is_back).count()
    }

    /// Whether all other nodes were heard from since the bus was last lost: they receive messages.
    #[must_use]
    pub fn are_back(&self) -> bool {
        self.peers.values().all(|peer| peer.is_back)
    }

    /// Returns the ids of the other nodes.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> {
        self.peers.keys().copied()
    }

    /// Makes this node's heartbeat. `clock` is the logical clock, and `has_joined` says whether this node
    /// knows all others.
    #[must_use]
    pub fn heartbeat(
        &self,
        clock: u64,
        has_joined: bool,
        now: Duration,
    ) -> ClusterMessage<'static> {
        let at = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let nodes = u32::try_from(self.count()).unwrap_or(u32::MAX);
        let nodes = has_joined.then_some(nodes);
        ClusterMessage::Heartbeat { at, versions: self.own, clock, nodes }
    }

    /// Renews the lease of a node.
    pub fn heard(&mut self, node: NodeId, now: Duration) -> Health {
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.heard, peer.last_message) = (now, now);
            let was_back = std::mem::replace(&mut peer.is_back, true);
            return if was_back { Health::Known } else { Health::Back };
        }
        let versions = Versions::UNSAID;
        let spared_until = Duration::ZERO;
        let peer = Peer { heard: now, last_message: now, is_back: true, versions, spared_until };
        self.peers.insert(node, peer);
        Health::New
    }

    /// Records the versions that a node speaks. Returns whether it is now known that this node cannot
    /// understand it.
    pub fn speaks(&mut self, node: NodeId, versions: Versions) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return false };
        let is_new = std::mem::replace(&mut peer.versions, versions) != versions;
        is_new && !self.own.are_compatible(versions)
    }

    /// Returns the version that the cluster uses: the newest that all nodes speak.
    #[must_use]
    pub fn version(&self) -> Version {
        let newest = |peer: &Peer| peer.versions.newest;
        self.peers.values().map(newest).fold(self.own.newest, Version::min)
    }

    /// Returns the number of nodes with which this node has no version in common.
    #[must_use]
    pub fn incompatible(&self) -> usize {
        self.peers.values().filter(|peer| !self.own.are_compatible(peer.versions)).count()
    }

    /// Records that the bus has returned this node's own message.
    pub fn heard_myself(&mut self, now: Duration) {
        if now - self.heard_myself > self.lease / 2 {
            self.spare(now);
        }
        self.heard_myself = now;
    }

    /// Whether the bus returns this node's messages.
    #[must_use]
    pub fn hears_itself(&self, now: Duration) -> bool {
        now.saturating_sub(self.heard_myself) <= self.lease / 2
    }

    /// Removes a node. Returns when it was last heard from.
    pub fn remove(&mut self, node: NodeId) -> Duration {
        self.peers.remove(&node).map_or(Duration::ZERO, |peer| peer.last_message)
    }

    /// Renews all leases after a reconnect, with one lease more: the other nodes may reconnect later.
    pub fn await_return(&mut self, now: Duration) {
        self.spare(now);
        for peer in self.peers.values_mut() {
            (peer.heard, peer.is_back) = (now + self.lease, false);
        }
    }

    /// Renews all leases, because no heartbeat could be received up to now.
    pub fn spare(&mut self, now: Duration) {
        self.peers.values_mut().for_each(|peer| peer.heard = now);
        self.heard_myself = now;
        self.spared = now;
    }

    /// Does not consider a node dead before this time.
    pub fn spare_until(&mut self, node: NodeId, until: Duration) {
        self.peers.get_mut(&node).into_iter().for_each(|peer| peer.spared_until = until);
    }

    /// Returns since when silence is evidence.
    #[must_use]
    pub fn spared(&self) -> Duration {
        self.spared
    }

    /// Returns the nodes whose lease has ended.
    pub fn take_dead(&mut self, now: Duration) -> Vec<NodeId> {
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
        let is_dead =
            |peer: &Peer| now >= peer.spared_until && now.saturating_sub(peer.heard) >= lease;
        self.peers.iter().filter(|(_, peer)| is_dead(peer)).map(|(node, _)| *node).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_uses_the_newest_version_that_all_nodes_speak() {
        let versions =
            |oldest, newest| Versions { oldest: Version(oldest), newest: Version(newest) };
        let mut members = Membership::new(versions(2, 4), Duration::from_secs(10));
        assert_eq!(members.version(), Version(4));
        let [old, new] = [NodeId(1), NodeId(2)];
        for node in [old, new] {
            members.heard(node, Duration::ZERO);
        }
        assert_eq!(members.version(), Version::FIRST, "they have not said what they speak");
        assert!(!members.speaks(new, versions(2, 5)));
        assert!(!members.speaks(old, versions(2, 3)));
        assert_eq!(members.version(), Version(3));
        members.remove(old);
        assert_eq!(members.version(), Version(4));
        assert!(members.speaks(new, versions(5, 6)));
        assert!(!members.speaks(new, versions(5, 6)), "it is reported once");
        assert_eq!(members.incompatible(), 1);
    }
}
