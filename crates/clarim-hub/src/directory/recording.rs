//! Recording: keeps events of the channels of a shard for later subscribers.

use std::num::NonZeroU64;
use std::time::Duration;

use clarim_protocol::{Epoch, Frame, GapReason, Position, server};

use super::channel::{Channel, Channels, get_or_open};
use super::clock::LogicalClock;
use super::counts::Recoveries;
use super::kept::{CachedEvent, History, Recovery, Retention};
use super::requests::{Join, Keep, LogPlace, Publication};
use super::step::Step;
use crate::address::{AppIndex, ChannelKey};
use crate::app::HistoryRule;

/// Maximum number of entries by which a node is behind its clients. Some servers skip offsets.
const MAX_AHEAD: u64 = 1 << 21;

/// Returns the rule by which an event is kept in the history of its channel, if it is.
pub(super) fn rule_of<'a>(
    key: &ChannelKey,
    keep: Keep,
    step: &Step<'a>,
) -> Option<&'a HistoryRule> {
    let rule = step.app(key).history_of(&key.name);
    rule.filter(|rule| keep != Keep::No || rule.client_events)
}

/// The relation of an entry of the bus's log to the history as this node has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Succession {
    /// It is the next one.
    Next,
    /// It is known here, or the channel is not.
    Old,
    /// This node has missed entries behind this offset.
    Hole(u64),
}

/// The channels of a shard, and what is kept of them.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    pub(super) channels: &'a mut Channels,
    pub(super) retention: &'a mut Retention,
    /// The number of the last event that was to be cached.
    pub(super) last_number: &'a mut u64,
    pub(super) recoveries: &'a mut Recoveries,
}

