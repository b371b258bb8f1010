//! What this node sends over the bus, until the bus has accepted and returned it.

mod changes;
mod flights;
mod unsent;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::{
    ClusterMessage, Membership, NodeId, Received, Version, channel_subject, decode, encode,
    node_subject, nodes_subject,
};

use super::channel_sync;
use super::handover::Keepers;
use super::wire::Wire;
use crate::address::ChannelKey;
use crate::node::Node;
use crate::outputs::{DeliveryAck, OutputSink, SyncKind};
use crate::snapshot::SavedCluster;
use changes::{Changes, OwnChange};
pub(super) use flights::{Flight, Flights, OwnEvent};
use unsent::Unsent;

/// Maximum number of notices about missed events in one tick.
const MAX_UNSENT_PER_TICK: usize = 256;

/// The messages of this node.
#[derive(Debug)]
pub(super) struct Outgoing<S> {
    node: Arc<Node<S>>,
    pub(super) id: NodeId,
    prefix: String,
    /// The subject of all nodes.
    pub(super) to_all: String,
    /// The subject of this node.
    pub(super) to_me: String,
    /// For the choice of backups.
    hasher: foldhash::fast::RandomState,
    /// Whether the bus is connected.
    pub(super) is_up: bool,
    pub(super) flights: Flights,
    changes: Changes,
    unsent: Unsent,
    /// The nodes that are being handed over. They get the messages later.
    pub(super) keepers: Keepers,
    /// Number of messages that the bus did not accept.
    pub(super) lost: u64,
}

impl<S: OutputSink> Outgoing<S> {
    pub(super) fn new(node: Arc<Node<S>>, id: NodeId, prefix: String) -> Self {
        Self {
            node,
            id,
            to_all: nodes_subject(&prefix),
            to_me: node_subject(&prefix, id),
            prefix,
            hasher: foldhash::fast::RandomState::default(),
            is_up: false,
            flights: Flights::default(),
            changes: Changes::default(),
            unsent: Unsent::default(),
            keepers: Keepers::default(),
            lost: 0,
        }
    }

    /// Adds what a snapshot keeps of it.
    pub(super) fn save(&self, saved: &mut SavedCluster) {
        saved.tickets = self.flights.next_ticket() - 1;
        saved.has_unsent = self.unsent.has_some();
        saved.lost = self.lost;
    }

    /// Restores what was saved. If events may not have reached the other nodes, they announce a gap on all
    /// channels.
    pub(super) fn restore(&mut self, saved: &SavedCluster) {
        self.flights = Flights::after(saved.tickets);
        if saved.has_unsent {
            self.unsent.add(None);
        }
        self.lost = saved.lost;
    }

    /// Whether the bus has accepted and returned everything.
    pub(super) fn is_at_rest(&self) -> bool {
        self.flights.is_empty() && self.changes.is_empty()
    }

    /// Reads the logical clock.
    pub(super) fn clock(&self, now: Duration) -> u64 {
        self.node.clock().read(now)
    }

    /// Returns the subject of a channel, which is also the name of its log.
    pub(super) fn subject(&self, channel: &ChannelKey) -> String {
        let app = &self.node.apps().get(channel.app).id;
        channel_subject(&self.prefix, app, &channel.name)
    }

    /// Sends a message to all nodes. Returns its ticket.
    pub(super) fn send_to_all(
        &mut self,
        message: &ClusterMessage<'_>,
        wire: &mut impl Wire,
    ) -> u64 {
        let ticket = self.flights.add(Flight::Nothing);
        wire.publish(&self.to_all, encode(self.id, message), ticket);
        ticket
    }

    /// Sends a message to one node.
    pub(super) fn send_to(
        &mut self,
        node: NodeId,
        message: &ClusterMessage<'_>,
        wire: &mut impl Wire,
    ) {
        let ticket = self.flights.add(Flight::Nothing);
        wire.publish(&node_subject(&self.prefix, node), encode(self.id, message), ticket);
    }

    /// Sends a part of a long message to one node, if the bus has room. Without it, the message is not
    /// complete.
    pub(super) fn send_part(
        &mut self,
        node: NodeId,
        part: &ClusterMessage<'_>,
        wire: &mut impl Wire,
    ) {
        if wire.has_room() {
            self.send_to(node, part, wire);
        }
    }

