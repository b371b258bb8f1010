//! Logs: the histories of channels, which the server of the bus keeps for all nodes.
//!
//! All nodes deliver the events of a channel with history in the order of its log, also the node that
//! publishes them. What a node has missed it reads from the log before it goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use clarim_cluster::timing::RETURN_TIMEOUT;
use clarim_cluster::{ClusterMessage, NodeId, Received, decode};
use clarim_protocol::{Frame, GapReason, Position};
use hashbrown::HashMap;

use super::log_gaps::LogGaps;
use crate::address::ChannelKey;
use crate::app::HistoryRule;
use crate::cluster::outgoing::{Flight, Flights, OwnEvent};
use crate::cluster::wire::{LogEntry, LogPage, Wire};
use crate::directory::{Keep, LogPlace, NodeBus, Publication, Succession};
use crate::node::Node;
use crate::outputs::{DeliveryAck, DeliveryAcks, OutputSink};

/// Shortest time between two reads of a log of which this node has everything.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Maximum number of reads that are on their way.
const MAX_READS: usize = 256;

/// Pause after a read that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The logs of a node's channels.
#[derive(Debug)]
pub(in crate::cluster) struct Logs<S> {
    node: Arc<Node<S>>,
    id: NodeId,
    followed: HashMap<Box<str>, Followed, foldhash::fast::RandomState>,
    /// Logs of which this node does not have everything, and that are not being read.
    behind: VecDeque<Box<str>>,
    /// The other logs, by the time at which they are looked at. A log ends if no node reads it or appends to
    /// it for longer than it keeps entries, and the bus may lose an entry that no later one reveals.
    looks: BTreeSet<(Duration, Box<str>)>,
    /// Number of reads that are on their way.
    reads: usize,
    /// No log is read before this time, because a read has failed.
    paused_until: Duration,
    /// The version of the apps' settings by which logs are followed.
    rules: u64,
    /// This node's own events that are not stored or not delivered here yet, by ticket.
    appends: BTreeMap<u64, Append>,
    pub(in crate::cluster) restored_gaps: LogGaps,
}

/// A log whose entries this node receives.
#[derive(Debug)]
struct Followed {
    channel: ChannelKey,
    state: State,
    /// Why the history begins anew with what is being read, if it does. Subscribers do not get what is read
    /// then, since they may have got it before.
    gap: Option<GapReason>,
    /// The last entry that has arrived while the log was being read.
    arrived: Option<Position>,
}

/// How much of a log this node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing: the bus has not confirmed that this node receives the entries.
    Unconfirmed,
    /// Everything until the loss of the bus, or nothing.
    Behind,
    /// The rest is being read. Entries that arrive are read, too.
    Reading,
    /// Everything.
    Complete,
}

/// An event of this node for the log of its channel.
#[derive(Debug)]
pub(in crate::cluster) struct NewEntry {
    pub(in crate::cluster) event: OwnEvent,
    /// The idempotency key under which the log takes it once.
    pub(in crate::cluster) key: Option<Arc<str>>,
    /// Held until the log has it.
    pub(in crate::cluster) stored: Option<DeliveryAck>,
}

/// An event of this node that is on its way to the log, and back.
#[derive(Debug)]
struct Append {
    channel: ChannelKey,
    /// Held until the log has the event.
    stored: Option<DeliveryAck>,
    /// Present until the event is delivered here.
    undelivered: Option<Undelivered>,
    /// Whether this node followed the log when it appended the event.
    is_followed: bool,
    at: Duration,
}

/// Held until an event is delivered here.
#[derive(Debug)]
struct Undelivered(Option<DeliveryAck>);

impl<S: OutputSink> Logs<S> {
    pub(in crate::cluster) fn new(node: Arc<Node<S>>, id: NodeId) -> Self {
        Self {
            node,
            id,
            followed: HashMap::default(),
            behind: VecDeque::new(),
            looks: BTreeSet::new(),
            reads: 0,
            paused_until: Duration::ZERO,
            rules: 0,
            appends: BTreeMap::new(),
            restored_gaps: LogGaps::default(),
        }
    }

    /// Returns the gaps of which subscribers are still to be notified.
    pub(in crate::cluster) fn gaps(&self) -> impl Iterator<Item = (&ChannelKey, GapReason)> {
        self.followed.values().filter_map(|followed| Some((&followed.channel, followed.gap?)))
    }

    /// Whether no event of this node is on its way to a log and back.
    pub(in crate::cluster) fn is_at_rest(&self) -> bool {
        self.appends.is_empty()
    }

