//! A part of the node's channels: who has subscribers, who is present, what is cached.
//!
//! Each method is one step under the shard's lock: it changes the state and posts what follows from it,
//! so that every worker hears of a channel's changes in the order in which they happened.

use std::collections::VecDeque;
use std::time::Duration;

use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{Frame, SocketId, server};
use hashbrown::{HashMap, HashSet};
use smallvec::SmallVec;

use crate::app::App;
use crate::entry::{ChannelKey, Entry, Post, Receipt, Seat, WorkerId, for_many};
use crate::presence::{Departure, Presence, PresenceFull};
use crate::totals::Totals;

/// How long a cache channel keeps its last event.
pub const CACHE_TTL: Duration = Duration::from_secs(30 * 60);

/// Cached events of one shard take at most this many bytes; over it the oldest go.
const MAX_CACHED_BYTES: usize = 4 << 20;

/// Of a remembered event, beside its frame and the name of its channel: entries of maps and queues.
const CACHED_OVERHEAD: usize = 256;

/// A channel with more subscribers than this is told their number at most every [`COUNT_PAUSE`].
const COUNT_AT_ONCE: usize = 100;
const COUNT_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Shard {
    channels: HashMap<ChannelKey, Channel, foldhash::fast::RandomState>,
    /// Channels with a cached event, those which were first to get one first.
    cached: VecDeque<(Duration, ChannelKey)>,
    cached_bytes: usize,
    /// Channels whose subscribers are still to be told their number.
    uncounted: HashSet<ChannelKey, foldhash::fast::RandomState>,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Channel {
    /// Subscribers by worker; only workers that have some.
    subscribers: SmallVec<[(WorkerId, u32); 2]>,
    presence: Option<Box<Presence>>,
    cached: Option<Cached>,
    counted_at: Option<Duration>,
}

#[derive(Debug)]
struct Cached {
    frame: Frame,
    at: Duration,
}

/// A subscription to be made.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    pub(crate) seat: Seat,
    pub(crate) channel: &'a ChannelKey,
    /// On presence channels: who joins.
    pub(crate) member: Option<&'a Member>,
    pub(crate) app: &'a App,
    pub(crate) now: Duration,
}

/// What is known of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// Connections subscribed.
    pub subscriptions: usize,
    /// Users present, on presence channels.
    pub users: usize,
    /// The last event of a cache channel and for how long it is still kept.
    pub cached: Option<(Frame, Duration)>,
}

impl Shard {
    pub(crate) fn join(&mut self, join: &Join<'_>, post: &impl Post) -> Result<(), PresenceFull> {
        let &Join { seat, channel: key, member, app, now } = join;
        let channel = self.channels.entry(key.clone()).or_default();
        let succeeded = match member {
            None => server::subscription_succeeded(&key.name),
            Some(member) => {
                let presence = channel.presence.get_or_insert_default();
                match presence.join(member, app.limits.presence_members) {
                    Ok(first) => {
                        let succeeded = presence.succeeded(&key.name);
                        if first {
                            self.totals.members += 1;
                            // The joiner isn't subscribed yet, so this reaches the others alone.
                            channel.deliver(key, &server::member_added(&key.name, member), post);
                        }
                        succeeded
                    }
                    Err(full) => {
                        self.remove_if_empty(key);
                        return Err(full);
                    }
                }
            }
        };
        let cached = key.name.is_cache().then(|| match channel.fresh(now) {
            Some(cached) => cached.frame.clone(),
            None => server::cache_miss(&key.name),
        });
        if channel.add(seat.worker) {
            *self.totals.channels_of(key.name.kind()) += 1;
        }
        self.totals.subscriptions += 1;
        let joined = Entry::Joined {
            connection: seat.connection,
            channel: key.clone(),
            member: member.map(|member| Box::new(member.id.clone())),
            succeeded,
            cached,
        };
        post.post(seat.worker, joined);
        self.count_changed(key, app, now, post);
        Ok(())
    }

