//! A node: its apps, and the directory of channels and users in shards that all workers share.

use std::hash::{BuildHasher, Hash};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clarim_cluster::{ClusterMessage, NodeId};
use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, Frame, Position, SocketId};

use crate::address::{AppIndex, ChannelKey, WorkerId};
use crate::app::{App, Apps};
use crate::directory::{
    ChannelState, History, HistoryPage, HistoryQuery, Keep, LogicalClock, NodeConfig, Publication,
    Recoveries, Shard, Step, Totals, saved,
};
use crate::outputs::{
    DeliveryAck, DeliveryAcks, Occupant, Output, OutputSink, Outputs, WorkerMessage,
};
use crate::pages::Pages;
use crate::snapshot::{NodeRecord, SavedChannel, SavedNode, SnapshotError};

/// Number of shards. Two threads seldom need the same one, and all can be swept each second.
pub(crate) const SHARDS: usize = 64;

/// The state that all workers of a node share.
///
/// A shard's lock is held for one step on one channel, including the hand-over of the step's outputs. It is
/// never held across a wait or a socket write.
#[derive(Debug)]
pub struct Node<S> {
    apps: Apps,
    config: NodeConfig,
    clock: LogicalClock,
    shards: Box<[Mutex<ShardSlot>]>,
    pages: Pages,
    hasher: foldhash::fast::RandomState,
    sink: S,
}

/// A shard and the buffer for the outputs of its steps.
#[derive(Debug, Default)]
struct ShardSlot {
    shard: Shard,
    outputs: Outputs,
}

impl<S: OutputSink> Node<S> {
    /// Makes a node whose outputs are executed by `sink`.
    pub fn new(apps: Apps, config: NodeConfig, sink: S) -> Self {
        Self {
            apps,
            config,
            clock: LogicalClock::new(config.epoch),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            pages: Pages::default(),
            hasher: foldhash::fast::RandomState::default(),
            sink,
        }
    }

    /// Returns the node's apps.
    pub fn apps(&self) -> &Apps {
        &self.apps
    }

    /// Returns the node's configuration.
    pub fn config(&self) -> NodeConfig {
        self.config
    }

    /// Returns the node's sink.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// Publishes an event of a backend to all subscribers but `except`. Copies of the acknowledgements are
    /// held by the workers until they have delivered the event, and on the way to the bus.
    pub fn publish(
        &self,
        channel: &ChannelKey,
        frame: &Frame,
        except: Option<SocketId>,
        acks: DeliveryAcks<'_>,
        now: Duration,
    ) {
        self.publish_once(channel, frame, except, None, acks, now);
    }

    /// As [`publish`](Self::publish). With a bus, the history of the channel takes only one event with this
    /// idempotency key within five minutes.
    pub fn publish_once(
        &self,
        channel: &ChannelKey,
        frame: &Frame,
        except: Option<SocketId>,
        key: Option<&Arc<str>>,
        acks: DeliveryAcks<'_>,
        now: Duration,
    ) {
        let keep = Keep::Last;
        let new = Publication::new(channel, frame);
        let publication = Publication { except, acks, keep, key, ..new };
        self.step(channel, now, |shard, step| shard.publish(publication, step));
    }

    /// Publishes a client event to the channel's other subscribers. Cache channels do not keep it.
    pub(crate) fn publish_client_event(
        &self,
        channel: &ChannelKey,
        frame: &Frame,
        from: SocketId,
        now: Duration,
    ) {
        let publication = Publication { except: Some(from), ..Publication::new(channel, frame) };
        self.step(channel, now, |shard, step| shard.publish(publication, step));
    }

    /// Returns the state of a channel.
    pub fn channel(&self, channel: &ChannelKey, now: Duration) -> ChannelState {
        self.read(channel, |shard| shard.state(channel, now))
    }

    /// Returns the app's channels that have subscribers and whose names begin with `prefix`, by name, without
    /// their cached events.
    pub fn channels(&self, app: AppIndex, prefix: &str) -> Vec<(ChannelName, ChannelState)> {
        let mut found = Vec::new();
        for slot in &self.shards {
            let slot = lock(slot);
            let channels = slot.shard.occupied();
            found.extend(
                channels
                    .filter(|(key, _)| key.app == app && key.name.as_str().starts_with(prefix))
                    .map(|(key, state)| (key.name.clone(), state)),
            );
        }
        found.sort_unstable_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
        found
    }

    /// Returns the ids of the users on a presence channel.
    pub fn users(&self, channel: &ChannelKey) -> Vec<UserId> {
        self.read(channel, |shard| shard.users(channel))
    }

