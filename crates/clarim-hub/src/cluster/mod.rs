//! A node among others: what it listens to on the bus, who else is there, and what is asked of all of them.
//!
//! Pure, as everything here: what the bus and the node have to say goes in, with the time, and what is to be
//! sent comes out through [`Wire`].

mod opening;
mod peers;
mod questions;

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_protocol::cluster::{
    ClusterMessage, NodeId, channel_subject, decode, encode, node_subject, nodes_subject,
};
use hashbrown::HashMap;
use slab::Slab;

use crate::entry::{BusCommand, ChannelKey, DeliveryAck, Outputs};
use crate::node::Node;
use opening::Openings;
use peers::{Health, Peers};
use questions::Questions;
pub use questions::{Gathered, OnGathered};

/// A node tells the others that it is there so often in the time of a lease.
const BEATS_PER_LEASE: u32 = 5;

/// Each state's number is said again after so long, in case that something was missed.
const REFRESH: Duration = Duration::from_secs(30);

/// Of which no number is said for so long, that is there no more.
const FORGET: Duration = Duration::from_secs(75);

/// Time between two ticks, at least.
pub const TICK: Duration = Duration::from_millis(50);

/// The sending half of a bus. Nothing waits: what is to be sent is queued.
pub trait Wire {
    /// Listens to a subject. [`Cluster::subscribed`] is to be called when the bus has confirmed it.
    fn subscribe(&mut self, subject: &str);

    /// Listens to it no longer.
    fn unsubscribe(&mut self, subject: &str);

    /// Sends a message to all who listen to the subject. [`Cluster::published`] or [`Cluster::lost`] is to be
    /// called with the ticket.
    fn publish(&mut self, subject: &str, message: Bytes, ticket: u64);
}

/// How a node behaves in its cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// What all subjects begin with.
    pub prefix: String,
    /// A node that is silent for so long is given up.
    pub lease: Duration,
    /// How long it is waited for the answers of other nodes.
    pub deadline: Duration,
}

/// What is known of the cluster at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// Whether the bus is connected.
    pub is_up: bool,
    /// The node's time of the last change of that.
    pub since: Duration,
    /// Other nodes that are there.
    pub peers: usize,
    /// How long the last message of this node to itself took.
    pub lag: Duration,
    /// Messages that were none of ours.
    pub rubbish: u64,
    /// Events that the bus has not taken.
    pub lost: u64,
    /// Subjects of channels that are listened to.
    pub channels: usize,
}

/// What a message that was sent is waited for.
#[derive(Debug)]
enum Flight {
    Nothing,
    Event(DeliveryAck),
    Hello(ChannelKey),
}

/// A node's part in its cluster.
#[derive(Debug)]
pub struct Cluster<P> {
    node: Arc<Node<P>>,
    id: NodeId,
    settings: ClusterSettings,
    nodes_subject: String,
    own_subject: String,
    state: ClusterState,
    /// Channels by their subjects.
    channels: HashMap<Box<str>, ChannelKey, foldhash::fast::RandomState>,
    openings: Openings,
    flights: Slab<Flight>,
    peers: Peers,
    questions: Questions,
    next_beat: Duration,
    /// By which the guard of a channel is chosen.
    guards: foldhash::fast::RandomState,
    /// All states are to be said, from this part of the node on, and whether those of others are wanted.
    announce: Option<(usize, bool)>,
    /// The part of the node whose numbers are said next, and when.
    refresh: (usize, Duration),
}

impl<P: Outputs> Cluster<P> {
    /// The part of `node` as `id`, which must be what its [`Outputs`] says.
    pub fn new(node: Arc<Node<P>>, id: NodeId, settings: ClusterSettings) -> Self {
        Self {
            nodes_subject: nodes_subject(&settings.prefix),
            own_subject: node_subject(&settings.prefix, id),
            node,
            id,
            state: ClusterState::default(),
            channels: HashMap::default(),
            openings: Openings::default(),
            flights: Slab::new(),
            peers: Peers::new(settings.lease),
            questions: Questions::default(),
            next_beat: Duration::ZERO,
            guards: foldhash::fast::RandomState::default(),
            announce: None,
            refresh: (0, Duration::ZERO),
            settings,
        }
    }

