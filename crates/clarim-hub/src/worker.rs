//! One worker's connections, and the protocol they speak.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::client::{ClientFrame, decode};
use clarim_protocol::user::UserId;
use clarim_protocol::{Code, Frame, SocketId, server};
use slab::Slab;

use crate::app::App;
use crate::apps::AppIndex;
use crate::channels::Channels;
use crate::connection::{Connection, Silence, Subscription};
use crate::entry::{
    ChannelKey, ConnectionAddr, ConnectionEvent, ConnectionId, Outputs, WorkerId, WorkerMessage,
};
use crate::node::Node;
use crate::reject::{Reject, Rejected};
use crate::session::user_key;
use crate::waiting::Waiting;

/// The sockets of a worker, to which frames go. Nothing here waits: frames are queued.
pub trait Sockets {
    /// Queues a frame for one connection.
    fn send(&mut self, connection: ConnectionId, frame: Frame);

    /// Queues one frame for many connections. This is the hot path.
    fn send_to_all(
        &mut self,
        connections: &[ConnectionId],
        except: Option<ConnectionId>,
        frame: Frame,
    );

    /// Queues a close frame, after which nothing more is sent or read. The worker is to be told by
    /// [`Worker::depart`] as soon as it can be, and by [`Worker::close`] when the socket has gone.
    fn close(&mut self, connection: ConnectionId, code: Code, reason: &str);

    /// Takes note that something was refused, for who counts it.
    fn rejected(&mut self, _: Rejected) {}
}

/// A connection as it is at a moment.
#[derive(Debug)]
pub struct ConnectionInfo<'a> {
    /// Whose client it is.
    pub app: &'a App,
    /// Its public id.
    pub socket_id: SocketId,
    /// For how long it has been there.
    pub age: Duration,
    /// Who it is: as signed in, or as present on a channel.
    pub user: Option<&'a str>,
    /// What it is subscribed to.
    pub channels: Vec<&'a str>,
}

/// A worker: the connections of one thread and the protocol state of each.
///
/// Inputs are [`open`](Self::open), [`receive`](Self::receive), [`process`](Self::process),
/// [`control_frame`](Self::control_frame), [`sweep`](Self::sweep), [`depart`](Self::depart) and
/// [`close`](Self::close), with the node's time in
/// those that need it; frames come out through [`Sockets`]. After each input the entries that stand in the
/// worker's own inbox are to be processed before the next input: a subscription is made by such an entry.
#[derive(Debug)]
pub struct Worker<P> {
    pub(crate) id: WorkerId,
    pub(crate) node: Arc<Node<P>>,
    pub(crate) connections: Slab<Connection>,
    pub(crate) channels: Channels,
    pub(crate) waiting: Waiting,
}

impl<P: Outputs> Worker<P> {
    /// The worker `id` of `node`, without connections.
    pub fn new(id: WorkerId, node: Arc<Node<P>>) -> Self {
        let (channels, waiting) = (Channels::default(), Waiting::default());
        Self { id, node, connections: Slab::new(), channels, waiting }
    }

    /// The node it belongs to.
    pub fn node(&self) -> &Arc<Node<P>> {
        &self.node
    }

    /// Lets a connection in which the [apps](crate::Apps::admit) have admitted: its place, and the greeting
    /// to send it first. `nonce` is a random number, which makes its socket id its own.
    pub fn open(&mut self, app: AppIndex, nonce: u64, now: Duration) -> (ConnectionId, Frame) {
        let slot = self.connections.vacant_entry();
        // Connections are file descriptors, of which there are far fewer than 2^32.
        let connection = ConnectionId(slot.key() as u32);
        let socket_id = ConnectionAddr { worker: self.id, connection }.socket_id(nonce);
        slot.insert(Connection::new(app, socket_id, now));
        let timeout = self.node.app(app).activity_timeout.as_secs();
        (connection, server::connection_established(socket_id, timeout))
    }

