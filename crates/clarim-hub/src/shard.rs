//! A part of the node's channels: who has subscribers, who is present, what is cached.
//!
//! Each method is one step under the shard's lock: it changes the state and posts what follows from it,
//! so that every worker, and in a cluster the bus, hears of a channel's changes in the order in which they
//! happened.

use std::collections::VecDeque;
use std::time::Duration;

use clarim_protocol::cluster::{Change, ClusterMessage};
use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{Frame, SocketId, server};
use hashbrown::{HashMap, HashSet};

use crate::app::App;
use crate::channel::Channel;
use crate::entry::{
    BusCommand, ChannelEvent, ChannelKey, ConnectionAddr, DeliveryAcks, Outputs, WorkerId,
    WorkerMessage, for_many,
};
use crate::link::{ClusterChannel, Waiting, say};
use crate::presence::PresenceFull;
use crate::totals::Totals;

/// How long a cache channel keeps its last event.
pub const CACHE_TTL: Duration = Duration::from_secs(30 * 60);

/// In a cluster, how long a channel stays open after the last has left: who loads a page again leaves for a
/// moment only. Longer than backends are kept waiting for who may come back, on whatever node.
pub const LINGER: Duration = Duration::from_secs(4);

/// A channel with more subscribers than this is told their number only now and then.
const COUNT_AT_ONCE: usize = 100;

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) channels: HashMap<ChannelKey, Channel, foldhash::fast::RandomState>,
    /// Channels with a cached event, those which were first to get one first.
    pub(crate) cached: VecDeque<(Duration, ChannelKey)>,
    pub(crate) cached_bytes: usize,
    /// Channels whose subscribers are still to be told their number.
    uncounted: HashSet<ChannelKey, foldhash::fast::RandomState>,
    /// Channels of whose number of subscribers the other nodes are still to be told.
    untold: HashSet<ChannelKey, foldhash::fast::RandomState>,
    /// Channels that nobody here uses, and when they are closed.
    idle: VecDeque<(Duration, ChannelKey)>,
    totals: Totals,
    /// When the node's time began.
    epoch: Duration,
}

/// A subscription to be made.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    pub(crate) seat: ConnectionAddr,
    pub(crate) socket_id: SocketId,
    pub(crate) channel: &'a ChannelKey,
    /// On presence channels: who joins.
    pub(crate) member: Option<&'a Member>,
    pub(crate) app: &'a App,
    pub(crate) now: Duration,
}

/// What has become of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// It is made: an [`WorkerMessage::Joined`] is on its way.
    Done,
    /// It waits until the channel has been opened; then comes [`WorkerMessage::Joined`], or [`WorkerMessage::Full`].
    Waits,
}

/// What is known of a channel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// Connections subscribed to it on this node.
    pub subscriptions: usize,
    /// Users present, on presence channels: in a cluster those of all nodes.
    pub users: usize,
    /// The last event of a cache channel and for how long it is still kept.
    pub cached: Option<(Frame, Duration)>,
}

/// An event on its way to a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication<'a> {
    pub(crate) channel: &'a ChannelKey,
    pub(crate) frame: &'a Frame,
    pub(crate) except: Option<SocketId>,
    pub(crate) receipts: DeliveryAcks<'a>,
    pub(crate) keep: Keep,
    pub(crate) now: Duration,
}

/// Whether cache channels keep an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    No,
    /// As the last one.
    Last,
    /// As the last one unless there is one with a greater number.
    Numbered(u64),
}

impl Shard {
    /// `epoch`: the time of day at which the node's time began.
    pub(crate) fn new(epoch: Duration) -> Self {
        Self {
            channels: HashMap::default(),
            cached: VecDeque::new(),
            cached_bytes: 0,
            uncounted: HashSet::default(),
            untold: HashSet::default(),
            idle: VecDeque::new(),
            totals: Totals::default(),
            epoch,
        }
    }

    pub(crate) fn join(
        &mut self,
        join: &Join<'_>,
        post: &impl Outputs,
    ) -> Result<Joining, PresenceFull> {
        let channel = self.open(join.channel, join.now, post);
        if let Some(waiting) = channel.link.as_mut().and_then(|link| link.waiting()) {
            let (seat, socket_id) = (join.seat, join.socket_id);
            waiting.push(Waiting { seat, socket_id, member: join.member.cloned() });
            return Ok(Joining::Waits);
        }
        self.join_open(join, post)?;
        Ok(Joining::Done)
    }