    /// What is known of the cluster.
    #[must_use]
    pub fn state(&self) -> ClusterState {
        ClusterState { peers: self.peers.len(), channels: self.channels.len(), ..self.state }
    }

    /// The other nodes.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.ids()
    }

    /// Listens to what concerns the node itself. To be called first.
    pub fn start(&self, wire: &mut impl Wire) {
        wire.subscribe(&self.nodes_subject);
        wire.subscribe(&self.own_subject);
    }

    /// The node is going: the others need not wait for the end of its lease. The message's ticket.
    pub fn say_bye(&mut self, wire: &mut impl Wire) -> u64 {
        self.say_to_all(&ClusterMessage::Goodbye, wire)
    }

    /// The bus is connected, and all that was subscribed to is listened to.
    pub fn up(&mut self, now: Duration, wire: &mut impl Wire) {
        (self.state.is_up, self.state.since) = (true, now);
        self.peers.await_return(now);
        self.beat(now, wire);
        // What was said meanwhile, here and elsewhere, has been missed.
        self.announce = Some((0, true));
    }

    /// The bus is lost. The node goes on by itself.
    pub fn down(&mut self, now: Duration) {
        (self.state.is_up, self.state.since) = (false, now);
        self.announce = None;
        for channel in self.openings.take_all() {
            self.node.opened(&channel, now);
        }
        self.questions.give_up();
    }

    /// Takes what the node has for the bus.
    pub fn told(&mut self, told: BusCommand, now: Duration, wire: &mut impl Wire) {
        match told {
            BusCommand::Open(channel) => self.open(channel, now, wire),
            BusCommand::Close(channel) => {
                let subject = self.subject(&channel);
                self.channels.remove(subject.as_str());
                self.openings.remove(&channel);
                wire.unsubscribe(&subject);
            }
            BusCommand::Guard(channel) => self.ask_for_guard(&channel, wire),
            BusCommand::Event { channel, frame, except, kept, receipt } => {
                let except = except.map(Into::into);
                let trace = receipt.as_ref().and_then(DeliveryAck::trace);
                let word = ClusterMessage::Event { payload: frame.payload(), except, kept, trace };
                let flight = receipt.map_or(Flight::Nothing, Flight::Event);
                self.send(&channel, encode(self.id, &word), flight, wire);
            }
            // Nobody else is heard: what this node says is all that is said.
            BusCommand::Say { channel, message, .. } if !self.state.is_up => {
                if let Ok((_, word)) = decode(&message) {
                    self.node.hear_myself(&channel, &word, now);
                }
            }
            BusCommand::Say { channel, message, hello } => {
                let asks = hello && self.openings.is_opening(&channel);
                let flight = if asks { Flight::Hello(channel.clone()) } else { Flight::Nothing };
                self.send(&channel, message, flight, wire);
            }
        }
    }

    /// The bus has taken a message; `receivers`: how many got it, if it knows.
    pub fn published(&mut self, ticket: u64, receivers: Option<u32>, now: Duration) {
        if let Some(Flight::Hello(channel)) = self.land(ticket) {
            // This node is one of the receivers. Others may be no nodes at all.
            let peers = self.peers.len();
            let counted = receivers.map(|n| (n.saturating_sub(1) as usize).min(peers));
            self.openings.asked(&channel, counted);
            self.open_if_ready(&channel, now);
        }
    }

    /// The bus has not taken a message.
    pub fn lost(&mut self, ticket: u64, now: Duration) {
        match self.land(ticket) {
            Some(Flight::Event(receipt)) => {
                self.state.lost += 1;
                receipt.missed_the_bus();
            }
            Some(Flight::Hello(channel)) => self.opened(&channel, now),
            Some(Flight::Nothing) => self.state.lost += 1,
            None => {}
        }
    }

    /// The bus has confirmed that a subject is listened to; `is_first`: and that nobody else had listened to
    /// it before.
    pub fn subscribed(&mut self, subject: &str, is_first: bool, now: Duration) {
        let Some(channel) = self.channels.get(subject) else { return };
        if !self.openings.is_opening(channel) {
            return;
        }
        let (channel, is_shared) = (channel.clone(), self.node.is_shared(channel));
        if is_shared {
            // Who has come at the same time, even where nobody had been before.
            self.node.say_hello(&channel, now);
        }
        if is_first || !is_shared {
            self.opened(&channel, now);
        }
    }

    /// Takes a message.
    pub fn message(&mut self, subject: &str, message: &[u8], now: Duration, wire: &mut impl Wire) {
        let Ok((from, word)) = decode(message) else {
            self.state.rubbish += 1;
            return;
        };
        if from == self.id {
            if let ClusterMessage::Heartbeat { at } = word {
                self.echo(at, now);
            } else if let Some(channel) = self.channels.get(subject) {
                self.node.hear_myself(channel, &word, now);
            }
            return;
        }
        if from != NodeId::OUTSIDE {
            self.meet(from, &word, now, wire);
        }
        if subject == self.nodes_subject {
            self.hear_all(from, &word, now, wire);
        } else if subject == self.own_subject {
            if let ClusterMessage::BackupSubscribe { app, channel } = word {
                self.state.rubbish += u64::from(!self.node.guard(app, channel, now));
            }
            self.questions.answered(from, &word);
        } else if let Some(channel) = self.channels.get(subject) {
            if let ClusterMessage::ExternalPublish(event) = &word {
                self.state.rubbish += u64::from(!self.node.hear_outside(channel, event, now));
                return;
            }
            self.node.hear(channel, from, &word, now);
            let (ClusterMessage::SyncRequest(state) | ClusterMessage::State(state)) = &word else {
                return;
            };
            let claimed = state.answers.contains(&self.id).then_some(state.nodes);
            if !state.more && self.openings.answered(channel, from, claimed) {
                let channel = channel.clone();
                self.open_if_ready(&channel, now);
            }
        }
    }

    /// Does what has become due. To be called every [`TICK`] or so.
    pub fn tick(&mut self, now: Duration, wire: &mut impl Wire) {
        for channel in self.openings.take_due(now) {
            self.node.opened(&channel, now);
        }
        self.questions.end_due(now);
        if now >= self.next_beat {
            self.beat(now, wire);
        }
        // Where the bus is silent to all, a backend would be told that everybody has left.
        let is_told = self.state.is_up && self.peers.hears_itself(now);
        for node in self.peers.take_dead(now) {
            self.lose(node, is_told, now);
        }
        if !self.state.is_up {
            return;
        }
        if let Some((part, hello)) = self.announce {
            self.node.say_all(part, hello, now);
            self.announce = (part + 1 < Node::<P>::PARTS).then_some((part + 1, hello));
        }
        if now >= self.refresh.1 {
            let silence = if now > self.peers.spared() + FORGET { FORGET } else { now };
            self.node.refresh(self.refresh.0, now - silence, now);
            let parts = Node::<P>::PARTS;
            self.refresh = ((self.refresh.0 + 1) % parts, now + REFRESH / parts as u32);
        }
    }

    fn open(&mut self, channel: ChannelKey, now: Duration, wire: &mut impl Wire) {
        let subject = self.subject(&channel);
        wire.subscribe(&subject);
        self.channels.insert(subject.into(), channel.clone());
        if self.state.is_up {
            self.openings.begin(channel, now + self.settings.deadline);
        } else {
            self.node.opened(&channel, now);
        }
    }

    fn open_if_ready(&mut self, channel: &ChannelKey, now: Duration) {
        if self.openings.is_ready(channel) {
            self.opened(channel, now);
        }
    }

    fn opened(&mut self, channel: &ChannelKey, now: Duration) {
        if self.openings.remove(channel) {
            self.node.opened(channel, now);
        }
    }

    fn send(&mut self, channel: &ChannelKey, message: Bytes, flight: Flight, wire: &mut impl Wire) {
        let ticket = self.flights.insert(flight) as u64;
        if self.state.is_up {
            wire.publish(&self.subject(channel), message, ticket);
        } else {
            self.lost(ticket, Duration::ZERO);
        }
    }

    fn land(&mut self, ticket: u64) -> Option<Flight> {
        let flight = self.flights.try_remove(usize::try_from(ticket).ok()?);
        if self.flights.is_empty() && self.flights.capacity() > 4096 {
            self.flights = Slab::new();
        }
        flight
    }

    fn say_to_all(&mut self, word: &ClusterMessage<'_>, wire: &mut impl Wire) -> u64 {
        let ticket = self.flights.insert(Flight::Nothing) as u64;
        wire.publish(&self.nodes_subject, encode(self.id, word), ticket);
        ticket
    }

    fn subject(&self, channel: &ChannelKey) -> String {
        let app = &self.node.apps().get(channel.app).id;
        channel_subject(&self.settings.prefix, app, &channel.name)
    }

    fn beat(&mut self, now: Duration, wire: &mut impl Wire) {
        self.next_beat = now + self.settings.lease / BEATS_PER_LEASE;
        if self.state.is_up {
            let at = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
            self.say_to_all(&ClusterMessage::Heartbeat { at }, wire);
        }
    }

    fn echo(&mut self, at: u64, now: Duration) {
        self.state.lag = now.saturating_sub(Duration::from_micros(at));
        self.peers.hear_myself(now);
    }

    /// A node has said something: it is there.
    fn meet(
        &mut self,
        from: NodeId,
        word: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        match (self.peers.hear(from, now), word) {
            (_, ClusterMessage::Goodbye) => self.lose(from, true, now),
            // It is new, or it was given up: what it has is unknown here.
            (Health::New, _) => {
                self.say_to_all(&ClusterMessage::ResyncRequest(from), wire);
            }
            (Health::Known, _) => {}
        }
    }

    fn hear_all(
        &mut self,
        from: NodeId,
        word: &ClusterMessage<'_>,
        now: Duration,
        wire: &mut impl Wire,
    ) {
        match word {
            ClusterMessage::ResyncRequest(node) if *node == self.id => {
                let hello = self.announce.is_some_and(|(_, hello)| hello);
                self.announce = Some((0, hello));
            }
            ClusterMessage::Query { ticket, app, question } => {
                let subject = node_subject(&self.settings.prefix, from);
                questions::answer(&self.node, (app, question), now, |answer, more| {
                    let word = ClusterMessage::Reply { ticket: *ticket, more, answer };
                    let ticket = self.flights.insert(Flight::Nothing) as u64;
                    wire.publish(&subject, encode(self.id, &word), ticket);
                });
            }
            // One for all: the one with the least number.
            ClusterMessage::RelayPublish { app, channel, event }
                if self.peers.ids().all(|peer| self.id < peer) =>
            {
                self.state.rubbish += u64::from(!self.node.relay(app, channel, event, now));
            }
            _ => {}
        }
    }

    /// Asks one of the other nodes; for each channel another one, and the same one again.
    fn ask_for_guard(&mut self, channel: &ChannelKey, wire: &mut impl Wire) {
        let chance = |peer: &NodeId| self.guards.hash_one((channel, peer));
        let Some(guard) = self.peers.ids().max_by_key(chance).filter(|_| self.state.is_up) else {
            return;
        };
        let app = &self.node.apps().get(channel.app).id;
        let word = encode(
            self.id,
            &ClusterMessage::BackupSubscribe { app, channel: channel.name.as_str() },
        );
        let ticket = self.flights.insert(Flight::Nothing) as u64;
        wire.publish(&node_subject(&self.settings.prefix, guard), word, ticket);
    }

    fn lose(&mut self, node: NodeId, is_told: bool, now: Duration) {
        self.peers.remove(node);
        self.questions.lose(node);
        self.node.lose(node, is_told, now);
        for channel in self.openings.lose(node) {
            self.open_if_ready(&channel, now);
        }
    }
}