    /// Begins to follow the log of a channel, if the channel has a history. Returns whether it has.
    pub(in crate::cluster) fn open(
        &mut self,
        log: &str,
        channel: &ChannelKey,
        wire: &mut impl Wire,
    ) -> bool {
        if self.rule(channel).is_none() {
            return false;
        }
        let followed = Followed {
            channel: channel.clone(),
            state: State::Unconfirmed,
            gap: self.restored_gaps.take(channel),
            arrived: None,
        };
        self.followed.insert(log.into(), followed);
        wire.follow(log);
        true
    }

    /// Stops following the log of a channel that is closed.
    pub(in crate::cluster) fn close(&mut self, log: &str, wire: &mut impl Wire) {
        let Some(Followed { channel, .. }) = self.followed.remove(log) else { return };
        wire.unfollow(log);
        // Nobody is subscribed, but publishers wait.
        for append in self.appends.values_mut().filter(|append| append.channel == channel) {
            append.undelivered = None;
        }
        self.trim();
    }

    /// Handles the bus's confirmation that this node receives the entries of a log.
    pub(in crate::cluster) fn following(
        &mut self,
        log: &str,
        now: Duration,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) {
        if self.followed.get(log).is_some_and(|log| log.state == State::Unconfirmed) {
            self.fall_behind(log);
            self.catch_up(now, flights, wire);
        }
    }

    /// Handles a new connection to the bus, which receives the entries of all logs. Some were missed.
    pub(in crate::cluster) fn up(&mut self) {
        self.behind.clear();
        self.looks.clear();
        for (log, followed) in &mut self.followed {
            followed.state = State::Behind;
            self.behind.push_back(log.clone());
        }
    }

    /// Records that this node does not have everything of a log.
    fn fall_behind(&mut self, log: &str) {
        if let Some(followed) = self.followed.get_mut(log) {
            followed.state = State::Behind;
            self.behind.push_back(log.into());
        }
    }

    /// Reads the logs of which this node does not have everything, and now and then the others.
    pub(in crate::cluster) fn catch_up(
        &mut self,
        now: Duration,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) {
        while self.reads < MAX_READS && self.paused_until <= now {
            let Some(log) = self.behind.pop_front().or_else(|| self.next_look(now)) else { return };
            let Some(Followed { channel, state, .. }) = self.followed.get(&log) else { continue };
            if matches!(state, State::Behind | State::Complete) {
                let known = self.known(channel);
                self.read(&log, known.map_or(0, |position| position.offset), flights, wire);
            }
        }
    }

    /// Takes a log that is to be looked at by now.
    fn next_look(&mut self, now: Duration) -> Option<Box<str>> {
        self.looks.first().filter(|(due, _)| *due <= now)?;
        self.looks.pop_first().map(|(_, log)| log)
    }