    fn join_open(&mut self, join: &Join<'_>, post: &impl Outputs) -> Result<(), PresenceFull> {
        let &Join { seat, socket_id, channel: key, member, app, now } = join;
        let Some(channel) = self.channels.get_mut(key) else { return Ok(()) };
        let succeeded = match member {
            None => server::subscription_succeeded(&key.name),
            Some(member) => {
                let presence = channel.presence.get_or_insert_default();
                match presence.join(member, app.limits.presence_members) {
                    Ok(arrival) => {
                        let succeeded = presence.succeeded(&key.name);
                        if arrival.first {
                            // The joiner isn't subscribed yet, so this reaches the others alone.
                            channel.announce(key, member, app, post);
                        }
                        if arrival.first_here {
                            self.totals.members += 1;
                            channel.member_joined(key, member, post);
                        }
                        succeeded
                    }
                    Err(full) => {
                        self.remove_if_empty(key, now, post);
                        return Err(full);
                    }
                }
            }
        };
        let cached = key.name.is_cache().then(|| match channel.fresh(now) {
            Some(cached) => cached.frame.clone(),
            None => {
                if app.hooks.cache_misses {
                    post.fact(ChannelEvent::CacheMiss(key.clone()));
                }
                server::cache_miss(&key.name)
            }
        });
        let before = channel.here();
        if channel.add(seat.worker) {
            channel.ask_for_guard(key, app, post);
            *self.totals.channels_of(key.name.kind()) += 1;
        }
        self.totals.subscriptions += 1;
        let joined = WorkerMessage::Joined {
            connection: seat.connection,
            socket_id,
            channel: key.clone(),
            member: member.map(|member| Box::new(member.id.clone())),
            succeeded,
            cached,
        };
        post.post(seat.worker, joined);
        channel.tell_occupancy(key, before, app, post);
        self.count_changed(key, app, now, post);
        Ok(())
    }

    /// The channel has been opened: those who have waited for that are let in.
    pub(crate) fn opened(
        &mut self,
        key: &ChannelKey,
        app: &App,
        now: Duration,
        post: &impl Outputs,
    ) {
        let Some(link) = self.channels.get_mut(key).and_then(|channel| channel.link.as_mut())
        else {
            return;
        };
        let waiting = link.open();
        if !link.asked.is_empty() {
            self.say_state(key, now, (false, post));
        }
        for waiting in waiting {
            let Waiting { seat, socket_id, member } = waiting;
            let member = member.as_ref();
            let join = Join { seat, socket_id, channel: key, member, app, now };
            if let Err(full) = self.join_open(&join, post) {
                let connection = seat.connection;
                let full = WorkerMessage::Full {
                    connection,
                    socket_id,
                    channel: key.clone(),
                    max: full.max,
                };
                post.post(seat.worker, full);
            }
        }
        self.end_guard(key, now, post);
        self.remove_if_empty(key, now, post);
    }

    /// A connection waits no longer. `false`: it does not wait, for its subscription has just been decided.
    pub(crate) fn cancel(
        &mut self,
        key: &ChannelKey,
        socket_id: SocketId,
        now: Duration,
        post: &impl Outputs,
    ) -> bool {
        let link = self.channels.get_mut(key).and_then(|channel| channel.link.as_mut());
        let Some(waiting) = link.and_then(|link| link.waiting()) else { return false };
        let Some(at) = waiting.iter().position(|waiting| waiting.socket_id == socket_id) else {
            return false;
        };
        waiting.swap_remove(at);
        self.remove_if_empty(key, now, post);
        true
    }

    /// Undoes one `join` of a connection of `worker`.
    pub(crate) fn leave(
        &mut self,
        worker: WorkerId,
        key: &ChannelKey,
        member: Option<&UserId>,
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        let before = channel.here();
        if !channel.remove(worker) {
            return;
        }
        self.totals.subscriptions -= 1;
        if channel.subscribers.is_empty() {
            *self.totals.channels_of(key.name.kind()) -= 1;
        }
        if let (Some(presence), Some(id)) = (&mut channel.presence, member) {
            let departure = presence.leave(id);
            if departure.last_here {
                self.totals.members -= 1;
                channel.changed(key, Change::Left(id.as_str()), post);
            }
            if let Some(member) = departure.gone {
                channel.announce_gone(key, &member.id, app, post);
            }
        }
        channel.tell_occupancy(key, before, app, post);
        self.count_changed(key, app, now, post);
        self.remove_if_empty(key, now, post);
    }

    /// Gives an event of this node to the channel's subscribers, here and elsewhere.
    pub(crate) fn publish(&mut self, publication: Publication<'_>, post: &impl Outputs) {
        let Publication { channel: key, frame, except, receipts, keep, now } = publication;
        let kept = (keep != Keep::No && key.name.is_cache()).then(|| {
            // Two nodes may publish at the same moment.
            let node = post.node_id().map_or(0, |node| node.0 & 0x3ff);
            (self.number(now) << 10 | node).max(self.last_kept(key) + 1)
        });
        if post.node_id().is_some() {
            let (channel, frame, receipt) = (key.clone(), frame.clone(), receipts.bus.cloned());
            post.tell(BusCommand::Event { channel, frame, except, kept, receipt });
        }
        let keep = kept.map_or(Keep::No, Keep::Numbered);
        self.deliver(Publication { keep, ..publication }, post);
    }

