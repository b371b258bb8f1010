//! One channel of the directory: its subscribers by worker, members, cached event, and cluster side.

use std::time::Duration;

use clarim_cluster::{Change, ClusterMessage, NodeId, State};
use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{Frame, GapReason, Position, Since, SocketId, server};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::kept::{CachedEvent, History};
use super::loss::Loss;
use super::presence::{Leaving, Presence};
use super::requests::Join;
use super::step::Step;
use super::user::User;
use crate::address::{ChannelKey, ConnectionAddr, WorkerId};
use crate::app::App;
use crate::outputs::{BusCommand, ChannelEvent, WorkerMessage};
use crate::snapshot::{SavedChannel, SnapshotError};

/// On large channels, the time between two `subscription_count` messages.
const COUNT_PAUSE: Duration = Duration::from_secs(5);

/// A subscription that waits until the channel is open.
#[derive(Debug, Clone)]
pub(crate) struct PendingSubscription {
    pub(crate) addr: ConnectionAddr,
    pub(crate) socket_id: SocketId,
    pub(crate) member: Option<Member>,
    pub(crate) since: Option<Since>,
    pub(crate) former: Box<[SocketId]>,
}

impl PendingSubscription {
    pub(super) fn new(join: &Join<'_>) -> Self {
        Self {
            addr: join.addr,
            socket_id: join.socket_id,
            member: join.member.cloned(),
            since: join.since.copied(),
            former: join.former.into(),
        }
    }
}

/// The cluster side of a channel.
pub(crate) type ClusterChannel = clarim_cluster::ClusterChannel<PendingSubscription>;

/// A channel's state on this node.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// Subscribers by worker; only workers that have some.
    pub(crate) subscribers: SmallVec<[(WorkerId, u32); 2]>,
    pub(crate) presence: Option<Box<Presence>>,
    /// On a user's own channel: the user.
    pub(crate) user: Option<Box<User>>,
    pub(crate) cached: Option<CachedEvent>,
    pub(crate) history: Option<Box<History>>,
    /// When [`Retention`](super::kept::Retention) looks at the channel, if it is in its queue.
    pub(super) due: Option<Duration>,
    counted_at: Option<Duration>,
    /// Whether this node has the channel only as a backup for another node, which has subscribers (see
    /// [`BackupSubscribe`](ClusterMessage::BackupSubscribe)), or is opening it because a node has gone of
    /// which it has a [`Shadow`](clarim_cluster::Shadow).
    pub(crate) is_backup: bool,
    pub(crate) cluster: Option<Box<ClusterChannel>>,
    /// Users and subscribers that this node has reported as gone, while a lost node may return.
    pub(crate) loss: Option<Box<Loss>>,
}

/// Channels by name.
pub(crate) type Channels = HashMap<ChannelKey, Channel, foldhash::fast::RandomState>;

/// Returns a channel, creating it if necessary. With a bus, opening it begins.
pub(super) fn get_or_open<'c>(
    channels: &'c mut Channels,
    key: &ChannelKey,
    step: &mut Step<'_>,
) -> &'c mut Channel {
    let channel = channels.entry(key.clone()).or_default();
    channel.open_on_bus(key, step);
    channel
}

/// A channel's public state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelState {
    /// Subscriptions on this node.
    pub subscriptions: usize,
    /// Users on a presence channel: in a cluster, those of all nodes.
    pub users: usize,
    /// The last event of a cache channel, and the time until it expires.
    pub cached: Option<(Frame, Duration)>,
    /// The position behind the last event of the history, if there is one.
    pub position: Option<Position>,
}

impl Channel {
    pub(crate) fn new(cluster: Option<Box<ClusterChannel>>) -> Self {
        Self { cluster, ..Self::default() }
    }

