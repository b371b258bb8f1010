//! Messages of this node that are on their way: to the bus, and back to this node.
//!
//! All nodes deliver the events of a channel in the order of the bus, also the node that publishes them: it
//! delivers an event when the bus returns it. So when an event has been answered, no node delivers a later
//! one before it.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::RETURN_TIMEOUT;
use clarim_cluster::{ClusterMessage, NodeId, encode, node_subject, nodes_subject};
use clarim_protocol::{Frame, SocketId};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::wire::Wire;
use crate::address::ChannelKey;
use crate::outputs::DeliveryAck;

/// Sends messages to one node or to all of them.
#[derive(Debug)]
pub(super) struct NodeSender {
    id: NodeId,
    prefix: String,
    /// The subject of all nodes.
    pub(super) to_all: String,
    /// The subject of this node.
    pub(super) to_me: String,
    /// For [`choose`](Self::choose).
    hasher: foldhash::fast::RandomState,
}

impl NodeSender {
    pub(super) fn new(id: NodeId, prefix: &str) -> Self {
        Self {
            id,
            prefix: prefix.to_owned(),
            to_all: nodes_subject(prefix),
            to_me: node_subject(prefix, id),
            hasher: foldhash::fast::RandomState::default(),
        }
    }

    /// Chooses one of the nodes for a channel: for different channels different ones, and for each always the
    /// same one.
    pub(super) fn choose(
        &self,
        channel: &ChannelKey,
        nodes: impl Iterator<Item = NodeId>,
    ) -> Option<NodeId> {
        nodes.max_by_key(|node| self.hasher.hash_one((channel, node)))
    }

    /// Returns the message's ticket.
    pub(super) fn send_to_all(
        &self,
        message: &ClusterMessage<'_>,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) -> u64 {
        let ticket = flights.add(Flight::Nothing);
        wire.publish(&self.to_all, encode(self.id, message), ticket);
        ticket
    }

    pub(super) fn send_to(
        &self,
        node: NodeId,
        message: &ClusterMessage<'_>,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) {
        let ticket = flights.add(Flight::Nothing);
        wire.publish(&node_subject(&self.prefix, node), encode(self.id, message), ticket);
    }
}

/// Bytes of events that the bus is to return, above which no more should be published.
const MAX_EXPECTED: usize = 16 << 20;

/// The purpose for which the result of a publish is awaited.
#[derive(Debug)]
pub(super) enum Flight {
    Nothing,
    Event {
        channel: ChannelKey,
        ack: Option<DeliveryAck>,
    },
    SyncRequest(ChannelKey),
    /// A notice to the other nodes that they may have missed events on this channel, or on all.
    EventsMissed(Option<ChannelKey>),
    Append,
    /// A part of the log with this name.
    Read(Box<str>),
}

/// An event of this node that is to be delivered to its own subscribers.
#[derive(Debug)]
pub(super) struct OwnEvent {
    pub(super) channel: ChannelKey,
    pub(super) frame: Frame,
    pub(super) except: Option<SocketId>,
    pub(super) kept: Option<u64>,
    pub(super) ack: Option<DeliveryAck>,
}

impl OwnEvent {
    /// Makes the event into a message. `ack` is held until the bus has accepted it.
    pub(super) fn encode(&self, from: NodeId, ack: Option<&DeliveryAck>, ticket: u64) -> Bytes {
        let message = ClusterMessage::Event {
            payload: self.frame.payload(),
            except: self.except.map(Into::into),
            kept: self.kept,
            trace: ack.and_then(DeliveryAck::trace),
            ticket,
        };
        encode(from, &message)
    }
}

/// An event that the bus will return.
#[derive(Debug)]
struct Expected {
    event: OwnEvent,
    /// The ticket of the event before it on its channel; 0 if there is none.
    previous: u64,
}

impl Expected {
    fn bytes(&self) -> usize {
        size_of::<Entry>() + self.event.frame.bytes().len()
    }
}

/// The messages of a node that are on their way, by ticket.
///
/// Tickets are consecutive and never used twice, so a message that the bus returns too late finds nothing.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// The ticket before the first entry.
    before: u64,
    entries: VecDeque<Entry>,
    expected_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// Until the bus has accepted or lost the message.
    to_bus: Option<Flight>,
    /// Until the bus has returned the message.
    expected: Option<Expected>,
    landed: Duration,
}

impl Flights {
    /// Makes flights whose tickets go on behind a number of earlier ones.
    pub(super) fn after(tickets: u64) -> Self {
        Self { before: tickets, ..Self::default() }
    }

    /// Whether no message is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the ticket of the message that is added next. The first one is 1.
    pub(super) fn next_ticket(&self) -> u64 {
        self.before + self.entries.len() as u64 + 1
    }

    /// Adds a message. Returns its ticket.
    pub(super) fn add(&mut self, flight: Flight) -> u64 {
        self.add_entry(flight, None)
    }

    /// Adds an event, which is delivered here when the bus returns it. `previous` is the ticket of the event
    /// before it on its channel; `None` if the bus may not return it, and so the event is returned now.
    pub(super) fn add_event(
        &mut self,
        event: OwnEvent,
        ack: Option<DeliveryAck>,
        previous: Option<u64>,
    ) -> Option<OwnEvent> {
        let channel = event.channel.clone();
        let (expected, unexpected) = match previous {
            Some(previous) => (Some(Expected { event, previous }), None),
            None => (None, Some(event)),
        };
        self.expected_bytes += expected.as_ref().map_or(0, Expected::bytes);
        self.add_entry(Flight::Event { channel, ack }, expected);
        unexpected
    }

