//! Restoring a worker from a snapshot.

use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::user::{Member, User, UserId};
use clarim_protocol::{Since, SocketId};
use slab::Slab;

use super::inputs::Worker;
use super::state::WorkerState;
use crate::address::{AppIndex, ChannelKey, ConnectionAddr, ConnectionId, WorkerId};
use crate::connection::{Connection, Subscription};
use crate::directory::{Join, Joining, PresenceFull, Shard, Step, saved, watchlist};
use crate::node::Node;
use crate::outputs::{Output, OutputSink, WorkerMessage};
use crate::snapshot::{
    SavedConnection, SavedNode, SavedPageLink, SavedPending, SavedSubscription, SavedUser,
    SavedWorker, SnapshotError,
};

/// Connections keep slots below this number: a larger one costs memory for all slots before it.
const MAX_SLOT: u32 = 1 << 20;

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
    now: Duration,
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
        let now = saved.now.get();
        Self { state, is_same, next_slot: 0, restored: Vec::new(), now }
    }

    /// Returns the worker that gets a connection, if there are this many now.
    #[must_use]
    pub fn worker_of(node: &SavedNode, connection: &SavedConnection, workers: u16) -> WorkerId {
        let spread = if workers == node.workers { 0 } else { connection.slot };
        let number = spread.wrapping_add(connection.worker.into());
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
        for pending in &saved.pending {
            self.wait(app, addr, saved.socket_id, pending)?;
        }
        if let Some(link) = &saved.page {
            self.attach_page(&connection, addr, link)?;
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
        self.state.node.step(&key, self.now, |shard, step| {
            saved::restore_subscription(shard, &key, worker, member.as_deref(), step)
        })?;
        let position = self.state.subscribers.add(key, id);
        Ok(Subscription { position, member })
    }

    /// Relates the connection to its page again, which follows the channels with history.
    fn attach_page(
        &mut self,
        connection: &Connection,
        addr: ConnectionAddr,
        link: &SavedPageLink,
    ) -> Result<(), SnapshotError> {
        let WorkerState { node, subscribers, pages, .. } = &mut self.state;
        let Some(page) = node.pages().find(link) else { return Ok(()) };
        page.attach(addr, subscribers.changes(), link)?;
        pages.insert(addr.connection, page);
        for subscription in &connection.subscriptions {
            let channel = subscription.position.channel;
            // Everything up to this position has been sent.
            if let Some(position) = node.channel(subscribers.key(channel), self.now).position {
                subscribers.follow(channel, position);
            }
        }
        Ok(())
    }

    /// Lets a subscription wait again until its channel is open.
    fn wait(
        &mut self,
        app: AppIndex,
        addr: ConnectionAddr,
        socket_id: SocketId,
        saved: &SavedPending,
    ) -> Result<(), SnapshotError> {
        let key = ChannelKey::restored(app, &saved.channel)?;
        let member = saved.member.as_deref().map(member).transpose()?;
        let since = saved.since.map(Since::from);
        let join = Join {
            addr,
            socket_id,
            channel: &key,
            member: member.as_ref(),
            since: since.as_ref(),
            former: &saved.former,
        };
        let joining = self.state.node.step(&key, self.now, |shard, step| shard.join(&join, step));
        match joining {
            Ok(Joining::Pending) => self.state.pending.add(addr.connection, key),
            // The node is not in a cluster any more: the worker finds the result in its inbox.
            Ok(Joining::Done) => {}
            Err(PresenceFull { max }) => {
                let connection = addr.connection;
                let message = WorkerMessage::Full { connection, socket_id, channel: key, max };
                self.state.node.output(Output::Worker(addr.worker, message));
            }
        }
        Ok(())
    }

    /// Counts the connection as one of its user's, and as a watcher of others.
    fn sign_in(&self, app: AppIndex, connection: &Connection, user: &User, addr: ConnectionAddr) {
        let node = &self.state.node;
        let socket_id = connection.socket_id;
        for key in user.watchlist.iter().filter_map(|user| ChannelKey::of_user(app, user)) {
            node.step(&key, self.now, |shard, step| {
                watchlist::restore_watcher(shard, &key, socket_id, addr, step);
            });
        }
        if let Some(key) = ChannelKey::of_user(app, user.member.id.as_str()) {
            let restore = |shard: &mut Shard, step: &mut Step<'_>| {
                watchlist::restore_sign_in(shard, &key, step);
            };
            node.step(&key, self.now, restore);
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