    /// Publishes an event. `ack` is held until the bus has accepted it. `previous` is that of
    /// [`Flights::add_event`].
    pub(super) fn publish_event(
        &mut self,
        subject: &str,
        event: OwnEvent,
        ack: Option<DeliveryAck>,
        previous: Option<u64>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let ticket = self.flights.next_ticket();
        let message = event.encode(self.id, ack.as_ref(), ticket);
        if self.is_up {
            self.keep(&event.channel, &message, now);
        }
        let unexpected = self.flights.add_event(event, ack, previous);
        self.deliver(unexpected, now);
        if self.is_up {
            wire.publish(subject, message, ticket);
        } else {
            self.lost(ticket, now);
        }
    }

    /// Publishes a message about the state of a channel. `is_awaited`: the channel opens when the other nodes
    /// have replied.
    pub(super) fn publish_sync(
        &mut self,
        channel: ChannelKey,
        message: Bytes,
        kind: SyncKind,
        is_awaited: bool,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        if let SyncKind::Change { number } = kind {
            let change = OwnChange { channel: channel.clone(), message: message.clone() };
            self.changes.add(change, number, now);
        }
        // No other node receives anything.
        if !self.is_up {
            let changes = self.changes.take_all();
            return self.apply(changes, now);
        }
        if kind != SyncKind::Version {
            self.keep(&channel, &message, now);
        }
        let subject = self.subject(&channel);
        let flight = if is_awaited { Flight::SyncRequest(channel) } else { Flight::Nothing };
        wire.publish(&subject, message, self.flights.add(flight));
    }

    /// Tells the other nodes of events that stayed on this one.
    pub(super) fn tell_unsent(&mut self, wire: &mut impl Wire) {
        if !wire.has_room() {
            return;
        }
        let message = encode(self.id, &ClusterMessage::EventsMissed);
        for channel in self.unsent.take(MAX_UNSENT_PER_TICK) {
            match &channel {
                Some(channel) => self.keepers.keep(channel, &message, u64::MAX),
                None => self.keepers.give_up(),
            }
            let subject = channel.as_ref().map(|channel| self.subject(channel));
            let ticket = self.flights.add(Flight::EventsMissed(channel));
            wire.publish(subject.as_ref().unwrap_or(&self.to_all), message.clone(), ticket);
        }
    }

    /// Asks one of the other nodes to be a channel's backup: for different channels different ones, and for
    /// each always the same one.
    pub(super) fn request_backup(
        &mut self,
        channel: &ChannelKey,
        members: &Membership,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let backup = members.ids().max_by_key(|node| self.hasher.hash_one((channel, node)));
        let Some(backup) = backup.filter(|_| self.is_up) else { return };
        if members.version() >= Version::BACKUPS {
            return self.node.step(channel, now, |shard, step| {
                let found = shard.channels.get_mut(channel);
                found.into_iter().for_each(|found| found.begin_backup(channel, backup, step));
            });
        }
        let node = self.node.clone();
        let app = &node.apps().get(channel.app).id;
        let message = ClusterMessage::BackupSubscribe { app, channel: channel.name.as_str() };
        self.send_to_backup(backup, channel, &message, now, wire);
    }

    /// Sends a message about a channel's state to its backup.
    pub(super) fn back_up(
        &mut self,
        backup: NodeId,
        channel: &ChannelKey,
        message: &[u8],
        now: Duration,
        wire: &mut impl Wire,
    ) {
        let node = self.node.clone();
        let app = &node.apps().get(channel.app).id;
        let message = ClusterMessage::Backup { app, channel: channel.name.as_str(), message };
        self.send_to_backup(backup, channel, &message, now, wire);
    }

    fn send_to_backup(
        &mut self,
        backup: NodeId,
        channel: &ChannelKey,
        message: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        if !self.is_up {
            return;
        }
        if !self.keepers.is_empty() {
            let at = self.clock(now);
            if let Some(keeper) = self.keepers.of(backup) {
                keeper.keep(channel, &encode(self.id, message), at);
            }
        }
        self.send_to(backup, message, wire);
    }

