//! A node as a participant of its cluster.

use std::sync::Arc;
use std::time::Duration;

use clarim_cluster::timing::HAND_OVER_TIME;
use clarim_cluster::{
    ClusterMessage, Departure, Gathered, Health, Joining, Keys, NodeId, OnGathered, Queries, Query,
    Received, Trace, decode,
};

use super::channel_sync::Gone;
use super::channels::{Channels, Doubt};
use super::handover::HandOver;
use super::keys::ClusterKeys;
use super::outgoing::{Flight, Outgoing};
use super::peers::Peers;
use super::refresh::Refresh;
use super::replies;
use super::resync::Resync;
use super::takeover::Takeover;
use super::wire::{ClusterSettings, ClusterState, LogEvent, Wire};
use crate::address::ChannelKey;
use crate::node::Node;
use crate::outputs::{BusCommand, DeliveryAck, OutputSink};
use crate::snapshot::SavedCluster;

/// A node's part in its cluster.
#[derive(Debug)]
pub struct Cluster<S> {
    node: Arc<Node<S>>,
    /// Timeout for replies from other nodes.
    deadline: Duration,
    /// When the bus was last connected or lost.
    since: Duration,
    peers: Peers,
    channels: Channels<S>,
    outgoing: Outgoing<S>,
    queries: Queries,
    keys: Keys,
    resync: Resync,
    refresh: Refresh,
    takeover: Takeover,
    /// Number of messages of newer protocol versions.
    skipped: u64,
}

impl<S: OutputSink> Cluster<S> {
    /// Makes the participant `id`, which must be the id in the node's [`NodeConfig`](crate::NodeConfig).
    pub fn new(node: Arc<Node<S>>, id: NodeId, settings: ClusterSettings) -> Self {
        Self {
            deadline: settings.deadline,
            since: Duration::ZERO,
            peers: Peers::new(&settings),
            channels: Channels::new(node.clone(), id, &settings),
            outgoing: Outgoing::new(node.clone(), id, settings.prefix),
            queries: Queries::default(),
            keys: Keys::default(),
            resync: Resync::default(),
            refresh: Refresh::default(),
            takeover: Takeover::default(),
            skipped: 0,
            node,
        }
    }

    /// Makes the participant of a [restored](Node::restore) node as it was saved. For the other nodes, it is
    /// the same one. [`start`](Self::start) it as ever.
    pub fn restored(
        node: Arc<Node<S>>,
        id: NodeId,
        settings: ClusterSettings,
        saved: &SavedCluster,
        now: Duration,
    ) -> Self {
        let mut cluster = Self::new(node, id, settings);
        cluster.peers.restore(saved, now);
        cluster.channels.restore(saved);
        cluster.outgoing.restore(saved);
        cluster.queries = Queries::after(saved.queries);
        cluster.skipped = saved.skipped;
        cluster.takeover.begin();
        if cluster.channels.hand_over.is_under_way() {
            cluster.peers.is_joined = false;
        } else {
            // The other nodes keep nothing.
            cluster.channels.gap.begin(cluster.peers.members.count());
        }
        cluster
    }

    /// Returns what a snapshot keeps of it. Nothing may be on its way: see [`is_at_rest`](Self::is_at_rest).
    /// While the bus is up, the other nodes must have prepared the hand-over: see
    /// [`is_ready_to_hand_over`](Self::is_ready_to_hand_over).
    #[must_use]
    pub fn save(&self) -> SavedCluster {
        let mut saved = SavedCluster {
            queries: self.queries.count(),
            skipped: self.skipped,
            ..SavedCluster::default()
        };
        self.peers.save(&mut saved);
        self.channels.save(&mut saved);
        self.outgoing.save(&mut saved);
        saved
    }