    /// Returns what a snapshot keeps of it. Subscribers and users follow from the connections.
    pub(super) fn save(&self, key: &ChannelKey, app: &App) -> SavedChannel {
        let mut saved = SavedChannel::new(app.id.clone(), key.name.to_string());
        saved.members = self.presence.as_ref().map(|p| p.save()).unwrap_or_default();
        saved.cached = self.cached.as_ref().map(CachedEvent::save);
        saved.history = self.history.as_ref().map(|history| history.save());
        saved.counted_at = self.counted_at.map(Into::into);
        saved.is_backup = self.is_backup;
        saved.cluster = self.cluster.as_ref().map(|cluster| cluster.save());
        saved.loss = self.loss.as_ref().map(|loss| loss.save());
        saved
    }

    /// Begins to open the channel on the bus, unless it has done so or needs no bus. A channel may get a
    /// history rule when it has subscribers.
    pub(super) fn open_on_bus(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        if self.cluster.is_none() && step.is_on_bus(key) {
            step.bus(BusCommand::Open(key.clone()));
            self.cluster = Some(Box::new(ClusterChannel::new(step.clock.read(step.now))));
        }
    }

    /// Makes a channel as it was saved, without subscribers.
    pub(super) fn restored(
        key: &ChannelKey,
        saved: SavedChannel,
        step: &Step<'_>,
    ) -> Result<Self, SnapshotError> {
        let is_clustered = step.is_clustered();
        let members = saved.members;
        let presence =
            (!members.is_empty()).then(|| Presence::restored(members, is_clustered)).transpose()?;
        let loss = saved.loss.filter(|_| is_clustered);
        let history = saved.history.as_ref().map(History::restored).transpose()?;
        let is_open = is_clustered || history.is_some();
        let empty = Self::restored_empty(key, is_open, step);
        let cluster = saved.cluster.map(|cluster| Box::new(ClusterChannel::restored(cluster)));
        Ok(Self {
            presence: presence.map(Box::new),
            cached: saved.cached.as_ref().map(CachedEvent::restored).transpose()?,
            history: history.map(Box::new),
            counted_at: saved.counted_at.map(|at| at.get()),
            is_backup: saved.is_backup && is_clustered,
            cluster: cluster.filter(|_| is_clustered).or(empty.cluster),
            loss: loss.map(|loss| Box::new(Loss::restored(loss))),
            ..Self::default()
        })
    }

    /// Makes a channel that held nothing, without subscribers. `is_open`: it is open on the bus, too, for
    /// those that it will have.
    pub(super) fn restored_empty(key: &ChannelKey, is_open: bool, step: &Step<'_>) -> Self {
        let cluster = step.is_on_bus(key).then(|| {
            let mut cluster = ClusterChannel::new(step.clock.read(step.now));
            if is_open {
                cluster.open();
            }
            Box::new(cluster)
        });
        Self::new(cluster)
    }