    fn add_entry(&mut self, flight: Flight, expected: Option<Expected>) -> u64 {
        let ticket = self.next_ticket();
        self.entries.push_back(Entry { to_bus: Some(flight), expected, landed: Duration::ZERO });
        ticket
    }

    /// Whether the events that the bus is to return leave room for more.
    pub(super) fn have_room(&self) -> bool {
        self.expected_bytes < MAX_EXPECTED
    }

    /// Handles that the bus has accepted or lost a message.
    pub(super) fn land(&mut self, ticket: u64, now: Duration) -> Option<Flight> {
        let entry = self.entry(ticket)?;
        entry.landed = now;
        let flight = entry.to_bus.take();
        self.trim();
        flight
    }

    /// Takes an event that the bus has returned, behind those before it on its channel that it has not
    /// returned. Takes nothing that has been taken before.
    pub(super) fn take_through(&mut self, ticket: u64) -> SmallVec<[OwnEvent; 1]> {
        let mut events = SmallVec::new();
        let mut next = ticket;
        while let Some(expected) = self.entry(next).and_then(|entry| entry.expected.take()) {
            self.expected_bytes -= expected.bytes();
            next = expected.previous;
            events.push(expected.event);
        }
        events.reverse();
        self.trim();
        events
    }

    /// Takes all events that the bus has not returned, in order.
    pub(super) fn take_all(&mut self) -> Vec<OwnEvent> {
        let expected = self.entries.iter_mut().filter_map(|entry| entry.expected.take());
        let events = expected.map(|expected| expected.event).collect();
        self.expected_bytes = 0;
        self.trim();
        events
    }

    /// Takes the events that the bus has accepted and not returned, though it has returned a message that
    /// this node sent at `sent`, long after. A clock would not show it: after a pause of the process, the
    /// messages that the bus has returned are still to be read.
    pub(super) fn take_overdue(&mut self, sent: Duration) -> Vec<OwnEvent> {
        // Those behind one that waits for the bus are looked at when that one has landed.
        let is_overdue =
            |entry: &Entry| entry.to_bus.is_none() && entry.landed + RETURN_TIMEOUT < sent;
        let mut events = Vec::new();
        while self.entries.front().is_some_and(is_overdue) {
            events.extend(self.take_through(self.before + 1));
        }
        events
    }

    fn entry(&mut self, ticket: u64) -> Option<&mut Entry> {
        let at = ticket.checked_sub(self.before + 1)?;
        self.entries.get_mut(usize::try_from(at).ok()?)
    }

    /// Removes entries that wait for nothing, and the memory of a burst.
    fn trim(&mut self) {
        let is_done = |entry: &mut Entry| entry.to_bus.is_none() && entry.expected.is_none();
        while self.entries.pop_front_if(is_done).is_some() {
            self.before += 1;
        }
        if self.entries.is_empty() && self.entries.capacity() > 4096 {
            self.entries = VecDeque::new();
        }
    }
}

/// A change of this node's state.
#[derive(Debug)]
pub(super) struct OwnChange {
    pub(super) channel: ChannelKey,
    /// The [`StateChange`](ClusterMessage::StateChange), encoded.
    pub(super) message: Bytes,
}

/// Changes of this node's state that the bus is to return, by channel. This node applies a change when it
/// returns, or when it will not: then no other node has a say in who reports it to the backend.
#[derive(Debug, Default)]
pub(super) struct Changes(
    HashMap<ChannelKey, VecDeque<PendingChange>, foldhash::fast::RandomState>,
);

#[derive(Debug)]
struct PendingChange {
    number: u64,
    sent: Duration,
    message: Bytes,
}

impl Changes {
    /// Whether the bus is to return no change.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the change after which the state has this version.
    pub(super) fn add(&mut self, change: OwnChange, number: u64, now: Duration) {
        let OwnChange { channel, message } = change;
        let change = PendingChange { number, sent: now, message };
        self.0.entry(channel).or_default().push_back(change);
    }

    /// Takes the change that the bus has returned, behind those before it on its channel, which were lost.
    pub(super) fn take_through(
        &mut self,
        channel: &ChannelKey,
        number: u64,
    ) -> SmallVec<[OwnChange; 1]> {
        let mut taken = SmallVec::new();
        let Some(changes) = self.0.get_mut(channel) else { return taken };
        while let Some(change) = changes.pop_front_if(|change| change.number <= number) {
            taken.push(OwnChange { channel: channel.clone(), message: change.message });
        }
        if changes.is_empty() {
            self.remove(channel);
        }
        taken
    }

    /// Takes the changes that the bus has not returned, though it has returned a message that this node sent
    /// at `sent`, long after.
    pub(super) fn take_overdue(&mut self, sent: Duration) -> Vec<OwnChange> {
        let is_overdue = |change: &PendingChange| change.sent + RETURN_TIMEOUT < sent;
        let channels = self.0.iter().filter_map(|(channel, changes)| {
            let last = changes.iter().rfind(|change| is_overdue(change))?;
            Some((channel.clone(), last.number))
        });
        let channels: Vec<(ChannelKey, u64)> = channels.collect();
        channels.iter().flat_map(|(channel, last)| self.take_through(channel, *last)).collect()
    }

    /// Takes all changes, each channel's in order.
    pub(super) fn take_all(&mut self) -> Vec<OwnChange> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.flat_map(|(channel, changes)| {
            changes.into_iter().map(move |PendingChange { message, .. }| OwnChange {
                channel: channel.clone(),
                message,
            })
        })
        .collect()
    }

    /// Forgets the changes of a channel that is closed, or has none left.
    pub(super) fn remove(&mut self, channel: &ChannelKey) {
        self.0.remove(channel);
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
    }
}
