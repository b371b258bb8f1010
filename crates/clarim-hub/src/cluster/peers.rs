//! The other nodes, and the heartbeats by which nodes know of each other.

use std::time::Duration;

use clarim_cluster::timing::{HEARTBEATS_PER_LEASE, RETURN_TIMEOUT};
use clarim_cluster::{ClusterMessage, Health, Joining, Membership, NodeId, Versions};

use super::outgoing::Outgoing;
use super::wire::{ClusterSettings, ClusterState, Wire};
use crate::outputs::OutputSink;
use crate::snapshot::SavedCluster;

/// The other nodes, as this one knows them.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) members: Membership,
    pub(super) joining: Joining,
    /// Whether this node knows the others, or could not reach them in time.
    pub(super) is_joined: bool,
    versions: Versions,
    lease: Duration,
    next_heartbeat: Duration,
    /// Time that this node's last heartbeat took to come back.
    lag: Duration,
}

impl Peers {
    pub(super) fn new(settings: &ClusterSettings) -> Self {
        let &ClusterSettings { versions, lease, .. } = settings;
        Self {
            members: Membership::new(versions, lease),
            joining: Joining::new(Duration::ZERO),
            is_joined: false,
            versions,
            lease,
            next_heartbeat: Duration::ZERO,
            lag: Duration::ZERO,
        }
    }

    /// Adds what a snapshot keeps of it.
    pub(super) fn save(&self, saved: &mut SavedCluster) {
        saved.members = self.members.save();
        saved.is_joined = self.is_joined;
    }

    pub(super) fn restore(&mut self, saved: &SavedCluster, now: Duration) {
        self.members = Membership::restored(self.versions, self.lease, &saved.members, now);
        self.is_joined = saved.is_joined;
    }

    /// Adds what the state of the cluster shows of it.
    pub(super) fn show(&self, state: &mut ClusterState) {
        let members = &self.members;
        state.is_joined = self.is_joined;
        state.peers = members.count_back();
        state.awaited = members.count() - members.count_back();
        state.lag = self.lag;
        state.version = members.version().0;
        state.incompatible = members.incompatible();
    }

    /// Sends a heartbeat. The next one is due in a while.
    pub(super) fn send_heartbeat<S: OutputSink>(
        &mut self,
        now: Duration,
        outgoing: &mut Outgoing<S>,
        wire: &mut impl Wire,
    ) {
        self.next_heartbeat = now + self.lease / HEARTBEATS_PER_LEASE;
        if outgoing.is_up {
            let heartbeat = self.members.heartbeat(outgoing.clock(now), self.is_joined, now);
            self.joining.sent(outgoing.send_to_all(&heartbeat, wire));
        }
    }

    /// Takes note if this node has joined the cluster by now.
    pub(super) fn join(&mut self, now: Duration) {
        self.is_joined |= self.joining.is_over(self.members.count(), now);
    }

    /// Whether it is time for a heartbeat.
    pub(super) fn is_heartbeat_due(&self, now: Duration) -> bool {
        now >= self.next_heartbeat
    }

    /// Handles a sign of life of another node.
    pub(super) fn heard<S: OutputSink>(
        &mut self,
        node: NodeId,
        now: Duration,
        outgoing: &mut Outgoing<S>,
        wire: &mut impl Wire,
    ) -> Health {
        let health = self.members.heard(node, now);
        if health != Health::Known {
            // The node may wait to learn of this one, to follow its clock and to serve its first client.
            self.send_heartbeat(now, outgoing, wire);
        }
        if health == Health::New {
            // It was perhaps considered dead: its state is unknown here.
            outgoing.send_to_all(&ClusterMessage::ResyncRequest(node), wire);
        }
        health
    }

    /// Handles the return of this node's own heartbeat. Returns whether it shows that the bus will not return
    /// what it has accepted much earlier.
    pub(super) fn heard_myself(&mut self, sent: Duration, now: Duration) -> bool {
        self.lag = now.saturating_sub(sent);
        self.members.heard_myself(now);
        sent > self.members.spared() + RETURN_TIMEOUT
    }

    /// Handles the heartbeat of another node: the versions that it speaks, and the number of nodes that it
    /// knows.
    pub(super) fn heard_heartbeat(&mut self, from: NodeId, versions: Versions, nodes: Option<u32>) {
        self.joining.claimed(nodes);
        if !self.members.speaks(from, versions) {
            return;
        }
        let node = format!("{:016x}", from.0);
        tracing::error!(
            node,
            oldest = versions.oldest.0,
            newest = versions.newest.0,
            own_oldest = self.versions.oldest.0,
            own_newest = self.versions.newest.0,
            "this node and another one have no cluster protocol version in common: update one release after the other"
        );
    }
}