    /// Undoes one `join` of a connection of `worker`.
    pub(crate) fn leave(
        &mut self,
        worker: WorkerId,
        key: &ChannelKey,
        member: Option<&UserId>,
        (app, now): (&App, Duration),
        post: &impl Post,
    ) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if !channel.remove(worker) {
            return;
        }
        self.totals.subscriptions -= 1;
        if channel.subscribers.is_empty() {
            *self.totals.channels_of(key.name.kind()) -= 1;
        }
        if let (Some(presence), Some(id)) = (&mut channel.presence, member)
            && let Departure::Last(member) = presence.leave(id)
        {
            self.totals.members -= 1;
            channel.deliver(key, &server::member_removed(&key.name, &member.id), post);
        }
        self.count_changed(key, app, now, post);
        self.remove_if_empty(key);
    }

    /// Gives `frame` to the channel's subscribers. `remember` keeps it for those to come, on cache channels.
    pub(crate) fn publish(&mut self, publication: Publication<'_>, post: &impl Post) {
        let Publication { channel: key, frame, except, receipt, remember } = publication;
        let frame = &for_many(frame, post);
        if let Some(now) = remember
            && key.name.is_cache()
        {
            self.remember(key, frame, now);
        }
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        for (worker, _) in &channel.subscribers {
            let entry = Entry::Deliver {
                channel: key.clone(),
                frame: frame.clone(),
                except,
                receipt: receipt.cloned(),
            };
            post.post(*worker, entry);
        }
    }

    /// Does what has become due: forgets old cached events, tells postponed subscription counts.
    pub(crate) fn sweep(&mut self, now: Duration, post: &impl Post) {
        while let Some((due, _)) = self.cached.front()
            && *due <= now
        {
            let Some((_, key)) = self.cached.pop_front() else {
                break;
            };
            match self.channels.get(&key).and_then(|channel| channel.cached.as_ref()) {
                Some(cached) if cached.at + CACHE_TTL > now => {
                    self.cached.push_back((cached.at + CACHE_TTL, key));
                }
                _ => self.forget(&key),
            }
        }
        let channels = &mut self.channels;
        self.uncounted.retain(|key| {
            let Some(channel) = channels.get_mut(key) else { return false };
            let pausing = channel.is_pausing(now);
            if !pausing {
                channel.tell_count(key, now, post);
            }
            pausing
        });
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }

    pub(crate) fn state(&self, key: &ChannelKey, now: Duration) -> ChannelState {
        self.channels.get(key).map(|channel| channel.state(now)).unwrap_or_default()
    }

    /// Occupied channels of an app.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (&ChannelKey, ChannelState)> {
        self.channels
            .iter()
            .filter(|(_, channel)| !channel.subscribers.is_empty())
            .map(|(key, channel)| (key, channel.state(Duration::MAX)))
    }

    /// Ids of the users on a presence channel.
    pub(crate) fn users(&self, key: &ChannelKey) -> Vec<UserId> {
        let presence = self.channels.get(key).and_then(|channel| channel.presence.as_ref());
        presence.map(|presence| presence.ids().cloned().collect()).unwrap_or_default()
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.totals == Totals::default()
            && self.channels.is_empty()
            && self.cached.is_empty()
            && self.uncounted.is_empty()
    }

    fn remove_if_empty(&mut self, key: &ChannelKey) {
        let empty = |channel: &Channel| channel.subscribers.is_empty() && channel.cached.is_none();
        if self.channels.get(key).is_some_and(empty) {
            self.channels.remove(key);
        }
    }

    fn remember(&mut self, key: &ChannelKey, frame: &Frame, now: Duration) {
        let channel = self.channels.entry(key.clone()).or_default();
        let old = channel.cached.replace(Cached { frame: frame.clone(), at: now });
        self.cached_bytes += cost(key, frame);
        match old {
            Some(old) => self.cached_bytes -= cost(key, &old.frame),
            None => self.cached.push_back((now + CACHE_TTL, key.clone())),
        }
        while self.cached_bytes > MAX_CACHED_BYTES
            && let Some((_, oldest)) = self.cached.pop_front()
        {
            self.forget(&oldest);
        }
    }

    fn forget(&mut self, key: &ChannelKey) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if let Some(old) = channel.cached.take() {
            self.cached_bytes -= cost(key, &old.frame);
        }
        self.remove_if_empty(key);
    }

    fn count_changed(&mut self, key: &ChannelKey, app: &App, now: Duration, post: &impl Post) {
        if !app.subscription_count || key.name.is_presence() {
            return;
        }
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if channel.total() <= COUNT_AT_ONCE || !channel.is_pausing(now) {
            channel.tell_count(key, now, post);
            self.uncounted.remove(key);
        } else {
            self.uncounted.insert(key.clone());
        }
    }
}

/// Bytes that remembering an event takes: names of channels are the publisher's choice, and as many as it
/// likes.
fn cost(key: &ChannelKey, frame: &Frame) -> usize {
    CACHED_OVERHEAD + 2 * key.name.as_str().len() + frame.bytes().len()
}

/// An event on its way to a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication<'a> {
    pub(crate) channel: &'a ChannelKey,
    pub(crate) frame: &'a Frame,
    pub(crate) except: Option<SocketId>,
    pub(crate) receipt: Option<&'a Receipt>,
    /// The time, for an event that cache channels keep.
    pub(crate) remember: Option<Duration>,
}

impl Channel {
    /// Whether it is the channel's first subscriber.
    fn add(&mut self, worker: WorkerId) -> bool {
        let first = self.subscribers.is_empty();
        match self.subscribers.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, count)) => *count += 1,
            None => self.subscribers.push((worker, 1)),
        }
        first
    }

    /// Whether the worker had a subscriber.
    fn remove(&mut self, worker: WorkerId) -> bool {
        let Some(at) = self.subscribers.iter().position(|(id, _)| *id == worker) else {
            return false;
        };
        self.subscribers[at].1 -= 1;
        if self.subscribers[at].1 == 0 {
            self.subscribers.swap_remove(at);
        }
        true
    }

    fn total(&self) -> usize {
        self.subscribers.iter().map(|(_, count)| *count as usize).sum()
    }

    fn fresh(&self, now: Duration) -> Option<&Cached> {
        self.cached.as_ref().filter(|cached| cached.at + CACHE_TTL > now)
    }

    fn state(&self, now: Duration) -> ChannelState {
        ChannelState {
            subscriptions: self.total(),
            users: self.presence.as_ref().map_or(0, |presence| presence.len()),
            cached: self.fresh(now).map(|c| (c.frame.clone(), c.at + CACHE_TTL - now)),
        }
    }

    fn deliver(&self, key: &ChannelKey, frame: &Frame, post: &impl Post) {
        let frame = for_many(frame, post);
        for (worker, _) in &self.subscribers {
            let (channel, frame) = (key.clone(), frame.clone());
            post.post(*worker, Entry::Deliver { channel, frame, except: None, receipt: None });
        }
    }

    /// Whether the subscribers were told their number too short a time ago.
    fn is_pausing(&self, now: Duration) -> bool {
        self.counted_at.is_some_and(|at| at + COUNT_PAUSE > now)
    }

    fn tell_count(&mut self, key: &ChannelKey, now: Duration, post: &impl Post) {
        self.counted_at = Some(now);
        self.deliver(key, &server::subscription_count(&key.name, self.total()), post);
    }
}