    /// Takes a text message of a client.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        text: &str,
        now: Duration,
        sockets: &mut impl Sockets,
    ) {
        let Some(connection) = self.connections.get_mut(id.0 as usize) else {
            return;
        };
        connection.heard(now, false);
        let app = self.node.app(connection.app);
        if let Some(limit) = app.rate_limit
            && !connection.within_rate(limit, now)
        {
            let message = "Rate limit exceeded";
            Reject::new(Rejected::Rate, message).tell(id, sockets);
            if limit.terminate {
                // A close code from 4300 on would keep the client away for good.
                sockets.close(id, Code::OVER_CAPACITY, message);
            }
            return;
        }
        match decode(text) {
            Ok(ClientFrame::Ping) => sockets.send(id, server::pong()),
            Ok(ClientFrame::Pong) => {}
            Ok(ClientFrame::Subscribe(subscribe)) => self.subscribe(id, &subscribe, now, sockets),
            Ok(ClientFrame::Unsubscribe { channel }) => self.unsubscribe(id, &channel, now),
            Ok(ClientFrame::SignIn(sign_in)) => self.sign_in(id, &sign_in, now, sockets),
            Ok(ClientFrame::ClientEvent(event)) => self.client_event(id, &event, now, sockets),
            Err(error) => {
                Reject::new(Rejected::Malformed, error.to_string()).tell(id, sockets);
            }
        }
    }

    /// Takes note of a ping or pong control frame.
    pub fn control_frame(&mut self, id: ConnectionId, now: Duration) {
        if let Some(connection) = self.connections.get_mut(id.0 as usize) {
            connection.heard(now, true);
        }
    }

    /// Does what stood in the inbox.
    pub fn process(&mut self, entry: WorkerMessage, now: Duration, sockets: &mut impl Sockets) {
        match entry {
            WorkerMessage::Deliver { channel, frame, except, receipt: _receipt } => {
                let except = except.and_then(|socket_id| self.find(socket_id));
                sockets.send_to_all(self.channels.subscribers(&channel), except, frame);
            }
            WorkerMessage::Joined { connection, socket_id, channel, member, succeeded, cached } => {
                if !self.is_wanted(connection, socket_id, &channel) {
                    self.node.leave(self.id, &channel, member.as_deref(), now);
                    return;
                }
                if self.node.app(channel.app).hooks.connections {
                    let (channel, user) = (channel.clone(), member.as_deref().cloned());
                    self.node.post().happened(ConnectionEvent::Subscribed {
                        channel,
                        socket_id,
                        user,
                    });
                }
                let place = self.channels.add(channel, connection);
                if let Some(connection) = self.connections.get_mut(connection.0 as usize) {
                    connection.subscriptions.push(Subscription { place, member });
                }
                sockets.send(connection, succeeded);
                if let Some(cached) = cached {
                    sockets.send(connection, cached);
                }
            }
            WorkerMessage::Full { connection, socket_id, channel, max } => {
                if self.is_wanted(connection, socket_id, &channel) {
                    Reject::full(max).tell_channel(connection, channel.name.as_str(), sockets);
                }
            }
            WorkerMessage::Tell { connection, socket_id, frame } => {
                if self.find(socket_id).is_some() {
                    sockets.send(connection, frame);
                }
            }
            WorkerMessage::Terminate { app, user, receipt: _receipt } => {
                for (slot, connection) in &self.connections {
                    if connection.app == app && connection.is_of_user(&user) {
                        let id = ConnectionId(slot as u32);
                        refuse(id, Code::UNAUTHORIZED, "Terminated by the application", sockets);
                    }
                }
            }
        }
    }

    /// Looks after the connections whose places are in `places`: pings the silent, closes the dead. To be
    /// called so that each place comes up about once a second.
    pub fn sweep(&mut self, places: Range<usize>, now: Duration, sockets: &mut impl Sockets) {
        for slot in places {
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            let app: &App = self.node.app(connection.app);
            let id = ConnectionId(slot as u32);
            if self.node.apps().is_removed(connection.app) {
                refuse(id, Code::APP_DISABLED, "Application disabled", sockets);
                continue;
            }
            match connection.check_silence(app, now) {
                Silence::Fine => {}
                Silence::Ping { control: false } => sockets.send(id, server::ping()),
                Silence::Ping { control: true } => sockets.send(id, Frame::control_ping()),
                Silence::Dead => {
                    refuse(id, Code::PONG_TIMEOUT, "Pong reply not received in time", sockets);
                }
            }
        }
    }

    /// Takes a connection that is being closed off all its channels. Its place stays taken until
    /// [`close`](Self::close), for its socket may still have something to write.
    pub fn depart(&mut self, id: ConnectionId, now: Duration) {
        let Some(connection) = self.connections.get_mut(id.0 as usize) else { return };
        let (app, socket_id) = (connection.app, connection.socket_id);
        let user = connection.user.take();
        for subscription in std::mem::take(&mut connection.subscriptions) {
            self.leave(&subscription, socket_id, now);
        }
        for channel in self.waiting.remove_all(id) {
            self.call_off(socket_id, channel, now);
        }
        if let Some(user) = user {
            if let Some(key) = user_key(app, user.member.id.as_str()) {
                self.node.go(&key, now);
            }
            for watched in user.watchlist.iter().filter_map(|watched| user_key(app, watched)) {
                self.node.unwatch(&watched, socket_id, now);
            }
        }
    }

    /// Forgets a connection whose socket has gone.
    pub fn close(&mut self, id: ConnectionId, now: Duration) {
        self.depart(id, now);
        if let Some(connection) = self.connections.try_remove(id.0 as usize) {
            self.node.apps().release(connection.app);
        }
    }

    /// Takes a subscription, already off its connection's record, out of the worker's list and the
    /// directory.
    pub(crate) fn leave(
        &mut self,
        subscription: &Subscription,
        socket_id: SocketId,
        now: Duration,
    ) {
        let place = subscription.place;
        let key = self.channels.key(place.channel).clone();
        if self.node.app(key.app).hooks.connections {
            let channel = key.clone();
            self.node.post().happened(ConnectionEvent::Unsubscribed { channel, socket_id });
        }
        if let Some(moved) = self.channels.remove(place)
            && let Some(connection) = self.connections.get_mut(moved.0 as usize)
        {
            connection.moved(place);
        }
        self.node.leave(self.id, &key, subscription.member.as_deref(), now);
    }

    /// Ends the waiting for a channel.
    pub(crate) fn call_off(&mut self, socket_id: SocketId, channel: ChannelKey, now: Duration) {
        if !self.node.cancel(&channel, socket_id, now) {
            self.waiting.refuse(socket_id, channel);
        }
    }

    /// Whether a subscription that has come is still wanted: a connection that had to wait for it may have
    /// gone, or gone and come back.
    fn is_wanted(
        &mut self,
        connection: ConnectionId,
        socket_id: SocketId,
        channel: &ChannelKey,
    ) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        if self.waiting.take_unwanted(socket_id, channel) {
            return false;
        }
        self.waiting.remove(connection, channel);
        true
    }

    /// The connection with this id, if it is one of this worker's.
    #[must_use]
    pub fn find(&self, socket_id: SocketId) -> Option<ConnectionId> {
        let seat = ConnectionAddr::of(socket_id)?;
        let connection = self.connections.get(seat.connection.0 as usize)?;
        (connection.socket_id == socket_id).then_some(seat.connection)
    }

    /// The app and the public id of a connection.
    #[must_use]
    pub fn describe(&self, id: ConnectionId) -> Option<(&App, SocketId)> {
        let connection = self.connections.get(id.0 as usize)?;
        Some((self.node.app(connection.app), connection.socket_id))
    }

    /// What is known of a connection, for people to look at.
    pub fn look_at(&self, id: ConnectionId, now: Duration) -> Option<ConnectionInfo<'_>> {
        let connection = self.connections.get(id.0 as usize)?;
        let user = connection.user.as_ref().map(|user| &user.member.id);
        let present = connection.subscriptions.iter().find_map(|s| s.member.as_deref());
        Some(ConnectionInfo {
            app: self.node.app(connection.app),
            socket_id: connection.socket_id,
            age: connection.age(now),
            user: user.or(present).map(UserId::as_str),
            channels: connection
                .subscriptions
                .iter()
                .map(|s| self.channels.key(s.place.channel).name.as_str())
                .collect(),
        })
    }

    /// The worker's own subscribers of a channel.
    #[must_use]
    pub fn subscribers(&self, channel: &ChannelKey) -> &[ConnectionId] {
        self.channels.subscribers(channel)
    }

    /// Places to sweep: all connections are in `0..places()`.
    #[must_use]
    pub fn places(&self) -> usize {
        self.connections.capacity()
    }

    /// Whether there is no connection, and nothing left of any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty() && self.channels.is_empty() && self.waiting.is_empty()
    }

    /// Gives memory back that more connections had needed.
    pub fn shrink(&mut self) {
        if self.connections.len() < self.connections.capacity() / 4 {
            self.connections.shrink_to_fit();
        }
        self.channels.shrink();
    }
}

/// Tells a connection why, and closes it.
pub(crate) fn refuse(id: ConnectionId, code: Code, message: &str, sockets: &mut impl Sockets) {
    sockets.send(id, server::error(code, message));
    sockets.close(id, code, message);
}
