//! The state of a worker: its connections, subscriptions, and pending subscriptions.

use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::user::UserId;
use clarim_protocol::{Code, SocketId};
use slab::Slab;

use super::page_table::PageTable;
use super::pending::PendingChannels;
use super::reconnects::Reconnects;
use super::subscribers::Subscribers;
use crate::address::{ChannelKey, ConnectionAddr, ConnectionId, WorkerId};
use crate::connection::{Connection, End, Subscription};
use crate::directory::{Leave, Shard, Step, saved, watchlist};
use crate::node::Node;
use crate::outputs::{ConnectionEvent, Output, OutputSink};
use crate::snapshot::{SavedConnection, SavedSubscription, SavedUser};

/// The state of a worker.
#[derive(Debug)]
pub(super) struct WorkerState<S> {
    pub(super) id: WorkerId,
    pub(super) node: Arc<Node<S>>,
    pub(super) connections: Slab<Connection>,
    pub(super) subscribers: Subscribers,
    pub(super) pending: PendingChannels,
    pub(super) pages: PageTable,
    pub(super) reconnects: Reconnects,
    /// Time of the next request to pages that get events.
    pub(super) next_request: Duration,
}

impl<S: OutputSink> WorkerState<S> {
    pub(super) fn new(id: WorkerId, node: Arc<Node<S>>) -> Self {
        Self {
            id,
            node,
            connections: Slab::new(),
            subscribers: Subscribers::default(),
            pending: PendingChannels::default(),
            pages: PageTable::default(),
            reconnects: Reconnects::default(),
            next_request: Duration::ZERO,
        }
    }

    pub(super) fn addr(&self, connection: ConnectionId) -> ConnectionAddr {
        ConnectionAddr { worker: self.id, connection }
    }

    /// Returns a connection, for a snapshot.
    pub(super) fn save(&self, id: ConnectionId) -> Option<SavedConnection> {
        let connection = self.connections.get(id.0 as usize)?;
        let mut record = connection.save(self.addr(id), self.node.app(connection.app));
        record.user = connection.user.as_ref().map(|user| SavedUser {
            member: user.member.to_channel_data(),
            watchlist: user.watchlist.iter().map(|user| user.to_string()).collect(),
        });
        let subscriptions = connection.subscriptions.iter().map(|subscription| SavedSubscription {
            channel: self.subscribers.key(subscription.position.channel).name.to_string(),
            user: subscription.member.as_deref().map(UserId::to_channel_data),
        });
        record.subscriptions = subscriptions.collect();
        // Nothing depends on the time.
        let pending = self.pending.of(id).iter().filter_map(|key| {
            let socket_id = connection.socket_id;
            let save =
                |shard: &mut Shard, _: &mut Step<'_>| saved::save_pending(shard, key, socket_id);
            self.node.step(key, Duration::ZERO, save)
        });
        record.pending = pending.collect();
        let page = self.pages.get(id).filter(|page| self.node.pages().has(page));
        record.page = page.map(|page| page.link(self.addr(id), self.subscribers.changes()));
        Some(record)
    }

    /// Finds the connection with this id, if it belongs to this worker.
    pub(super) fn find(&self, socket_id: SocketId) -> Option<ConnectionId> {
        let ConnectionAddr { connection, .. } = ConnectionAddr::of(socket_id)?;
        if self.has(connection, socket_id) {
            return Some(connection);
        }
        self.pages.find(socket_id)
    }

    /// Whether the connection in this slot has this id.
    pub(super) fn has(&self, connection: ConnectionId, socket_id: SocketId) -> bool {
        let found = self.connections.get(connection.0 as usize);
        found.is_some_and(|connection| connection.socket_id == socket_id)
    }

    /// Ends a subscription that has been taken out of its connection.
    pub(super) fn leave(
        &mut self,
        subscription: &Subscription,
        socket_id: SocketId,
        is_abrupt: bool,
        now: Duration,
    ) {
        let position = subscription.position;
        let key = self.subscribers.key(position.channel).clone();
        if self.node.app(key.app).hooks.connections {
            let event = ConnectionEvent::Unsubscribed { channel: key.clone(), socket_id };
            self.node.output(Output::ConnectionEvent(event));
        }
        if let Some(moved) = self.subscribers.remove(position)
            && let Some(connection) = self.connections.get_mut(moved.0 as usize)
        {
            connection.set_position(position);
        }
        let worker = self.id;
        let member = subscription.member.as_deref();
        let leave = Leave { worker, channel: &key, member, is_abrupt };
        self.node.step(&key, now, |shard, step| shard.leave(&leave, step));
    }

    /// Cancels a pending subscription.
    pub(super) fn cancel_pending(
        &mut self,
        socket_id: SocketId,
        channel: ChannelKey,
        now: Duration,
    ) {
        let is_canceled = self
            .node
            .step(&channel, now, |shard, step| shard.cancel_pending(&channel, socket_id, step));
        if !is_canceled {
            self.pending.mark_canceled(socket_id, channel);
        }
    }

    /// Whether a subscription that was just made is still wanted: a connection that waited for it may have
    /// unsubscribed or closed.
    pub(super) fn is_wanted(
        &mut self,
        connection: ConnectionId,
        socket_id: SocketId,
        channel: &ChannelKey,
    ) -> bool {
        if self.pending.is_empty() {
            return true;
        }
        if self.pending.take_canceled(socket_id, channel) {
            return false;
        }
        self.pending.remove(connection, channel);
        true
    }

    /// Ends all subscriptions of a connection and signs it out.
    pub(super) fn leave_all(&mut self, id: ConnectionId, end: End, now: Duration) {
        let Some(connection) = self.connections.get_mut(id.0 as usize) else { return };
        let app = connection.app;
        let socket_id = connection.socket_id;
        let user = connection.user.take();
        for subscription in std::mem::take(&mut connection.subscriptions) {
            self.leave(&subscription, socket_id, end.is_abrupt(), now);
        }
        for channel in self.pending.remove_all(id) {
            self.cancel_pending(socket_id, channel, now);
        }
        if end == End::ByClient(Some(Code::GOING_AWAY))
            && let Some(page) = self.pages.remove(id)
        {
            self.node.pages().leave(&page, self.addr(id), self.node.app(app), now);
        }
        let Some(user) = user else { return };
        if let Some(key) = ChannelKey::of_user(app, user.member.id.as_str()) {
            self.node.step(&key, now, |shard, step| watchlist::sign_out(shard, &key, step));
        }
        for key in user.watchlist.iter().filter_map(|user| ChannelKey::of_user(app, user)) {
            self.node
                .step(&key, now, |shard, step| watchlist::unwatch(shard, &key, socket_id, step));
        }
    }
}