    /// Counts a subscriber. Returns whether it is the channel's first on this node.
    pub(crate) fn add(&mut self, worker: WorkerId) -> bool {
        let first = self.subscribers.is_empty();
        match self.subscribers.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, count)) => *count += 1,
            None => self.subscribers.push((worker, 1)),
        }
        first
    }

    /// Removes a subscriber. Returns whether the worker had one.
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

    /// Whether nothing on this node needs the channel.
    pub(crate) fn is_empty(&self) -> bool {
        self.subscribers.is_empty()
            && self.cached.is_none()
            && (self.history.is_none() || self.cluster.is_some())
            && self.presence.as_ref().is_none_or(|presence| !presence.is_held())
            && self.user.is_none()
            && !self.is_backup
            && self.loss.is_none()
            && self.cluster.as_ref().is_none_or(|cluster| !cluster.has_pending())
    }

    /// Returns the number of subscribers on this node.
    pub(crate) fn count_here(&self) -> usize {
        self.subscribers.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Returns the number of subscribers on all nodes, as far as it is known.
    pub(crate) fn count_everywhere(&self) -> usize {
        self.count_here()
            + self.cluster.as_ref().map_or(0, |cluster| cluster.subscriptions_elsewhere())
    }

    /// Whether the user of this channel is signed in on any node.
    pub(crate) fn is_online(&self) -> bool {
        self.user.as_ref().is_some_and(|user| user.is_here())
            || self.cluster.as_ref().is_some_and(|cluster| cluster.is_online_elsewhere())
    }

    /// The time at which the first of what is kept for later subscribers expires.
    pub(super) fn expiry(&self) -> Option<Duration> {
        let cached = self.cached.as_ref().map(CachedEvent::expires_at);
        let history = self.history.as_ref().map(|history| history.expires_at());
        cached.into_iter().chain(history).min()
    }

    /// Drops the oldest events of the history or, if there are none or it expires by `due`, the cached event.
    pub(super) fn evict(&mut self, due: Duration) {
        let has_events = self.history.as_ref().is_some_and(|history| !history.is_empty());
        let is_first = |cached: &mut CachedEvent| !has_events || cached.expires_at() <= due;
        if self.cached.take_if(is_first).is_none() {
            self.history.iter_mut().for_each(|history| history.evict());
            // Offsets must not begin anew for subscribers.
            let is_unused = self.subscribers.is_empty() && self.cluster.is_none();
            self.history.take_if(|history| history.is_empty() && is_unused);
        }
    }

    /// Returns the bytes of what is kept for later subscribers. Names count too: publishers choose them.
    pub(super) fn retained_bytes(&self, key: &ChannelKey) -> usize {
        let cached = self.cached.as_ref().map_or(0, CachedEvent::bytes);
        let history = self.history.as_ref().map_or(0, |history| history.bytes());
        match cached + history {
            0 => 0,
            bytes => bytes + 2 * key.name.as_str().len(),
        }
    }

    /// Returns the cached event, if it has not expired.
    pub(crate) fn fresh(&self, now: Duration) -> Option<&CachedEvent> {
        self.cached.as_ref().filter(|cached| cached.expires_at() > now)
    }

    /// Returns the cached event of a cache channel for a new subscriber, or a miss, which is reported.
    pub(super) fn cached_or_miss(&self, key: &ChannelKey, step: &mut Step<'_>) -> Frame {
        if let Some(cached) = self.fresh(step.now) {
            return cached.frame.clone();
        }
        if step.app(key).hooks.cache_misses {
            step.report(ChannelEvent::CacheMiss(key.clone()));
        }
        server::cache_miss(&key.name)
    }

    pub(crate) fn state(&self, now: Duration) -> ChannelState {
        ChannelState {
            subscriptions: self.count_here(),
            users: self.presence.as_ref().map_or(0, |presence| presence.len()),
            cached: self.fresh(now).map(|c| (c.frame.clone(), c.expires_at() - now)),
            position: self.position(),
        }
    }

    /// Sends a frame to all subscribers on this node.
    pub(crate) fn deliver(&self, key: &ChannelKey, frame: &Frame, step: &mut Step<'_>) {
        let frame = step.shared(frame);
        for (worker, _) in &self.subscribers {
            let channel = key.clone();
            let frame = frame.clone();
            let position = self.position();
            let message =
                WorkerMessage::Deliver { channel, frame, except: None, position, ack: None };
            step.send(*worker, message);
        }
    }

    /// Tells the subscribers on this node that they may have missed events. Those of a channel with history
    /// get them.
    pub(crate) fn announce_gap(&self, key: &ChannelKey, step: &mut Step<'_>) {
        if !self.subscribers.is_empty() && self.history.is_none() {
            self.deliver(key, &server::gap(&key.name, GapReason::Bus, None), step);
        }
    }

    /// Returns the position behind the last event of the history, if there is one.
    pub(super) fn position(&self) -> Option<Position> {
        self.history.as_ref().map(|history| history.position())
    }

    /// Reports that the channel is occupied or vacated. `before` is the former number of subscribers.
    pub(crate) fn report_occupancy(&self, key: &ChannelKey, before: usize, step: &mut Step<'_>) {
        let is_wanted = step.app(key).hooks.occupancy;
        match (before, self.count_here()) {
            (0, 1..) => step.report_local(is_wanted, || ChannelEvent::Occupied(key.clone())),
            (1.., 0) => step.report_local(is_wanted, || ChannelEvent::Vacated(key.clone())),
            _ => {}
        }
    }

    /// Notifies the subscribers and the backend that a user has joined, on this node or another.
    pub(crate) fn notify_joined(&self, key: &ChannelKey, member: &Member, step: &mut Step<'_>) {
        self.deliver(key, &server::member_added(&key.name, member), step);
        let is_wanted = step.app(key).hooks.members;
        let event = || ChannelEvent::MemberAdded(key.clone(), member.id.as_str().into());
        step.report_local(is_wanted, event);
    }

    /// Notifies the subscribers and the backend that a user has left.
    pub(crate) fn notify_left(&self, key: &ChannelKey, id: &UserId, step: &mut Step<'_>) {
        self.deliver(key, &server::member_removed(&key.name, id), step);
        let is_wanted = step.app(key).hooks.members;
        let event = || ChannelEvent::MemberRemoved(key.clone(), id.as_str().into());
        step.report_local(is_wanted, event);
    }

    /// Handles that a connection of a user has left, or is no longer held.
    pub(super) fn end_membership(
        &mut self,
        key: &ChannelKey,
        id: &UserId,
        leaving: Leaving,
        step: &mut Step<'_>,
    ) {
        if leaving.last_here {
            self.publish_change(key, Change::Left(id.as_str()), step);
        }
        if let Some(member) = leaving.gone {
            self.notify_left(key, &member.id, step);
        }
    }

    /// Notifies the user's watchers if the user went online or offline.
    pub(crate) fn notify_watchers(&self, key: &ChannelKey, was_online: bool, step: &mut Step<'_>) {
        let is_online = self.is_online();
        if was_online != is_online
            && let (Some(user), Some(id)) = (&self.user, key.name.user())
        {
            user.notify_watchers(id, is_online, step);
        }
    }

    /// Whether the last `subscription_count` was sent too short a time ago.
    pub(crate) fn is_count_paused(&self, now: Duration) -> bool {
        self.counted_at.is_some_and(|at| at + COUNT_PAUSE > now)
    }

    /// Notifies the subscribers and the backend of the number of subscribers.
    pub(crate) fn notify_count(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        self.counted_at = Some(step.now);
        let count = self.count_everywhere();
        self.deliver(key, &server::subscription_count(&key.name, count), step);
        let is_first =
            self.cluster.as_ref().is_none_or(|cluster| cluster.is_first(step.config.bus.id()));
        if step.app(key).hooks.counts && is_first {
            step.report(ChannelEvent::Count(key.clone(), count));
        }
    }

    /// Requests a backup node if this node alone has the channel and the app's backend is notified of leaves.
    pub(crate) fn request_backup(&self, key: &ChannelKey, step: &mut Step<'_>) {
        let is_alone = |cluster: &ClusterChannel| {
            cluster.is_open() && cluster.is_alone() && cluster.backup.is_none()
        };
        if step.app(key).hooks.report_occupants(&key.name)
            && !self.subscribers.is_empty()
            && step.is_clustered()
            && self.cluster.as_ref().is_some_and(|cluster| is_alone(cluster))
        {
            step.bus(BusCommand::RequestBackup(key.clone()));
        }
    }

    /// Publishes a change of this node's state to the other nodes.
    pub(crate) fn publish_change(
        &mut self,
        key: &ChannelKey,
        change: Change<'_>,
        step: &mut Step<'_>,
    ) {
        if let Some(cluster) = &mut self.cluster {
            let message = cluster.change(change);
            step.publish_sync(key, &message);
            step.back_up(key, cluster.backup, &message);
        }
    }

    /// Publishes a user's first connection to this node to the other nodes.
    pub(crate) fn publish_joined(
        &mut self,
        key: &ChannelKey,
        member: &Member,
        step: &mut Step<'_>,
    ) {
        if self.cluster.is_some() {
            self.publish_change(key, Change::Joined(&member.to_channel_data()), step);
        }
    }

    /// Publishes this node's number of subscribers to the other nodes, unless they know it.
    pub(crate) fn publish_count(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let here = u32::try_from(self.count_here()).unwrap_or(u32::MAX);
        if let Some(cluster) = &mut self.cluster
            && cluster.announced != here
        {
            cluster.announced = here;
            self.publish_change(key, Change::Subscriptions(here), step);
        }
    }

    /// Publishes this node's whole state to the other nodes. `is_request`: they answer with theirs.
    pub(crate) fn publish_state(
        &mut self,
        key: &ChannelKey,
        is_request: bool,
        step: &mut Step<'_>,
    ) {
        let backup = self.cluster.as_ref().and_then(|cluster| cluster.backup);
        self.make_state(is_request, step, |step, message| {
            step.publish_sync(key, message);
            step.back_up(key, backup, message);
        });
    }

    /// Lets a node be the channel's backup, as this node alone has it.
    pub(crate) fn begin_backup(&mut self, key: &ChannelKey, backup: NodeId, step: &mut Step<'_>) {
        let has_subscribers = !self.subscribers.is_empty();
        let needs_one = |cluster: &ClusterChannel| cluster.is_alone() && cluster.backup.is_none();
        let cluster = self.cluster.as_mut().filter(|it| needs_one(it) && has_subscribers);
        if let Some(cluster) = cluster {
            cluster.backup = Some(backup);
            self.make_state(false, step, |step, message| step.back_up(key, Some(backup), message));
        }
    }

    /// Ends the backup, if there is one: this node does not need it any more.
    pub(crate) fn end_backup(&mut self, key: &ChannelKey, step: &mut Step<'_>) {
        let backup = self.cluster.as_mut().and_then(|cluster| cluster.backup.take());
        step.back_up(key, backup, &ClusterMessage::ChannelClosed);
    }

    /// Makes this node's whole state into messages.
    fn make_state(
        &mut self,
        is_request: bool,
        step: &mut Step<'_>,
        mut publish: impl FnMut(&mut Step<'_>, &ClusterMessage<'_>),
    ) {
        let subscriptions = u32::try_from(self.count_here()).unwrap_or(u32::MAX);
        let online = self.user.as_ref().is_some_and(|user| user.is_here());
        let cached = self.fresh(step.now).map(|c| (c.number, c.frame.clone()));
        let members: Vec<String> =
            self.presence.iter().flat_map(|p| p.here()).map(|m| m.to_channel_data()).collect();
        let state = State {
            subscriptions,
            online,
            cached: cached.as_ref().map(|(number, frame)| (*number, frame.payload().into())),
            ..State::default()
        };
        if let Some(cluster) = &mut self.cluster {
            let members = members.iter().map(String::as_str);
            let part_bytes = step.config.part_bytes;
            let publish = |message: &ClusterMessage<'_>| publish(step, message);
            cluster.state(state, members, part_bytes, is_request, publish);
        }
    }

    /// Whether the other nodes do not know yet that the channel became occupied or vacant here.
    pub(crate) fn has_changed_occupancy(&self) -> bool {
        let is_announced = self.cluster.as_ref().is_some_and(|cluster| cluster.announced > 0);
        self.cluster.is_some() && is_announced == self.subscribers.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::Epoch;

    use super::*;

    #[test]
    fn a_cached_event_goes_if_the_history_has_none() {
        let epoch = Epoch(std::num::NonZeroU64::MIN);
        let now = Duration::from_secs(1);
        let mut channel = Channel::new(None);
        channel.add(WorkerId(0));
        channel.cached = Some(CachedEvent { frame: Frame::text(b"{}"), at: now, number: 1 });
        let history = History::new(Position { epoch, offset: 7 }, now);
        channel.history = Some(Box::new(history));
        channel.evict(now);
        assert!(channel.cached.is_none(), "nothing else can make room");
        assert!(channel.history.is_some(), "its subscribers know its offsets");
    }
}
