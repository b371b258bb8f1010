//! What all workers of a node share: its apps, and the directory of channels and users in shards.

use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, Frame, SocketId};

use crate::app::App;
use crate::apps::{AppIndex, Apps};
use crate::entry::{
    ChannelKey, ConnectionAddr, DeliveryAck, DeliveryAcks, Outputs, WorkerId, WorkerMessage,
};
use crate::presence::PresenceFull;
use crate::shard::{ChannelState, Join, Joining, Keep, Publication, Shard};
use crate::totals::Totals;

/// Enough that two threads seldom want the same one, few enough to sweep them all each second.
pub(crate) const SHARDS: usize = 64;

/// A node: all that its workers share. A shard's lock is held for one step on one channel and the posting
/// of what follows, never across a wait or a socket.
#[derive(Debug)]
pub struct Node<P> {
    apps: Apps,
    pub(crate) channels: Box<[Mutex<Shard>]>,
    hasher: foldhash::fast::RandomState,
    workers: u16,
    post: P,
}

impl<P: Outputs> Node<P> {
    /// A node of `workers` workers, whose inboxes are behind `post`.
    /// `epoch` is the time of day at which its time begins, since 1970.
    pub fn new(apps: Apps, workers: u16, epoch: Duration, post: P) -> Self {
        Self {
            apps,
            channels: (0..SHARDS).map(|_| Mutex::new(Shard::new(epoch))).collect(),
            hasher: foldhash::fast::RandomState::default(),
            workers,
            post,
        }
    }

    /// The node's apps.
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// The inboxes that the node was made with.
    pub fn post(&self) -> &P {
        &self.post
    }

    /// Publishes an event of a backend. Each subscriber but `except` gets it; copies of the receipts are with
    /// the workers until they have handed it out, and on the way to the bus until it has taken it.
    pub fn publish(
        &self,
        channel: &ChannelKey,
        frame: &Frame,
        except: Option<SocketId>,
        receipts: DeliveryAcks<'_>,
        now: Duration,
    ) {
        let keep = Keep::Last;
        let publication = Publication { channel, frame, except, receipts, keep, now };
        self.channel_shard(channel).publish(publication, &self.post);
    }

    /// Forwards a client event to the channel's other subscribers. Cache channels do not keep it.
    pub(crate) fn whisper(
        &self,
        channel: &ChannelKey,
        frame: &Frame,
        from: SocketId,
        now: Duration,
    ) {
        let (except, receipts, keep) = (Some(from), DeliveryAcks::default(), Keep::No);
        let publication = Publication { channel, frame, except, receipts, keep, now };
        self.channel_shard(channel).publish(publication, &self.post);
    }

    pub(crate) fn join(&self, join: &Join<'_>) -> Result<Joining, PresenceFull> {
        self.channel_shard(join.channel).join(join, &self.post)
    }

    pub(crate) fn cancel(&self, channel: &ChannelKey, socket_id: SocketId, now: Duration) -> bool {
        self.channel_shard(channel).cancel(channel, socket_id, now, &self.post)
    }

    pub(crate) fn leave(
        &self,
        worker: WorkerId,
        channel: &ChannelKey,
        member: Option<&UserId>,
        now: Duration,
    ) {
        let app = self.apps.get(channel.app);
        self.channel_shard(channel).leave(worker, channel, member, (app, now), &self.post);
    }

    /// What is known of a channel.
    pub fn channel(&self, channel: &ChannelKey, now: Duration) -> ChannelState {
        self.channel_shard(channel).state(channel, now)
    }

    /// The app's channels that have subscribers and whose names begin with `prefix`, by name; their cached
    /// events are not told.
    pub fn channels(&self, app: AppIndex, prefix: &str) -> Vec<(ChannelName, ChannelState)> {
        let mut found = Vec::new();
        for shard in &self.channels {
            let shard = lock(shard);
            found.extend(
                shard
                    .occupied()
                    .filter(|(key, _)| key.app == app && key.name.as_str().starts_with(prefix))
                    .map(|(key, state)| (key.name.clone(), state)),
            );
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        found
    }

    /// Ids of the users on a presence channel.
    pub fn users(&self, channel: &ChannelKey) -> Vec<UserId> {
        self.channel_shard(channel).users(channel)
    }

    /// Closes all connections of a user: those that signed in as it, and those that are on a presence
    /// channel as it.
    pub fn terminate(&self, app: AppIndex, user: &str, receipt: Option<&DeliveryAck>) {
        let user: Arc<str> = user.into();
        for worker in 0..self.workers {
            let (user, receipt) = (user.clone(), receipt.cloned());
            self.post.post(WorkerId(worker), WorkerMessage::Terminate { app, user, receipt });
        }
    }

    pub(crate) fn come(&self, user: &ChannelKey, now: Duration) {
        self.channel_shard(user).come(user, now, &self.post);
    }

    pub(crate) fn go(&self, user: &ChannelKey, now: Duration) {
        self.channel_shard(user).go(user, now, &self.post);
    }

    pub(crate) fn watch(
        &self,
        user: &ChannelKey,
        watcher: (SocketId, ConnectionAddr),
        now: Duration,
    ) -> bool {
        self.channel_shard(user).watch(user, watcher, now, &self.post)
    }

    pub(crate) fn unwatch(&self, user: &ChannelKey, watcher: SocketId, now: Duration) {
        self.channel_shard(user).unwatch(user, watcher, now, &self.post);
    }

    /// Does what has become due in the directory. To be called about once a second.
    pub fn sweep(&self, now: Duration) {
        for shard in &self.channels {
            lock(shard).sweep(now, |key| self.app(key.app), &self.post);
        }
    }

    /// How many channels, subscriptions and members there are.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for shard in &self.channels {
            totals += lock(shard).totals();
        }
        totals
    }

    /// Whether nothing is left of any connection or event.
    pub fn is_empty(&self) -> bool {
        self.channels.iter().all(|shard| lock(shard).is_empty())
    }

    pub(crate) fn app(&self, index: AppIndex) -> &App {
        self.apps.get(index)
    }

    pub(crate) fn channel_shard(&self, channel: &ChannelKey) -> MutexGuard<'_, Shard> {
        lock(&self.channels[self.place(channel)])
    }

    fn place(&self, key: &impl Hash) -> usize {
        // The low bits choose the bucket inside the shard's own map, so take the high ones.
        (self.hasher.hash_one(key) >> 48) as usize % SHARDS
    }
}

/// A panic under the lock would have left a half-done step behind; there is none that could panic, and
/// going on with one channel wrong is better than with all of a shard's channels dead.
pub(crate) fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
