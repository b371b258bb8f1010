//! Messages of this node that are on their way: to the bus, and back to this node.
//!
//! All nodes deliver the events of a channel in the order of the bus, also the node that publishes them: it
//! delivers an event when the bus returns it. So when an event has been answered, no node delivers a later
//! one before it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::RETURN_TIMEOUT;
use clarim_cluster::{ClusterMessage, NodeId, encode};
use clarim_protocol::{Frame, SocketId};
use smallvec::SmallVec;

use crate::address::ChannelKey;
use crate::directory::{Keep, Publication};
use crate::outputs::{DeliveryAck, DeliveryAcks};

/// Bytes of events that the bus is to return, above which no more should be published.
const MAX_EXPECTED: usize = 16 << 20;

/// The purpose for which the result of a publish is awaited.
#[derive(Debug)]
pub(in crate::cluster) enum Flight {
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
pub(in crate::cluster) struct OwnEvent {
    pub(in crate::cluster) channel: ChannelKey,
    pub(in crate::cluster) frame: Frame,
    pub(in crate::cluster) except: Option<SocketId>,
    pub(in crate::cluster) kept: Option<u64>,
    pub(in crate::cluster) ack: Option<DeliveryAck>,
}

impl OwnEvent {
    /// Makes the event into a message. `ack` is held until the bus has accepted it.
    pub(in crate::cluster) fn encode(
        &self,
        from: NodeId,
        ack: Option<&DeliveryAck>,
        ticket: u64,
    ) -> Bytes {
        let message = ClusterMessage::Event {
            payload: self.frame.payload(),
            except: self.except.map(Into::into),
            kept: self.kept,
            trace: ack.and_then(DeliveryAck::trace),
            ticket,
        };
        encode(from, &message)
    }

    /// Makes the event into a publication for this node's subscribers.
    pub(super) fn publication(&self) -> Publication<'_> {
        Publication {
            except: self.except,
            acks: DeliveryAcks { here: self.ack.as_ref(), bus: None },
            keep: self.kept.map_or(Keep::No, Keep::Numbered),
            ..Publication::new(&self.channel, &self.frame)
        }
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
pub(in crate::cluster) struct Flights {
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
    pub(in crate::cluster) fn after(tickets: u64) -> Self {
        Self { before: tickets, ..Self::default() }
    }

    /// Whether no message is on its way.
    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the ticket of the message that is added next. The first one is 1.
    pub(in crate::cluster) fn next_ticket(&self) -> u64 {
        self.before + self.entries.len() as u64 + 1
    }

    /// Adds a message. Returns its ticket.
    pub(in crate::cluster) fn add(&mut self, flight: Flight) -> u64 {
        self.add_entry(flight, None)
    }

    /// Adds an event, which is delivered here when the bus returns it. `previous` is the ticket of the event
    /// before it on its channel; `None` if the bus may not return it, and so the event is returned now.
    pub(in crate::cluster) fn add_event(
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
    pub(in crate::cluster) fn have_room(&self) -> bool {
        self.expected_bytes < MAX_EXPECTED
    }

    /// Handles that the bus has accepted or lost a message.
    pub(in crate::cluster) fn land(&mut self, ticket: u64, now: Duration) -> Option<Flight> {
        let entry = self.entry(ticket)?;
        entry.landed = now;
        let flight = entry.to_bus.take();
        self.trim();
        flight
    }

    /// Takes an event that the bus has returned, behind those before it on its channel that it has not
    /// returned. Takes nothing that has been taken before.
    pub(in crate::cluster) fn take_through(&mut self, ticket: u64) -> SmallVec<[OwnEvent; 1]> {
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
    pub(in crate::cluster) fn take_all(&mut self) -> Vec<OwnEvent> {
        let expected = self.entries.iter_mut().filter_map(|entry| entry.expected.take());
        let events = expected.map(|expected| expected.event).collect();
        self.expected_bytes = 0;
        self.trim();
        events
    }

    /// Takes the events that the bus has accepted and not returned, though it has returned a message that
    /// this node sent at `sent`, long after. A clock would not show it: after a pause of the process, the
    /// messages that the bus has returned are still to be read.
    pub(in crate::cluster) fn take_overdue(&mut self, sent: Duration) -> Vec<OwnEvent> {
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