    /// Gives an event to the channel's subscribers on this node.
    pub(crate) fn deliver(&mut self, publication: Publication<'_>, post: &impl Outputs) {
        let Publication { channel: key, frame, except, receipts, keep, now } = publication;
        let frame = &for_many(frame, post);
        if let Keep::Numbered(number) = keep
            && key.name.is_cache()
        {
            self.remember(key, frame, (number, now), post);
        }
        let Some(channel) = self.channels.get(key) else {
            return;
        };
        for (worker, _) in &channel.subscribers {
            let entry = WorkerMessage::Deliver {
                channel: key.clone(),
                frame: frame.clone(),
                except,
                receipt: receipts.here.cloned(),
            };
            post.post(*worker, entry);
        }
    }

    /// Does what has become due: forgets old cached events, tells postponed subscription counts, closes
    /// channels that nobody has come back to.
    pub(crate) fn sweep<'a>(
        &mut self,
        now: Duration,
        app: impl Fn(&ChannelKey) -> &'a App,
        post: &impl Outputs,
    ) {
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
                _ => self.forget(&key, now, post),
            }
        }
        let channels = &mut self.channels;
        self.uncounted.retain(|key| {
            let Some(channel) = channels.get_mut(key) else { return false };
            let pausing = channel.is_pausing(now);
            if !pausing {
                channel.tell_count(key, (app(key), now), post);
            }
            pausing
        });
        for key in self.untold.drain() {
            if let Some(channel) = channels.get_mut(&key) {
                channel.say_count(&key, post);
            }
        }
        while let Some((_, key)) = self.idle.pop_front_if(|(due, _)| *due <= now) {
            self.close_if_empty(&key, post);
        }
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }

    pub(crate) fn has(&self, key: &ChannelKey) -> bool {
        self.channels.contains_key(key)
    }

    pub(crate) fn state(&self, key: &ChannelKey, now: Duration) -> ChannelState {
        self.channels.get(key).map(|channel| channel.state(now)).unwrap_or_default()
    }

    /// Channels with subscribers on this node.
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
            && self.untold.is_empty()
            && self.idle.is_empty()
    }

    /// The channel, which from now on is there. In a cluster it is opened.
    pub(crate) fn open(
        &mut self,
        key: &ChannelKey,
        now: Duration,
        post: &impl Outputs,
    ) -> &mut Channel {
        let number = self.number(now);
        self.channels.entry(key.clone()).or_insert_with(|| {
            let link = post.node_id().map(|_| {
                post.tell(BusCommand::Open(key.clone()));
                Box::new(ClusterChannel::new(number))
            });
            Channel { link, ..Channel::default() }
        })
    }

    pub(crate) fn remove_if_empty(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_empty()) else {
            return;
        };
        match &mut channel.link {
            None => self.close_if_empty(key, post),
            Some(link) if !link.is_idle => {
                link.is_idle = true;
                self.idle.push_back((now + LINGER, key.clone()));
            }
            Some(_) => {}
        }
    }

    fn close_if_empty(&mut self, key: &ChannelKey, post: &impl Outputs) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        if !channel.is_empty() {
            if let Some(link) = &mut channel.link {
                link.is_idle = false;
            }
            return;
        }
        if channel.link.is_some() {
            say(key, &ClusterMessage::ChannelClosed, post);
            post.tell(BusCommand::Close(key.clone()));
        }
        self.channels.remove(key);
    }

    /// Keeps the channel for the clients of other nodes, as long as one has it.
    pub(crate) fn guard(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        self.open(key, now, post).is_guard = true;
        self.end_guard(key, now, post);
    }

    /// If no other node has clients there any more, the channel is not kept for them. While it is being
    /// opened that is not known.
    pub(crate) fn end_guard(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        let Some(channel) = self.channels.get_mut(key).filter(|channel| channel.is_guard) else {
            return;
        };
        let is_over = |link: &ClusterChannel| link.is_open() && link.subscriptions_elsewhere() == 0;
        if channel.link.as_ref().is_none_or(|link| is_over(link)) {
            channel.is_guard = false;
            self.remove_if_empty(key, now, post);
        }
    }

    /// A number that grows with time, and is the same on all nodes at a time, as far as their clocks are.
    fn number(&self, now: Duration) -> u64 {
        u64::try_from((self.epoch + now).as_micros()).unwrap_or(u64::MAX)
    }

    /// The number of subscribers has changed, here or elsewhere.
    pub(crate) fn count_changed(
        &mut self,
        key: &ChannelKey,
        app: &App,
        now: Duration,
        post: &impl Outputs,
    ) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if app.hooks.tell_who_is_on(key) && channel.has_changed_occupancy() {
            channel.say_count(key, post);
        }
        if !app.subscription_count || key.name.is_presence() {
            return;
        }
        if channel.link.is_some() {
            self.untold.insert(key.clone());
        }
        if channel.everywhere() <= COUNT_AT_ONCE || !channel.is_pausing(now) {
            channel.tell_count(key, (app, now), post);
            self.uncounted.remove(key);
        } else {
            self.uncounted.insert(key.clone());
        }
    }
}
