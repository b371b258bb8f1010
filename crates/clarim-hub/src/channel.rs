//! One channel of the directory: its subscribers by worker, who is present, what is cached.

use std::time::Duration;

use clarim_protocol::cluster::{Change, State};
use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{Frame, server};
use smallvec::SmallVec;

use crate::app::App;
use crate::entry::{
    BusCommand, ChannelEvent, ChannelKey, Outputs, WorkerId, WorkerMessage, for_many,
};
use crate::link::ClusterChannel;
use crate::presence::Presence;
use crate::shard::{CACHE_TTL, ChannelState};
use crate::user::User;

const COUNT_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// Subscribers by worker; only workers that have some.
    pub(crate) subscribers: SmallVec<[(WorkerId, u32); 2]>,
    pub(crate) presence: Option<Box<Presence>>,
    /// Of the channel of a user: the user.
    pub(crate) user: Option<Box<User>>,
    pub(crate) cached: Option<Cached>,
    pub(crate) counted_at: Option<Duration>,
    /// It is kept for the clients of other nodes, as long as one has some:
    /// see [`ClusterMessage::BackupSubscribe`](clarim_protocol::cluster::ClusterMessage::BackupSubscribe).
    pub(crate) is_guard: bool,
    /// Where the node stands in a cluster.
    pub(crate) link: Option<Box<ClusterChannel>>,
}

#[derive(Debug)]
pub(crate) struct Cached {
    pub(crate) frame: Frame,
    pub(crate) at: Duration,
    /// Of two events of one channel the one with the greater number is the last, on all nodes.
    pub(crate) number: u64,
}

