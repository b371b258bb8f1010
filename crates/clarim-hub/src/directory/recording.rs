//! Recording: keeps events of the channels of a shard for later subscribers.

use std::num::NonZeroU64;

use clarim_protocol::{Epoch, Frame, GapReason, server};

use super::channel::{Channel, Channels, get_or_open};
use super::clock::LogicalClock;
use super::kept::{CachedEvent, History, Recovery, Retention};
use super::requests::{Join, Keep, Publication};
use super::step::Step;
use crate::address::{AppIndex, ChannelKey};
use crate::app::HistoryRule;

/// Returns the history rule of a channel. In a cluster there is none: the nodes have no common history.
pub(super) fn rule_of<'a>(key: &ChannelKey, step: &Step<'a>) -> Option<&'a HistoryRule> {
    step.app(key).history_of(&key.name).filter(|_| !step.is_clustered())
}

/// The channels of a shard, and what is kept of them.
#[derive(Debug)]
pub(super) struct Recorder<'a> {
    pub(super) channels: &'a mut Channels,
    pub(super) retention: &'a mut Retention,
    /// The number of the last event that was to be cached.
    pub(super) last_number: &'a mut u64,
}

impl Recorder<'_> {
    /// Appends an event to the history of its channel, if it has one. Returns the event as subscribers get
    /// it.
    pub(super) fn append(&mut self, event: &Publication<'_>, step: &mut Step<'_>) -> Frame {
        let Publication { channel: key, frame, except, acks, keep } = *event;
        let is_kept = |rule: &&HistoryRule| keep != Keep::No || rule.client_events;
        let Some(rule) = rule_of(key, step).filter(is_kept) else { return step.shared(frame) };
        self.begin(key, step);
        let placed = self.change(key, |channel| {
            let history = channel.history.as_mut()?;
            let frame = history.append(frame, except, rule, step.now);
            acks.here.iter().for_each(|ack| ack.place(key, history.position()));
            Some(frame)
        });
        step.shared(placed.flatten().as_ref().unwrap_or(frame))
    }

    /// Returns what a new subscriber of a channel with history gets first.
    pub(super) fn recover(&mut self, join: &Join<'_>, step: &mut Step<'_>) -> Option<Recovery> {
        let key = join.channel;
        let rule = rule_of(key, step)?;
        self.begin(key, step);
        let recovery = self.change(key, |channel| {
            let history = channel.history.as_mut()?;
            history.touch(rule, step.now);
            Some(history.recover(join.since, join.socket_id, rule, &key.name))
        });
        recovery.flatten()
    }

    /// Begins the history of a channel, unless there is one.
    fn begin(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        if get_or_open(self.channels, key, step).history.is_some() {
            return;
        }
        // Numbers begin with 1.
        let epoch = NonZeroU64::new(self.next_number(key, step)).unwrap_or(NonZeroU64::MIN);
        let history = History::new(Epoch(epoch), step.now);
        let position = history.position();
        self.change(key, |channel| {
            channel.history = Some(Box::new(history));
            // If there was no rule when they subscribed.
            if !channel.subscribers.is_empty() {
                let gap = server::gap(&key.name, GapReason::Epoch, Some(position));
                channel.deliver(key, &gap, step);
            }
        });
    }

    /// Caches an event as the channel's last, unless there is a later one.
    pub(super) fn remember(
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
        *self.last_number = step.clock.number(step.config.node_id, step.now).max(last + 1);
        *self.last_number
    }

    fn last_kept(&self, key: &ChannelKey) -> u64 {
        let channel = self.channels.get(key);
        channel.and_then(|channel| channel.cached.as_ref()).map_or(0, |cached| cached.number)
    }

    /// Drops what has expired of one channel. Returns the channel; `None` if nothing has expired.
    pub(super) fn drop_expired(&mut self, step: &Step<'_>) -> Option<ChannelKey> {
        let key = self.retention.pop_due(step.now)?;
        let rule = rule_of(&key, step);
        let now = step.now;
        self.drop_some(&key, |channel| {
            channel.cached.take_if(|cached| cached.expires_at() <= now);
            let is_used = !channel.subscribers.is_empty();
            if let (Some(history), Some(rule)) = (&mut channel.history, rule) {
                if is_used { history.touch(rule, now) } else { history.trim(rule, now) }
            }
            channel.history.take_if(|history| rule.is_none() || history.is_expired(now));
        });
        Some(key)
    }

    /// Drops something of one channel if an app has too much. Returns the channel.
    pub(super) fn drop_excess(&mut self, app: AppIndex) -> Option<ChannelKey> {
        let (due, key) = self.retention.pop_excess(app)?;
        let before = self.retention.bytes();
        let expiry = self.change(&key, |channel| {
            // Otherwise it has got another event since.
            if channel.expiry().is_some_and(|expiry| expiry <= due) {
                channel.evict(due);
            }
            channel.is_retained = channel.expiry().is_some();
            channel.expiry()
        });
        match expiry.flatten() {
            Some(expiry) if expiry > due || self.retention.bytes() < before => {
                self.retention.add(key.clone(), expiry);
            }
            // A history without events, for subscribers. The channels behind it have more.
            Some(_) => self.retention.add_last(key.clone()),
            None => {}
        }
        Some(key)
    }

    /// Changes a channel that was taken out of the queue, and puts it back if something is still kept.
    fn drop_some(&mut self, key: &ChannelKey, drop: impl FnOnce(&mut Channel)) {
        self.change(key, |channel| {
            channel.is_retained = false;
            drop(channel);
        });
    }

    /// Changes what is kept of a channel, and accounts for it.
    fn change<T>(&mut self, key: &ChannelKey, change: impl FnOnce(&mut Channel) -> T) -> Option<T> {
        let channel = self.channels.get_mut(key)?;
        let before = channel.retained_bytes(key);
        let result = change(channel);
        self.retention.resize(key.app, before, channel.retained_bytes(key));
        if let Some(due) = channel.expiry().filter(|_| !channel.is_retained) {
            channel.is_retained = true;
            self.retention.add(key.clone(), due);
        }
        Some(result)
    }
}
