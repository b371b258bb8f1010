//! Restoring a worker from a snapshot.

use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::user::{Member, User, UserId};
use slab::Slab;

use super::inputs::Worker;
use super::state::WorkerState;
use crate::address::{AppIndex, ChannelKey, ConnectionAddr, ConnectionId, WorkerId};
use crate::connection::{Connection, Subscription};
use crate::directory::{saved, watchlist};
use crate::node::Node;
use crate::outputs::OutputSink;
use crate::snapshot::{
    SavedConnection, SavedNode, SavedSubscription, SavedUser, SavedWorker, SnapshotError,
};

/// Connections keep slots below this number. A slot above it would cost memory for all below.
const MAX_SLOT: u32 = 1 << 22;

/// A worker that is being restored from a snapshot.
///
/// The node's number of workers may have changed. If it has not, each connection keeps its slot. Otherwise
/// the connections are spread anew, and keep their socket ids all the same.
#[derive(Debug)]
pub struct WorkerRestorer<S> {
    state: WorkerState<S>,
    /// Whether the connections keep their slots.
    is_same: bool,
    next_slot: u32,
    restored: Vec<Restored>,
}

#[derive(Debug)]
struct Restored {
    id: ConnectionId,
    connection: Connection,
}

impl<S: OutputSink> WorkerRestorer<S> {
    /// Begins to restore the worker `id` of a node that was [restored](Node::restore_record).
    pub fn new(id: WorkerId, node: Arc<Node<S>>, saved: &SavedNode) -> Self {
        let is_same = node.config().workers == saved.workers;
        let state = WorkerState::new(id, node);
        Self { state, is_same, next_slot: 0, restored: Vec::new() }
    }

    /// Returns the worker that gets a connection, if there are this many now.
    #[must_use]
    pub fn worker_of(node: &SavedNode, connection: &SavedConnection, workers: u16) -> WorkerId {
        if workers == node.workers {
            return WorkerId(connection.worker);
        }
        let number = connection.slot.wrapping_add(connection.worker.into());
        // Less than the number of workers.
        WorkerId((number % u32::from(workers.max(1))) as u16)
    }

    /// Takes over what the connections of a worker share. Call it for each worker that was saved.
    pub fn add_worker(&mut self, saved: &SavedWorker) {
        let SavedWorker { reconnect_at } = saved;
        self.state.reconnects.restore(reconnect_at.map(|at| at.get()));
    }

    /// Restores a connection of this worker. Returns its slot; `None` if its app does not exist any more, so
    /// that its socket is to be closed. If its socket cannot be restored, call [`Worker::close`] later.
    ///
    /// # Errors
    /// If the record is not valid.
    pub fn add(&mut self, saved: &SavedConnection) -> Result<Option<ConnectionId>, SnapshotError> {
        let apps = self.state.node.apps();
        let Some(app) = apps.find_by_id(&saved.app) else { return Ok(None) };
        apps.readmit(app);
        let id = self.place(saved.slot);
        let addr = self.state.addr(id);
        let mut connection = Connection::restored(app, saved);
        for subscription in &saved.subscriptions {
            connection.subscriptions.push(self.subscribe(app, id, subscription)?);
        }
        connection.user = saved.user.as_ref().map(user).transpose()?.map(Box::new);
        if let Some(user) = &connection.user {
            self.sign_in(app, &connection, user, addr);
        }
        if ConnectionAddr::of(saved.socket_id) != Some(addr) {
            self.state.pages.add_alias(saved.socket_id, id);
        }
        self.restored.push(Restored { id, connection });
        Ok(Some(id))
    }

    /// Ends the restoration.
    pub fn finish(mut self) -> Worker<S> {
        let connections = self.restored.into_iter();
        let connections: Slab<Connection> =
            connections.map(|restored| (restored.id.0 as usize, restored.connection)).collect();
        self.state.connections = connections;
        Worker::of(self.state)
    }

    /// Chooses the slot of a connection. Those of a worker come in the order of their slots.
    fn place(&mut self, slot: u32) -> ConnectionId {
        let keeps_slot = self.is_same && (self.next_slot..MAX_SLOT).contains(&slot);
        let slot = if keeps_slot { slot } else { self.next_slot };
        self.next_slot = slot + 1;
        ConnectionId(slot)
    }

    fn subscribe(
        &mut self,
        app: AppIndex,
        id: ConnectionId,
        saved: &SavedSubscription,
    ) -> Result<Subscription, SnapshotError> {
        let key = ChannelKey::restored(app, &saved.channel)?;
        let member = saved.user.as_deref().map(user_id).transpose()?.map(Box::new);
        let worker = self.state.id;
        // Nothing depends on the time.
        self.state.node.step(&key, Duration::ZERO, |shard, _| {
            saved::restore_subscription(shard, &key, worker, member.as_deref())
        })?;
        let position = self.state.subscribers.add(key, id);
        Ok(Subscription { position, member })
    }

    /// Counts the connection as one of its user's, and as a watcher of others.
    fn sign_in(&self, app: AppIndex, connection: &Connection, user: &User, addr: ConnectionAddr) {
        let node = &self.state.node;
        let socket_id = connection.socket_id;
        for key in user.watchlist.iter().filter_map(|user| ChannelKey::of_user(app, user)) {
            node.step(&key, Duration::ZERO, |shard, _| {
                watchlist::restore_watcher(shard, &key, socket_id, addr);
            });
        }
        if let Some(key) = ChannelKey::of_user(app, user.member.id.as_str()) {
            node.step(&key, Duration::ZERO, |shard, _| watchlist::restore_sign_in(shard, &key));
        }
    }
}

fn user(saved: &SavedUser) -> Result<User, SnapshotError> {
    let member = member(&saved.member)?;
    let watchlist = saved.watchlist.iter().map(|user| user.as_str().into()).collect();
    // It was cut when the connection signed in.
    Ok(User { member, watchlist, watchlist_cut: false })
}

fn user_id(saved: &str) -> Result<UserId, SnapshotError> {
    Ok(member(saved)?.id)
}

fn member(saved: &str) -> Result<Member, SnapshotError> {
    Member::parse(saved).map_err(|error| SnapshotError::invalid(format!("a user: {error}")))
}