    /// Reads a part of the history of a channel, which begins with this if there is none yet. `None` if the
    /// channel has no history or, with a bus, if this node does not know it.
    pub fn history(
        &self,
        channel: &ChannelKey,
        query: &HistoryQuery,
        now: Duration,
    ) -> Option<HistoryPage> {
        self.read_history(channel, now, |history| history.page(query))
    }

    /// Returns the position behind the last event of a channel. Its history begins with this if there is none
    /// yet, so a client that subscribes since this position misses nothing. `None` if the channel has no
    /// history or, with a bus, if this node does not know it.
    pub fn position(&self, channel: &ChannelKey, now: Duration) -> Option<Position> {
        self.read_history(channel, now, |history| history.position())
    }

    /// Reads the history of a channel. A node with a bus opens the channel first, which takes a moment.
    fn read_history<T>(
        &self,
        channel: &ChannelKey,
        now: Duration,
        read: impl FnOnce(&History) -> T,
    ) -> Option<T> {
        self.step(channel, now, |shard, step| {
            let found = shard.recorder().read(channel, step, read);
            let has_rule = step.app(channel).history_of(&channel.name).is_some();
            if found.is_none() && has_rule && step.has_logs() {
                shard.get_or_open(channel, step);
                shard.remove_if_empty(channel, step);
            }
            found
        })
    }

    /// Closes all connections of a user: those that have signed in as the user, and those that are on a
    /// presence channel as the user.
    pub fn terminate(&self, app: AppIndex, user: &str, ack: Option<&DeliveryAck>) {
        let user: Arc<str> = user.into();
        for worker in 0..self.config.workers {
            let user = user.clone();
            let ack = ack.cloned();
            let message = WorkerMessage::Terminate { app, user, ack };
            self.output(Output::Worker(WorkerId(worker), message));
        }
    }

    /// Makes all subscribers reconnect, or those of one channel.
    pub(crate) fn send_subscribers_away(&self, channel: Option<&ChannelKey>) {
        for worker in 0..self.config.workers {
            let message = WorkerMessage::Reconnect { channel: channel.cloned() };
            self.output(Output::Worker(WorkerId(worker), message));
        }
    }

    /// Tells the node `to` that the leave of an occupant is not reported to its backend, because it has
    /// joined that node: see [`Migration`](crate::Migration).
    pub fn publish_leave_suppressed(&self, occupant: &Occupant, to: NodeId) {
        let channel = &occupant.channel;
        // The message does not depend on the time.
        self.step(channel, Duration::ZERO, |shard, step| {
            if shard.has(channel) {
                let user = occupant.user.as_deref();
                let message = ClusterMessage::LeaveSuppressed { user, to: Some(to) };
                step.publish_sync(channel, &message);
            }
        });
    }

    /// Does the directory's periodic work. Call it about once a second.
    pub fn sweep(&self, now: Duration) {
        for shard in 0..SHARDS {
            self.step_in(shard, now, Shard::sweep);
        }
        self.pages.sweep(now);
    }