    /// Follows the logs of channels whose rules are new, and no longer those without a rule.
    pub(in crate::cluster) fn follow_rules<'s>(
        &mut self,
        channels: impl Iterator<Item = (&'s str, &'s ChannelKey)>,
        wire: &mut impl Wire,
    ) {
        let rules = self.node.apps().changes();
        if std::mem::replace(&mut self.rules, rules) == rules {
            return;
        }
        for (log, channel) in channels {
            let state = self.followed.get(log).map(|followed| followed.state);
            match (self.rule(channel).is_some(), state) {
                (true, None) => drop(self.open(log, channel, wire)),
                (false, Some(_)) => self.close(log, wire),
                // The rule was away only for a moment, but the history has ended.
                (true, Some(State::Complete)) if self.known(channel).is_none() => {
                    self.fall_behind(log);
                }
                _ => {}
            }
        }
    }

    /// Handles an entry of a log.
    pub(in crate::cluster) fn entry(
        &mut self,
        log: &str,
        entry: &LogEntry,
        now: Duration,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) {
        let Some(followed) = self.followed.get_mut(log) else { return };
        if followed.state != State::Complete {
            followed.arrived = Some(entry.position);
            return;
        }
        let channel = followed.channel.clone();
        if let Succession::Hole(after) = self.apply(log, &channel, entry, now) {
            self.read_more(log, after, flights, wire);
        }
    }

    /// Applies what was read of a log. Returns the channel, if this node has everything now.
    pub(in crate::cluster) fn page(
        &mut self,
        log: &str,
        page: &LogPage,
        now: Duration,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) -> Option<ChannelKey> {
        self.reads -= 1;
        let channel = self.followed.get(log)?.channel.clone();
        if let Some(after) = self.apply_page(log, &channel, page, now) {
            self.read_more(log, after, flights, wire);
            return None;
        }
        let interval = self.rule(&channel).map_or(LOOK_INTERVAL, |rule| rule.ttl / 2);
        let followed = self.followed.get_mut(log)?;
        followed.state = State::Complete;
        self.looks.insert((now + interval.max(LOOK_INTERVAL), log.into()));
        if let Some(reason) = followed.gap.take() {
            self.node.step(&channel, now, |shard, step| {
                shard.recorder().announce_gap(&channel, reason, step);
            });
        }
        Some(channel)
    }

    /// Applies the entries of a page. Returns the offset behind which to read on, if the log has more.
    fn apply_page(
        &mut self,
        log: &str,
        channel: &ChannelKey,
        page: &LogPage,
        now: Duration,
    ) -> Option<u64> {
        let Position { epoch, offset } = page.current;
        let known = self.known(channel);
        let reason = match known.filter(|known| known.epoch == epoch) {
            Some(known) if known.offset >= page.start => None,
            Some(_) => Some(GapReason::Expired),
            None => Some(GapReason::Epoch),
        };
        if let Some(reason) = reason {
            self.followed.get_mut(log).into_iter().for_each(|log| log.gap = Some(reason));
            let start = Position { epoch, offset: page.start };
            self.node.step(channel, now, |shard, _| shard.recorder().begin_at(channel, start, now));
            // The page begins behind an offset of another epoch.
            if known.is_some_and(|known| known.epoch != epoch && known.offset > page.start) {
                return Some(page.start);
            }
        }
        for entry in &page.entries {
            self.apply(log, channel, entry, now);
        }
        if page.start >= offset {
            // The log keeps nothing, but goes on behind this offset.
            self.node.step(channel, now, |shard, _| {
                shard.recorder().skip_to(channel, page.current);
            });
        }
        let arrived = self.followed.get_mut(log).and_then(|log| log.arrived.take());
        let arrived = arrived.filter(|arrived| arrived.epoch == epoch);
        let last = arrived.map_or(offset, |arrived| arrived.offset.max(offset));
        self.known(channel).map(|known| known.offset).filter(|known| *known < last)
    }

    /// Applies an entry, if it is the next one.
    fn apply(
        &mut self,
        log: &str,
        channel: &ChannelKey,
        entry: &LogEntry,
        now: Duration,
    ) -> Succession {
        let &LogEntry { position, previous, ref message } = entry;
        // A message that this release cannot read has a place, too.
        let received = decode(message)
            .ok()
            .and_then(|Received { from, message }| message.map(|message| (from, message)));
        let own = match &received {
            Some((from, ClusterMessage::Event { ticket, .. })) if *from == self.id => Some(*ticket),
            _ => None,
        };
        let append = own.and_then(|ticket| self.appends.get(&ticket));
        let undelivered = append.and_then(|append| append.undelivered.as_ref());
        // In a cluster, subscribers may have got it on another node.
        let is_single = matches!(self.node.config().bus, NodeBus::Logs(_));
        let is_unheard = is_single && undelivered.is_some();
        let ack = undelivered.and_then(|Undelivered(ack)| ack.clone());
        let place = LogPlace { position, previous };
        let Some(Followed { gap, .. }) = self.followed.get_mut(log) else { return Succession::Old };
        let succession = self.node.step(channel, now, |shard, step| {
            let succession = shard.recorder().succession(channel, place, step);
            if succession != Succession::Next {
                return succession;
            }
            let Some((_, ClusterMessage::Event { payload, except, kept, .. })) = received else {
                shard.recorder().skip_to(channel, position);
                return succession;
            };
            let frame = &Frame::text(payload);
            let publication = Publication {
                except: except.map(Into::into),
                acks: DeliveryAcks { here: ack.as_ref(), bus: None },
                keep: kept.map_or(Keep::Last, Keep::Numbered),
                place: Some(place),
                ..Publication::new(channel, frame)
            };
            // It has reached nobody, and neither have those behind it.
            if let Some(reason) = gap.take_if(|_| is_unheard) {
                shard.recorder().announce_gap(channel, reason, step);
            }
            if gap.is_none() {
                shard.deliver(publication, step);
            } else {
                shard.recorder().append(&publication, step);
                shard.make_room(channel, step);
            }
            succession
        });
        // Behind a hole, it comes again with those before it.
        if !matches!(succession, Succession::Hole(_))
            && let Some(append) = own.and_then(|ticket| self.appends.get_mut(&ticket))
        {
            append.undelivered = None;
            self.trim();
        }
        succession
    }

    /// Reads the rest of a log that has more than this node knew. Entries that arrive wait for it.
    fn read_more(&mut self, log: &str, after: u64, flights: &mut Flights, wire: &mut impl Wire) {
        if let Some(followed) = self.followed.get_mut(log) {
            followed.state = State::Behind;
        }
        self.read(log, after, flights, wire);
    }

    /// Reads a log behind an offset.
    fn read(&mut self, log: &str, after: u64, flights: &mut Flights, wire: &mut impl Wire) {
        let Some(followed) = self.followed.get_mut(log) else { return };
        let app = self.node.app(followed.channel.app);
        // Without a rule, the channel has no history any more.
        let Some(rule) = app.history_of(&followed.channel.name) else { return };
        // A complete log is only looked at.
        if followed.state != State::Complete {
            followed.state = State::Reading;
        }
        self.reads += 1;
        let ticket = flights.add(Flight::Read(log.into()));
        wire.read(log, rule, after, ticket);
    }

    /// Handles that a log could not be read. It is tried again.
    pub(in crate::cluster) fn unread(&mut self, log: &str, now: Duration) {
        self.reads -= 1;
        self.paused_until = now + RETRY_PAUSE;
        match self.followed.get(log).map(|followed| followed.state) {
            Some(State::Reading) => self.fall_behind(log),
            Some(State::Complete) => drop(self.looks.insert((now + LOOK_INTERVAL, log.into()))),
            Some(State::Unconfirmed | State::Behind) | None => {}
        }
    }

    /// Appends an event to the log of its channel.
    pub(in crate::cluster) fn append(
        &mut self,
        log: &str,
        event: NewEntry,
        now: Duration,
        flights: &mut Flights,
        wire: &mut impl Wire,
    ) {
        let NewEntry { event, key, stored } = event;
        let node = self.node.clone();
        let Some(rule) = node.app(event.channel.app).history_of(&event.channel.name) else {
            return stored.iter().for_each(DeliveryAck::not_stored);
        };
        let ticket = flights.add(Flight::Append);
        let entry = event.encode(self.id, stored.as_ref(), ticket);
        let OwnEvent { channel, ack, .. } = event;
        let undelivered = Some(Undelivered(ack));
        let is_followed = self.followed.contains_key(log);
        self.appends.insert(ticket, Append { channel, stored, undelivered, is_followed, at: now });
        wire.append(log, rule, entry, key.as_deref(), ticket);
    }

    /// Handles that a log has an event. `is_new`: it was appended now.
    pub(in crate::cluster) fn appended(&mut self, ticket: u64, position: Position, is_new: bool) {
        let Some(append) = self.appends.get_mut(&ticket) else { return };
        if let Some(stored) = append.stored.take() {
            stored.place(&append.channel, position);
        }
        // This node gets the entry only if it follows the log.
        if !is_new || !append.is_followed {
            append.undelivered = None;
        }
        self.trim();
    }

    /// Handles that a log does not have an event, or that this is not known.
    pub(in crate::cluster) fn not_appended(&mut self, ticket: u64) {
        if let Some(append) = self.appends.remove(&ticket) {
            let Append { stored, undelivered, .. } = append;
            let delivered = undelivered.and_then(|Undelivered(ack)| ack);
            stored.iter().chain(&delivered).for_each(DeliveryAck::not_stored);
        }
    }

    /// Waits no longer for events that the log has not returned, though the bus has returned a message that
    /// this node sent at `sent`, long after.
    pub(in crate::cluster) fn end_overdue(&mut self, sent: Duration) {
        let is_overdue = |append: &&mut Append| append.at + RETURN_TIMEOUT < sent;
        for append in self.appends.values_mut().take_while(is_overdue) {
            append.undelivered = None;
        }
        self.trim();
    }

    fn trim(&mut self) {
        let is_done = |append: &Append| append.stored.is_none() && append.undelivered.is_none();
        while let Some(first) = self.appends.first_entry().filter(|first| is_done(first.get())) {
            first.remove();
        }
    }

    fn rule(&self, channel: &ChannelKey) -> Option<&HistoryRule> {
        self.node.app(channel.app).history_of(&channel.name)
    }

    /// Returns the position up to which this node has the history of a channel.
    fn known(&self, channel: &ChannelKey) -> Option<Position> {
        self.node.channel(channel, Duration::ZERO).position
    }
}