impl Recorder<'_> {
    /// Appends an event to the history of its channel, if it has one. Returns the event as subscribers get
    /// it.
    pub(crate) fn append(&mut self, event: &Publication<'_>, step: &mut Step<'_>) -> Frame {
        let Publication { channel: key, frame, except, acks, keep, place, .. } = *event;
        let Some(rule) = rule_of(key, keep, step) else { return step.shared(frame) };
        self.begin(key, step);
        let placed = self.change(key, |channel| {
            let history = channel.history.as_mut()?;
            let offset = match place {
                Some(place) => place.position.offset,
                // If the bus keeps histories, only its log gives offsets.
                None if step.has_logs() => return None,
                None => history.position().offset + 1,
            };
            let frame = history.append(frame, except, offset, rule, step.now);
            // With a bus, publishers learn the place when the event is stored.
            if place.is_none() {
                acks.here.iter().for_each(|ack| ack.place(key, history.position()));
            }
            Some(frame)
        });
        step.shared(placed.flatten().as_ref().unwrap_or(frame))
    }

    /// Returns what a new subscriber of a channel with history gets first.
    pub(super) fn recover(&mut self, join: &Join<'_>, step: &mut Step<'_>) -> Option<Recovery> {
        let key = join.channel;
        let rule = step.app(key).history_of(&key.name)?;
        self.begin(key, step);
        // A client that comes from another node may know the log better than this node.
        let max_ahead = if step.is_clustered() { MAX_AHEAD } else { 0 };
        let recovery = self.change(key, |channel| match &mut channel.history {
            Some(history) => {
                history.set_alone(false, step.now);
                history.touch(rule, step.now);
                Some(history.recover(join, rule, max_ahead))
            }
            // The log of the bus could not be read.
            None => join.since.map(|_| Recovery::gap(&key.name)),
        });
        let recovery = recovery.flatten()?;
        self.recoveries.count(recovery.start.as_ref(), recovery.gap);
        Some(recovery)
    }

    /// Reads the history of a channel. Without a bus it begins with this, so that the position that is
    /// read can be used. `None` if the channel has no history on this node.
    pub(crate) fn read<T>(
        &mut self,
        key: &ChannelKey,
        step: &mut Step<'_>,
        read: impl FnOnce(&History) -> T,
    ) -> Option<T> {
        let rule = step.app(key).history_of(&key.name)?;
        self.begin(key, step);
        let read = self.change(key, |channel| {
            let history = channel.history.as_mut()?;
            history.touch(rule, step.now);
            Some(read(history))
        });
        read.flatten()
    }

    /// Begins the history of a channel, unless there is one. With a bus, it begins with the log.
    fn begin(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        if !step.has_logs() && get_or_open(self.channels, key, step).history.is_none() {
            // Numbers begin with 1.
            let epoch = NonZeroU64::new(self.next_number(key, step)).unwrap_or(NonZeroU64::MIN);
            let position = Position { epoch: Epoch(epoch), offset: 0 };
            self.begin_at(key, position, step.now);
            // If there was no rule when they subscribed.
            self.announce_gap(key, GapReason::Epoch, step);
        }
    }

    /// Begins the history of a channel behind a position, instead of its present one.
    pub(crate) fn begin_at(&mut self, key: &ChannelKey, position: Position, now: Duration) {
        self.change(key, |channel| {
            let mut history = History::new(position, now);
            history.set_alone(channel.subscribers.is_empty() && channel.cluster.is_none(), now);
            channel.history = Some(Box::new(history));
        });
    }

    /// Tells the subscribers of a channel that they have missed events, and the position from which they get
    /// all.
    pub(crate) fn announce_gap(&self, key: &ChannelKey, reason: GapReason, step: &mut Step<'_>) {
        let Some(channel) = self.channels.get(key) else { return };
        if !channel.subscribers.is_empty() {
            let position = channel.history.as_ref().map(|history| history.position());
            channel.deliver(key, &server::gap(&key.name, reason, position), step);
        }
    }

    /// Compares an entry of the bus's log with the history as this node has it. A history of another epoch
    /// begins anew.
    pub(crate) fn succession(
        &mut self,
        key: &ChannelKey,
        place: LogPlace,
        step: &mut Step<'_>,
    ) -> Succession {
        let LogPlace { position, previous } = place;
        let Some(channel) = self.channels.get(key) else { return Succession::Old };
        let known = channel.history.as_ref().map(|history| history.position());
        match known.filter(|known| known.epoch == position.epoch) {
            None => {
                let before = Position { offset: previous, ..position };
                self.begin_at(key, before, step.now);
                self.announce_gap(key, GapReason::Epoch, step);
                Succession::Next
            }
            Some(known) if position.offset <= known.offset => Succession::Old,
            Some(known) if previous > known.offset => Succession::Hole(known.offset),
            Some(_) => Succession::Next,
        }
    }

    /// Moves the history of a channel on to a position behind which the next entry of the log comes.
    pub(crate) fn skip_to(&mut self, key: &ChannelKey, position: Position) {
        self.change(key, |channel| {
            channel.history.iter_mut().for_each(|history| history.skip_to(position));
        });
    }

    /// Records that the last subscriber of a channel on this node has left.
    pub(super) fn left(&mut self, key: &ChannelKey, now: Duration) {
        self.change(key, |channel| {
            let is_alone = channel.cluster.is_none();
            channel.history.iter_mut().for_each(|history| history.set_alone(is_alone, now));
        });
    }

    /// Forgets the history of a channel that is closed, or that has no rule any more.
    pub(super) fn end(&mut self, key: &ChannelKey) {
        self.change(key, |channel| channel.history = None);
        if let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.cached.is_none())
            && let Some(due) = channel.due.take()
        {
            self.retention.remove(key, due);
        }
    }

    /// Caches an event as the channel's last, unless there is a later one.
    pub(crate) fn remember(
        &mut self,
        key: &ChannelKey,
        frame: &Frame,
        number: u64,
        step: &mut Step<'_>,
    ) {
        step.clock.observe_number(number, step.now);
        if number <= self.last_kept(key) || !LogicalClock::is_credible(number) {
            return;
        }
        get_or_open(self.channels, key, step);
        let cached = CachedEvent { frame: frame.clone(), at: step.now, number };
        self.change(key, |channel| channel.cached = Some(cached));
    }

    /// Returns a number for an event that is to be cached: greater than all that are known here.
    pub(super) fn next_number(&mut self, key: &ChannelKey, step: &Step<'_>) -> u64 {
        let last = self.last_kept(key).max(*self.last_number);
        *self.last_number = step.clock.number(step.config.bus.id(), step.now).max(last + 1);
        *self.last_number
    }

    fn last_kept(&self, key: &ChannelKey) -> u64 {
        let channel = self.channels.get(key);
        channel.and_then(|channel| channel.cached.as_ref()).map_or(0, |cached| cached.number)
    }

    /// Drops what has expired of one channel. Returns the channel; `None` if nothing has expired.
    pub(super) fn drop_expired(&mut self, step: &Step<'_>) -> Option<ChannelKey> {
        let (due, key) = self.retention.pop_due(step.now)?;
        let rule = step.app(&key).history_of(&key.name);
        let now = step.now;
        self.look_at(&key, due, |channel| {
            channel.cached.take_if(|cached| cached.expires_at() <= now);
            // With a bus, the history ends with the channel.
            let is_used = !channel.subscribers.is_empty() || channel.cluster.is_some();
            if let (Some(history), Some(rule)) = (&mut channel.history, rule) {
                if is_used { history.touch(rule, now) } else { history.trim(rule, now) }
            }
            channel.history.take_if(|history| rule.is_none() || history.is_expired(now));
        });
        self.queue(&key, now);
        Some(key)
    }

    /// Drops something of one channel if an app has too much. Returns the channel.
    pub(super) fn drop_excess(&mut self, app: AppIndex) -> Option<ChannelKey> {
        let (due, key) = self.retention.pop_excess(app)?;
        let before = self.retention.bytes();
        let mut is_evicted = false;
        self.look_at(&key, due, |channel| {
            // Otherwise it has got another event since.
            is_evicted = channel.expiry().is_some_and(|expiry| expiry <= due);
            if is_evicted {
                channel.evict(due);
            }
        });
        // A history may have no events, but subscribers: others have more.
        let is_last = is_evicted && self.retention.bytes() == before;
        self.queue(&key, if is_last { self.retention.last_due(key.app) } else { due });
        Some(key)
    }

    /// Changes what is kept of a channel that was to be looked at now.
    fn look_at(&mut self, key: &ChannelKey, due: Duration, drop: impl FnOnce(&mut Channel)) {
        self.change(key, |channel| {
            // Otherwise the channel was closed, and another one has its name.
            if channel.due.take_if(|other| *other == due).is_some() {
                drop(channel);
                // Not queued yet: see `queue`.
                channel.due = Some(Duration::MAX);
            }
        });
    }

    /// Puts a channel that was looked at back into the queue, if something is still kept of it.
    fn queue(&mut self, key: &ChannelKey, not_before: Duration) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if channel.due == Some(Duration::MAX) {
            channel.due = channel.expiry().map(|expiry| expiry.max(not_before));
            channel.due.into_iter().for_each(|due| self.retention.add(key.clone(), due));
        }
    }

    /// Changes what is kept of a channel, and accounts for it.
    fn change<T>(&mut self, key: &ChannelKey, change: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let channel = self.channels.get_mut(key)?;
        let before = channel.retained_bytes(key);
        let result = change(channel);
        self.retention.resize(key.app, before, channel.retained_bytes(key));
        if let Some(due) = channel.expiry().filter(|_| channel.due.is_none()) {
            channel.due = Some(due);
            self.retention.add(key.clone(), due);
        }
        Some(result)
    }
}