    /// Keeps a message on a channel for the nodes that are being handed over.
    fn keep(&mut self, channel: &ChannelKey, message: &Bytes, now: Duration) {
        if !self.keepers.is_empty() {
            self.keepers.keep(channel, message, self.clock(now));
        }
    }

    /// Ends the keeping for a node. If it is back, it gets what was kept.
    pub(super) fn end_keeping(&mut self, peer: NodeId, is_back: bool, wire: &mut impl Wire) {
        let keeper = self.keepers.take(peer);
        if !is_back {
            return;
        }
        let node = self.node.clone();
        let app_id = |channel: &ChannelKey| node.apps().get(channel.app).id.as_str();
        let mut send = |message: ClusterMessage<'_>| self.send_part(peer, &message, wire);
        match &keeper {
            Some(keeper) => keeper.messages(node.config().part_bytes, app_id, send),
            None => send(ClusterMessage::KeptEnd { count: 0, is_complete: false }),
        }
    }

    /// Handles a message that the bus did not accept. Returns its purpose, if it is not an event's.
    pub(super) fn lost(&mut self, ticket: u64, now: Duration) -> Option<Flight> {
        let flight = self.flights.land(ticket, now)?;
        self.lost += u64::from(!matches!(flight, Flight::SyncRequest(_) | Flight::Read(_)));
        match flight {
            Flight::Event { channel, ack } => {
                self.unsent.add(Some(channel));
                ack.iter().for_each(DeliveryAck::missed_the_bus);
                self.deliver_through(ticket, now);
            }
            Flight::EventsMissed(channel) => self.unsent.add(channel),
            other => return Some(other),
        }
        None
    }

    /// Handles a message that the bus has returned, on this channel or on no channel.
    pub(super) fn returned(
        &mut self,
        channel: Option<&ChannelKey>,
        message: &ClusterMessage<'_>,
        now: Duration,
    ) {
        match (message, channel) {
            (ClusterMessage::Event { ticket, .. }, _) => self.deliver_through(*ticket, now),
            (ClusterMessage::StateChange { number, .. }, Some(channel)) => {
                let changes = self.changes.take_through(channel, *number);
                self.apply(changes, now);
            }
            _ => {}
        }
    }

    /// Delivers an event that the bus has returned or lost, behind those before it on its channel.
    fn deliver_through(&mut self, ticket: u64, now: Duration) {
        let events = self.flights.take_through(ticket);
        self.deliver(events, now);
    }

    /// Delivers and applies what the bus has not returned, though it has returned a message that this node
    /// sent at `sent`, long after.
    pub(super) fn end_overdue(&mut self, sent: Duration, now: Duration) {
        let events = self.flights.take_overdue(sent);
        self.deliver(events, now);
        let changes = self.changes.take_overdue(sent);
        self.apply(changes, now);
    }

    /// Delivers and applies what the bus has not returned, because it was lost.
    pub(super) fn end_all(&mut self, now: Duration) {
        let events = self.flights.take_all();
        self.deliver(events, now);
        let changes = self.changes.take_all();
        self.apply(changes, now);
    }

    /// Handles that a channel is closed. Nobody is subscribed, but publishers wait for its last event.
    pub(super) fn close(&mut self, channel: &ChannelKey, last_event: u64, now: Duration) {
        self.changes.remove(channel);
        self.deliver_through(last_event, now);
    }

    /// Delivers events to this node's own subscribers.
    fn deliver(&self, events: impl IntoIterator<Item = OwnEvent>, now: Duration) {
        for event in events {
            self.node.step(&event.channel, now, |shard, step| {
                shard.deliver(event.publication(), step);
            });
        }
    }

    fn apply(&self, changes: impl IntoIterator<Item = OwnChange>, now: Duration) {
        for OwnChange { channel, message } in changes {
            let Ok(Received { message: Some(message), .. }) = decode(&message) else { continue };
            if let ClusterMessage::StateChange { change, .. } = &message {
                self.node.step(&channel, now, |shard, step| {
                    channel_sync::apply_own_change(shard, &channel, change, step);
                });
            }
        }
    }
}