impl Channel {
    /// Whether it is the channel's first subscriber here.
    pub(crate) fn add(&mut self, worker: WorkerId) -> bool {
        let first = self.subscribers.is_empty();
        match self.subscribers.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, count)) => *count += 1,
            None => self.subscribers.push((worker, 1)),
        }
        first
    }

    /// Whether the worker had a subscriber.
    pub(crate) fn remove(&mut self, worker: WorkerId) -> bool {
        let Some(at) = self.subscribers.iter().position(|(id, _)| *id == worker) else {
            return false;
        };
        self.subscribers[at].1 -= 1;
        if self.subscribers[at].1 == 0 {
            self.subscribers.swap_remove(at);
        }
        true
    }

    /// Whether nothing here keeps it.
    pub(crate) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
            && self.cached.is_none()
            && self.user.is_none()
            && !self.is_guard
            && self.link.as_ref().is_none_or(|link| !link.is_waited_for())
    }

    /// Subscribers on this node.
    pub(crate) fn here(&self) -> usize {
        self.subscribers.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Subscribers, as far as they are known.
    pub(crate) fn everywhere(&self) -> usize {
        self.here() + self.link.as_ref().map_or(0, |link| link.subscriptions_elsewhere())
    }

    /// Whether the user whose channel it is is signed in anywhere.
    pub(crate) fn is_online(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.is_here())
            || self.link.as_ref().is_some_and(|link| link.is_online_elsewhere())
    }

    /// The cached event, if it isn't too old.
    pub(crate) fn fresh(&self, now: Duration) -> Option<&Cached> {
        self.cached.as_ref().filter(|cached| cached.at + CACHE_TTL > now)
    }

    pub(crate) fn state(&self, now: Duration) -> ChannelState {
        ChannelState {
            subscriptions: self.here(),
            users: self.presence.as_ref().map_or(0, |presence| presence.len()),
            cached: self.fresh(now).map(|c| (c.frame.clone(), c.at + CACHE_TTL - now)),
        }
    }

    /// Tells the app's backend of what has happened here. In a cluster it is told when the bus has said it:
    /// see [`Shard::hear_myself`](crate::shard::Shard).
    fn tell_backend(&self, wanted: bool, fact: impl FnOnce() -> ChannelEvent, post: &impl Outputs) {
        if wanted && self.link.is_none() {
            post.fact(fact());
        }
    }

    /// The number of subscribers has changed from `before`.
    pub(crate) fn tell_occupancy(
        &self,
        key: &ChannelKey,
        before: usize,
        app: &App,
        post: &impl Outputs,
    ) {
        match (before, self.here()) {
            (0, 1..) => {
                self.tell_backend(app.hooks.occupancy, || ChannelEvent::Occupied(key.clone()), post)
            }
            (1.., 0) => {
                self.tell_backend(app.hooks.occupancy, || ChannelEvent::Vacated(key.clone()), post)
            }
            _ => {}
        }
    }

    /// A user has come, here or elsewhere: the other subscribers are told, and the backend.
    pub(crate) fn announce(
        &self,
        key: &ChannelKey,
        member: &Member,
        app: &App,
        post: &impl Outputs,
    ) {
        self.deliver(key, &server::member_added(&key.name, member), post);
        let fact = || ChannelEvent::MemberAdded(key.clone(), member.id.as_str().into());
        self.tell_backend(app.hooks.members, fact, post);
    }

    /// A user has left.
    pub(crate) fn announce_gone(
        &self,
        key: &ChannelKey,
        id: &UserId,
        app: &App,
        post: &impl Outputs,
    ) {
        self.deliver(key, &server::member_removed(&key.name, id), post);
        let fact = || ChannelEvent::MemberRemoved(key.clone(), id.as_str().into());
        self.tell_backend(app.hooks.members, fact, post);
    }

    /// If this node alone has the channel, and the app's backend wants to hear who leaves it: asks for
    /// another one.
    pub(crate) fn ask_for_guard(&self, key: &ChannelKey, app: &App, post: &impl Outputs) {
        let is_alone = |link: &ClusterChannel| link.is_open() && link.is_alone();
        if app.hooks.tell_who_is_on(key)
            && !self.subscribers.is_empty()
            && self.link.as_ref().is_some_and(|link| is_alone(link))
        {
            post.tell(BusCommand::Guard(key.clone()));
        }
    }

    /// Tells the other nodes of a change.
    pub(crate) fn changed(&mut self, key: &ChannelKey, change: Change<'_>, post: &impl Outputs) {
        if let Some(link) = &mut self.link {
            link.changed(key, change, post);
        }
    }

    /// Tells the other nodes of the first connection of a user to this one.
    pub(crate) fn member_joined(&mut self, key: &ChannelKey, member: &Member, post: &impl Outputs) {
        if self.link.is_some() {
            self.changed(key, Change::Joined(&member.to_channel_data()), post);
        }
    }

    /// Tells the other nodes how many subscribers this one has, unless they know.
    pub(crate) fn say_count(&mut self, key: &ChannelKey, post: &impl Outputs) {
        let here = u32::try_from(self.here()).unwrap_or(u32::MAX);
        if let Some(link) = &mut self.link
            && link.told != here
        {
            link.told = here;
            link.changed(key, Change::Subscriptions(here), post);
        }
    }

    /// Tells the watchers of the user whose channel it is, if it has come or gone.
    pub(crate) fn tell_watchers(&self, key: &ChannelKey, was_online: bool, post: &impl Outputs) {
        let is_online = self.is_online();
        if was_online != is_online
            && let (Some(user), Some(id)) = (&self.user, key.name.user())
        {
            user.tell(id, is_online, post);
        }
    }

    /// Tells the other nodes all that this one has.
    pub(crate) fn say_state(
        &mut self,
        key: &ChannelKey,
        now: Duration,
        (hello, post): (bool, &impl Outputs),
    ) {
        let subscriptions = u32::try_from(self.here()).unwrap_or(u32::MAX);
        let online = self.user.as_ref().is_some_and(|user| user.is_here());
        let cached = self.fresh(now).map(|c| (c.number, c.frame.clone()));
        let members: Vec<String> =
            self.presence.iter().flat_map(|p| p.here()).map(|m| m.to_channel_data()).collect();
        let state = State {
            subscriptions,
            online,
            cached: cached.as_ref().map(|(number, frame)| (*number, frame.payload().into())),
            ..State::default()
        };
        if let Some(link) = &mut self.link {
            link.say_state(key, state, members.iter().map(String::as_str), (hello, post));
        }
    }

    /// Gives a frame to all subscribers.
    pub(crate) fn deliver(&self, key: &ChannelKey, frame: &Frame, post: &impl Outputs) {
        let frame = for_many(frame, post);
        for (worker, _) in &self.subscribers {
            let (channel, frame) = (key.clone(), frame.clone());
            post.post(
                *worker,
                WorkerMessage::Deliver { channel, frame, except: None, receipt: None },
            );
        }
    }

    /// Whether the subscribers were told their number too short a time ago.
    pub(crate) fn is_pausing(&self, now: Duration) -> bool {
        self.counted_at.is_some_and(|at| at + COUNT_PAUSE > now)
    }

    pub(crate) fn tell_count(
        &mut self,
        key: &ChannelKey,
        (app, now): (&App, Duration),
        post: &impl Outputs,
    ) {
        self.counted_at = Some(now);
        let count = self.everywhere();
        self.deliver(key, &server::subscription_count(&key.name, count), post);
        if app.hooks.counts && self.link.as_ref().is_none_or(|link| link.is_first(post.node_id())) {
            post.fact(ChannelEvent::Count(key.clone(), count));
        }
    }

    /// Whether the other nodes do not know whether there is a subscriber here.
    pub(crate) fn has_changed_occupancy(&self) -> bool {
        let is_told = self.link.as_ref().is_some_and(|link| link.told > 0);
        self.link.is_some() && is_told == self.subscribers.is_empty()
    }
}