    /// Returns the numbers of channels, subscriptions and members.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for slot in &self.shards {
            totals += lock(slot).shard.totals();
        }
        totals
    }

    /// Returns what became of clients that named a position in a history.
    pub fn recoveries(&self) -> Recoveries {
        let mut recoveries = Recoveries::default();
        for slot in &self.shards {
            recoveries += lock(slot).shard.recoveries();
        }
        recoveries
    }

    /// Returns the size of all cached events and histories, in bytes.
    pub fn retained_bytes(&self) -> usize {
        self.shards.iter().map(|slot| lock(slot).shard.retained_bytes()).sum()
    }

    /// Whether nothing is left of any connection, page or event.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.shards.iter().all(|slot| lock(slot).shard.is_empty())
    }

    /// Returns the state that workers and channels share, for a snapshot. Until the snapshot is complete, no
    /// thread may use the node, and nothing may wait in the inboxes of its workers or on the way to its bus.
    /// `wall`: the time of day, since 1970.
    pub fn save(&self, now: Duration, wall: Duration) -> SavedNode {
        let mut saved = SavedNode {
            workers: self.config.workers,
            now: now.into(),
            wall: wall.into(),
            node_id: self.config.bus.id(),
            clock: self.clock.read(now),
            last_number: 0,
            recoveries: self.recoveries().save(),
            pages: self.pages.save(&self.apps),
        };
        for slot in &self.shards {
            saved::save_counts(&lock(slot).shard, &mut saved);
        }
        saved
    }

    /// Writes what the node holds beside its connections, for a snapshot.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn save_contents(
        &self,
        write: &mut dyn FnMut(NodeRecord) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut write_channel = |saved| write(NodeRecord::Channel(Box::new(saved)));
        for shard in 0..SHARDS {
            // Nothing depends on the time.
            self.step_in(shard, Duration::ZERO, |shard, step| {
                saved::save(shard, step, &mut write_channel)
            })?;
        }
        self.pages.save_all(&self.apps, &mut |page| write(NodeRecord::Page(Box::new(page))))
    }

    /// Begins to restore a new node from a snapshot. The node has no workers yet.
    pub fn restore(&self, saved: &SavedNode, now: Duration) {
        self.clock.observe(saved.clock, now);
        self.pages.restore(&saved.pages, &self.apps);
        for (n, slot) in self.shards.iter().enumerate() {
            saved::restore_counts(&mut lock(slot).shard, saved, n == 0);
        }
    }

    /// Restores a part of what the node held. Call it for all of them before the connections are restored:
    /// see [`WorkerRestorer`](crate::WorkerRestorer).
    ///
    /// # Errors
    /// If the record is not valid.
    pub fn restore_record(&self, record: NodeRecord, now: Duration) -> Result<(), SnapshotError> {
        match record {
            NodeRecord::Channel(saved) => self.restore_channel(*saved, now),
            NodeRecord::Page(saved) => match self.apps.find_by_id(&saved.app) {
                Some(app) => self.pages.restore_page(app, &saved),
                None => Ok(()),
            },
        }
    }

    fn restore_channel(&self, saved: SavedChannel, now: Duration) -> Result<(), SnapshotError> {
        let Some(app) = self.apps.find_by_id(&saved.app) else { return Ok(()) };
        let key = ChannelKey::restored(app, &saved.name)?;
        let shard = self.shard_of(&key);
        self.step_in(shard, now, |shard, step| saved::restore(shard, key, saved, step))
    }

    /// Ends the restoration, after that of all connections.
    pub fn finish_restore(&self, now: Duration) {
        for shard in 0..SHARDS {
            self.step_in(shard, now, saved::finish);
        }
        self.pages.finish_restore();
    }

    /// Returns the clock that orders the cached events of all nodes.
    pub(crate) fn clock(&self) -> &LogicalClock {
        &self.clock
    }

    pub(crate) fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Returns the channels on the bus, and whether each is open.
    pub(crate) fn cluster_channels(&self) -> Vec<(ChannelKey, bool)> {
        let mut channels = Vec::new();
        for slot in &self.shards {
            channels.extend(saved::cluster_channels(&lock(slot).shard));
        }
        channels
    }

    /// Returns the channel with names that another node has sent, if they are valid here.
    pub(crate) fn find_channel(&self, app: &str, channel: &str) -> Option<ChannelKey> {
        let app = self.apps.find_by_id(app)?;
        let name = ChannelName::parse(channel, self.app(app).limits.channel_name_bytes).ok()?;
        Some(ChannelKey { app, name })
    }

    /// Whether this node has the channel.
    pub(crate) fn has(&self, channel: &ChannelKey) -> bool {
        self.read(channel, |shard| shard.has(channel))
    }

    pub(crate) fn app(&self, index: AppIndex) -> &App {
        self.apps.get(index)
    }

    /// Executes an output that concerns no channel's order.
    pub(crate) fn output(&self, output: Output) {
        self.sink.execute(output);
    }

    /// Runs one step on a channel, and executes its outputs before any other step on the channel.
    pub(crate) fn step<T>(
        &self,
        channel: &ChannelKey,
        now: Duration,
        change: impl FnOnce(&mut Shard, &mut Step<'_>) -> T,
    ) -> T {
        self.step_in(self.shard_of(channel), now, change)
    }

    /// Runs one step on a shard, and executes its outputs before any other step on the shard.
    pub(crate) fn step_in<T>(
        &self,
        shard: usize,
        now: Duration,
        change: impl FnOnce(&mut Shard, &mut Step<'_>) -> T,
    ) -> T {
        let mut slot = lock(&self.shards[shard]);
        let ShardSlot { shard, outputs } = &mut *slot;
        let clock = &self.clock;
        let mut step = Step { apps: &self.apps, config: self.config, clock, now, outputs };
        let result = change(shard, &mut step);
        // Still under the lock: two threads must not hand over outputs of one channel in another order than
        // the one in which the channel changed.
        for output in outputs.drain() {
            self.sink.execute(output);
        }
        outputs.shrink();
        result
    }

    fn read<T>(&self, channel: &ChannelKey, read: impl FnOnce(&Shard) -> T) -> T {
        read(&lock(&self.shards[self.shard_of(channel)]).shard)
    }

    fn shard_of(&self, key: &impl Hash) -> usize {
        // The low bits choose the bucket inside the shard's own map, so take the high ones.
        (self.hasher.hash_one(key) >> 48) as usize % SHARDS
    }
}

/// Locks a shard, also after a panic: one inconsistent channel is better than losing all channels of a shard.
fn lock(slot: &Mutex<ShardSlot>) -> MutexGuard<'_, ShardSlot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