    /// Whether the bus has accepted and returned everything that this node has sent.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.outgoing.is_at_rest() && self.channels.logs.is_at_rest()
    }

    /// Whether commands can be executed: not while the bus has too many events to return.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.outgoing.flights.have_room()
    }

    /// Returns a snapshot of the cluster.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        let mut state = ClusterState {
            is_up: self.outgoing.is_up,
            since: self.since,
            invalid: self.channels.invalid,
            skipped: self.skipped,
            lost: self.outgoing.lost,
            refused: self.channels.refused,
            channels: self.channels.subjects.len(),
            ..ClusterState::default()
        };
        self.peers.show(&mut state);
        state
    }

    /// Returns the ids of the other nodes.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.members.ids()
    }

    /// Subscribes to the subjects of all nodes and of this node. Call it first. The node takes no clients
    /// until [`ClusterState::is_joined`].
    pub fn start(&mut self, now: Duration, wire: &mut impl Wire) {
        self.peers.joining = Joining::new(now + self.deadline);
        wire.subscribe(&self.outgoing.to_all);
        wire.subscribe(&self.outgoing.to_me);
        self.channels.start(now, &self.outgoing, wire);
    }

    /// Announces that the node stops, so that the others need not wait for the end of its lease. Returns the
    /// message's ticket.
    pub fn say_goodbye(&mut self, wire: &mut impl Wire) -> u64 {
        self.outgoing.send_to_all(&ClusterMessage::Goodbye, wire)
    }

    /// Handles a new connection to the bus. All former subscriptions are in effect again.
    pub fn up(&mut self, now: Duration, wire: &mut impl Wire) {
        self.outgoing.is_up = true;
        self.since = now;
        let Channels { hand_over, gap, .. } = &mut self.channels;
        let members = &mut self.peers.members;
        if hand_over.catch_up(members.ids(), !gap.has_publishers, now) {
            // The other nodes were on the bus all the time.
            members.spare(now);
            self.peers.is_joined = false;
            self.outgoing.send_to_all(&ClusterMessage::HandedOver { is_back: true }, wire);
        } else {
            members.await_return(now);
            gap.end(&self.node);
        }
        self.peers.send_heartbeat(now, &mut self.outgoing, wire);
        // Messages were missed in the meantime, here and on the other nodes.
        self.resync.start(true);
        // Idempotency keys, too.
        self.outgoing.send_to_all(&ClusterMessage::KeysRequest, wire);
        self.channels.logs.up();
        self.channels.logs.catch_up(now, &mut self.outgoing.flights, wire);
    }

    /// Handles the loss of the bus. The node keeps serving its own clients.
    pub fn down(&mut self, now: Duration) {
        self.outgoing.is_up = false;
        self.since = now;
        self.channels.gap.begin(self.peers.members.count());
        self.channels.hand_over.abort();
        self.catch_up(now);
        self.channels.subjects.lose();
        self.outgoing.end_all(now);
        self.channels.openings.open_all(now);
        self.release_openings(now);
        self.queries.end_all();
        self.keys.expire(false, self.outgoing.id, now);
    }

    /// Executes a command of the node.
    pub fn execute(&mut self, command: BusCommand, now: Duration, wire: &mut impl Wire) {
        let Self { peers, channels, outgoing, .. } = self;
        channels.execute(command, &peers.members, now, outgoing, wire);
    }

    /// Handles the bus's acceptance of a message; `receivers` is the number of its receivers, if the bus
    /// knows it.
    pub fn published(&mut self, ticket: u64, receivers: Option<u32>, now: Duration) {
        self.peers.joining.published(ticket, receivers);
        if let Some(Flight::SyncRequest(channel)) = self.outgoing.flights.land(ticket, now) {
            // This node is one of the receivers. Some may not be nodes at all.
            let peers = self.peers.members.count();
            let counted = receivers.map(|n| (n.saturating_sub(1) as usize).min(peers));
            self.channels.openings.counted(&channel, counted, now);
        }
    }

    /// Handles a message that the bus did not accept.
    pub fn lost(&mut self, ticket: u64, now: Duration) {
        if let Some(flight) = self.outgoing.lost(ticket, now) {
            self.channels.lost(&flight, ticket, now);
        }
    }

    /// Handles an event of the bus about a log.
    pub fn log_event(&mut self, event: LogEvent<'_>, now: Duration, wire: &mut impl Wire) {
        self.channels.log_event(event, now, &mut self.outgoing.flights, wire);
    }

    /// Handles the bus's confirmation of a subscription; `is_first`: nobody else was subscribed before.
    pub fn subscribed(&mut self, subject: &str, is_first: bool, now: Duration) {
        self.channels.subscribed(subject, is_first, now);
    }

    /// Handles a message from the bus. `start_delivery` is called for a traced event of another node; the
    /// workers hold what it returns until they have delivered the event.
    pub fn message(
        &mut self,
        subject: &str,
        bytes: &[u8],
        start_delivery: impl FnOnce(&ChannelKey, Trace) -> Option<DeliveryAck>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let Ok(Received { from, message }) = decode(bytes) else {
            self.channels.invalid += 1;
            return;
        };
        let Some(message) = message else {
            self.skipped += 1;
            // Its sender is alive all the same.
            if from != NodeId::OUTSIDE && from != self.outgoing.id {
                self.renew_lease(from, now, wire);
            }
            return;
        };
        if !self.channels.hear(subject, from, &message, bytes) {
            return;
        }
        if from == self.outgoing.id {
            return self.returned(subject, &message, now);
        }
        self.meet(from, &message, now, wire);
        if subject == self.outgoing.to_all {
            self.message_to_all(from, &message, now, wire);
        } else if subject == self.outgoing.to_me {
            self.message_to_me(from, &message, now);
            self.catch_up(now);
            self.channels.openings.open_vacant(now);
        } else if let Some(channel) = self.channels.subjects.channel(subject) {
            let channel = channel.clone();
            let ack = match message {
                ClusterMessage::Event { trace: Some(trace), .. } => start_delivery(&channel, trace),
                _ => None,
            };
            self.channels.message(&channel, from, &message, ack.as_ref(), now);
        }
    }

    /// Handles a message of this node that the bus has returned.
    fn returned(&mut self, subject: &str, message: &ClusterMessage<'_>, now: Duration) {
        let Self { peers, channels, outgoing, .. } = self;
        match *message {
            ClusterMessage::Heartbeat { at, .. } => {
                let sent = Duration::from_micros(at);
                if peers.heard_myself(sent, now) {
                    outgoing.end_overdue(sent, now);
                    channels.logs.end_overdue(sent);
                }
            }
            ClusterMessage::KeyClaims { ticket, .. } => {
                self.keys.returned(ticket, outgoing.id, now);
            }
            _ => outgoing.returned(channels.subjects.channel(subject), message, now),
        }
    }

    /// Records that a node is alive, or that there is an external publisher.
    fn meet(
        &mut self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        if from == NodeId::OUTSIDE {
            self.channels.gap.has_publishers = true;
            return;
        }
        if matches!(message, ClusterMessage::Goodbye) {
            return self.remove_peer(from, Some(Departure::Stopped), now);
        }
        self.renew_lease(from, now, wire);
        if let &ClusterMessage::Heartbeat { at, versions, clock, nodes } = message {
            let is_older = Duration::from_micros(at) > now.saturating_sub(self.since);
            self.channels.gap.hear_node(is_older, &self.node);
            self.peers.heard_heartbeat(from, versions, nodes);
            self.node.clock().observe(clock, now);
        }
    }

    fn renew_lease(&mut self, node: NodeId, now: Duration, wire: &mut impl Wire) {
        if self.peers.heard(node, now, &mut self.outgoing, wire) == Health::New {
            self.channels.hand_over.remove_peer(node);
        }
    }

    /// Removes a node and everything it had.
    fn remove_peer(&mut self, peer: NodeId, departure: Option<Departure>, now: Duration) {
        let heard_at = self.peers.members.remove(peer);
        self.queries.remove_peer(peer);
        self.keys.remove_peer(peer);
        self.channels.remove_peer(Gone { node: peer, departure, heard_at }, now);
        self.takeover.begin();
    }

    /// Handles a message on this node's subject.
    fn message_to_me(&mut self, from: NodeId, message: &ClusterMessage<'_>, now: Duration) {
        match message {
            ClusterMessage::BackupSubscribe { .. } | ClusterMessage::Backup { .. } => {
                self.channels.backup_message(from, message, now);
            }
            ClusterMessage::VersionDigests { app, channels } => {
                self.channels.compare_versions(app, from, channels, now);
            }
            ClusterMessage::AnsweredKeys(keys) => self.keys.learn(from, keys, now),
            ClusterMessage::Reply { .. } => self.queries.replied(from, message),
            _ => self.channels.hand_over.message(from, message, &self.node),
        }
    }

    /// Handles a message on the subject of all nodes.
    fn message_to_all(
        &mut self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let Self { peers, outgoing, .. } = self;
        match message {
            ClusterMessage::ResyncRequest(node) if *node == outgoing.id => {
                // It had considered this node dead, so it has other backups now.
                self.channels.end_backups(from, now);
                self.resync.start(false);
            }
            &ClusterMessage::Query { ticket, app, ref question } => {
                let send = |reply: ClusterMessage<'_>| outgoing.send_part(from, &reply, wire);
                replies::reply(&self.node, app, question, ticket, now, send);
            }
            ClusterMessage::HandingOver => {
                outgoing.keepers.begin(from, now);
                peers.members.spare_until(from, now + HAND_OVER_TIME);
                self.channels.openings.hold();
                outgoing.send_to(from, &ClusterMessage::HandOverReady, wire);
            }
            &ClusterMessage::HandedOver { is_back } => {
                outgoing.end_keeping(from, is_back, wire);
                peers.members.spare_until(from, now);
                self.release_openings(now);
            }
            ClusterMessage::EventsMissed => self.channels.gap.begin_elsewhere(&self.node),
            ClusterMessage::KeyClaims { .. }
            | ClusterMessage::KeyEnded { .. }
            | ClusterMessage::KeysRequest => {
                let part_bytes = self.node.config().part_bytes;
                self.keys(wire).message(from, message, part_bytes, now);
            }
            // One node relays the event for all: the one with the smallest id.
            ClusterMessage::RelayPublish { app, channel, event }
                if peers.members.ids().all(|peer| outgoing.id < peer) =>
            {
                self.channels.relay(app, channel, event, now);
            }
            _ => {}
        }
    }

    /// Does periodic work. Call it about every [`TICK`](clarim_cluster::timing::TICK).
    pub fn tick(&mut self, now: Duration, wire: &mut impl Wire) {
        self.queries.end_due(now);
        self.catch_up(now);
        if self.outgoing.keepers.expire(now) {
            self.release_openings(now);
        }
        self.keys.expire(self.outgoing.is_up, self.outgoing.id, now);
        self.channels.openings.open_due(now);
        for Doubt { channel, then } in self.channels.openings.take_doubts(now) {
            let node = self.node.clone();
            let app = &node.apps().get(channel.app).id;
            self.ask(app, Query::Channel(channel.name.as_str().into()), now, wire, then);
        }
        if !self.channels.hand_over.is_under_way() {
            self.peers.join(now);
        }
        if self.peers.is_heartbeat_due(now) {
            self.peers.send_heartbeat(now, &mut self.outgoing, wire);
        }
        self.channels.logs.follow_rules(self.channels.subjects.iter(), wire);
        // If the bus carries no messages at all, the other nodes may be alive: backends must not be notified.
        let is_reported = self.outgoing.is_up && self.peers.members.hears_itself(now);
        let departure = is_reported.then_some(Departure::Lost);
        for node in self.peers.members.take_dead(now) {
            self.remove_peer(node, departure, now);
        }
        if self.outgoing.is_up {
            let Self { node, outgoing, .. } = self;
            self.takeover.proceed(node, now);
            self.resync.proceed(node, now);
            self.refresh.proceed(node, &self.peers.members, now, |peer, message| {
                outgoing.send_to(peer, message, wire);
            });
            self.channels.gap.proceed(node, now);
            outgoing.tell_unsent(wire);
            self.channels.logs.catch_up(now, &mut outgoing.flights, wire);
        }
    }

    /// Prepares that another program becomes this node: asks the other nodes to keep what they publish. Go
    /// on as ever until [`is_ready_to_hand_over`](Self::is_ready_to_hand_over), which takes a second at
    /// most. Then save the node, and end the connection to the bus. Not before [`ClusterState::is_joined`].
    pub fn hand_over(&mut self, now: Duration, wire: &mut impl Wire) {
        if self.outgoing.is_up && !self.channels.hand_over.is_catching_up() {
            self.channels.hand_over = HandOver::prepare(now);
            self.outgoing.send_to_all(&ClusterMessage::HandingOver, wire);
        }
    }

    /// Whether the other nodes keep what they publish, as far as they can.
    pub fn is_ready_to_hand_over(&self, now: Duration) -> bool {
        !self.outgoing.is_up || self.channels.hand_over.are_ready(self.peers(), now)
    }

    /// Goes on as before, because no other program becomes this node.
    pub fn cancel_hand_over(&mut self, wire: &mut impl Wire) {
        self.channels.hand_over = HandOver::None;
        if self.outgoing.is_up {
            self.outgoing.send_to_all(&ClusterMessage::HandedOver { is_back: false }, wire);
        }
    }

    /// Opens channels again that had waited for nodes that are handed over, or for this one to catch up.
    fn release_openings(&mut self, now: Duration) {
        if self.outgoing.keepers.is_empty() {
            self.channels.openings.release(now);
        }
    }

    /// Handles what this node has missed while it was handed over, as soon as it has arrived.
    fn catch_up(&mut self, now: Duration) {
        if self.channels.catch_up(now, &mut self.outgoing) {
            self.peers.is_joined = true;
            self.release_openings(now);
        }
    }

    /// Returns the idempotency keys of the cluster.
    pub fn keys<'a, W: Wire>(&'a mut self, wire: &'a mut W) -> ClusterKeys<'a, S, W> {
        let Self { keys, peers, outgoing, deadline, .. } = self;
        ClusterKeys { keys, members: &peers.members, outgoing, wire, deadline: *deadline }
    }

    /// Queries all other nodes. `then` is called when they have replied, at the deadline, or when the bus is
    /// lost.
    pub fn ask(
        &mut self,
        app: &str,
        question: Query<'_>,
        now: Duration,
        wire: &mut impl Wire,
        then: OnGathered,
    ) {
        if !self.outgoing.is_up {
            return then(Gathered { is_partial: true, ..Gathered::default() });
        }
        let nodes = self.peers().collect();
        if let Some(ticket) = self.queries.begin(nodes, now + self.deadline, then) {
            let query = ClusterMessage::Query { ticket, app, question };
            self.outgoing.send_to_all(&query, wire);
        }
    }
}
