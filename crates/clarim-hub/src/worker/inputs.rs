//! The inputs of a worker.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::client::{ClientFrame, decode};
use clarim_protocol::user::UserId;
use clarim_protocol::{Code, Frame, PageId, SocketId, server};

use super::state::WorkerState;
use super::{commands, pages};
use crate::address::{AppIndex, ChannelKey, ConnectionId, WorkerId};
use crate::app::App;
use crate::connection::{ChannelIndex, Connection, End, Rate, Rejection, Silence, Subscription};
use crate::directory::Leave;
use crate::node::Node;
use crate::outputs::{ConnectionEvent, Output, OutputSink, WorkerMessage};
use crate::rejected::Rejected;
use crate::snapshot::{SavedConnection, SavedWorker};
use crate::sockets::Sockets;

/// A snapshot of a connection.
#[derive(Debug)]
pub struct ConnectionInfo<'a> {
    /// Its app.
    pub app: &'a App,
    /// Its public id.
    pub socket_id: SocketId,
    /// The time since it was opened.
    pub age: Duration,
    /// The user id: as signed in, or as present on a channel.
    pub user: Option<&'a str>,
    /// The channels it is subscribed to.
    pub channels: Vec<&'a str>,
}

/// A worker: the connections of one thread and the protocol state of each.
///
/// Inputs are [`open`](Self::open), [`receive`](Self::receive), [`process`](Self::process),
/// [`ping_frame`](Self::ping_frame), [`pong_frame`](Self::pong_frame), [`sweep`](Self::sweep),
/// [`close_reply`](Self::close_reply), [`leave_all`](Self::leave_all) and [`close`](Self::close), with the
/// node's time. Frames go to [`Sockets`], everything else to the node's [`OutputSink`]. After
/// [`receive`](Self::receive), process the messages in the worker's own inbox before the next input: a
/// subscription is made by such a message.
#[derive(Debug)]
pub struct Worker<S> {
    state: WorkerState<S>,
}

impl<S: OutputSink> Worker<S> {
    /// Makes the worker `id` of `node`, without connections.
    pub fn new(id: WorkerId, node: Arc<Node<S>>) -> Self {
        Self { state: WorkerState::new(id, node) }
    }

    /// Makes a worker of its state.
    pub(super) fn of(state: WorkerState<S>) -> Self {
        Self { state }
    }

    /// Returns what the connections share, for a snapshot.
    pub fn save(&self) -> SavedWorker {
        SavedWorker { reconnect_at: self.state.reconnects.last().map(Into::into) }
    }

    /// Returns all connections, in the order of their slots.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.state.connections.iter().map(|(slot, _)| ConnectionId(slot as u32))
    }

    /// Returns a connection, for a snapshot.
    #[must_use]
    pub fn save_connection(&self, id: ConnectionId) -> Option<SavedConnection> {
        self.state.save(id)
    }

    /// Returns its node.
    pub fn node(&self) -> &Arc<Node<S>> {
        &self.state.node
    }

    /// Opens a connection that the [apps](crate::Apps::admit) have admitted. `page`: the page id that it has
    /// named. Returns its slot, and the greeting to send first. `nonce` is a random number, which makes the
    /// socket id unguessable.
    pub fn open(
        &mut self,
        app: AppIndex,
        page: Option<&PageId>,
        nonce: u64,
        now: Duration,
    ) -> (ConnectionId, Frame) {
        // Connections are file descriptors, of which there are far fewer than 2^32.
        let connection = ConnectionId(self.state.connections.vacant_key() as u32);
        let socket_id = match page {
            Some(page) => pages::open(&mut self.state, app, page, connection, nonce, now),
            None => self.state.addr(connection).socket_id(nonce),
        };
        self.state.connections.insert(Connection::new(app, socket_id, now));
        let timeout = self.state.node.app(app).activity_timeout.as_secs();
        (connection, server::connection_established(socket_id, timeout))
    }

    /// Handles a text message of a client. While `has_room` is false, client events are rejected: some inbox
    /// or the bus holds more than it should.
    pub fn receive(
        &mut self,
        id: ConnectionId,
        text: &str,
        now: Duration,
        has_room: bool,
        sockets: &mut impl Sockets,
    ) {
        let state = &mut self.state;
        let Some(connection) = state.connections.get_mut(id.0 as usize) else { return };
        connection.keepalive.heard(now);
        if !is_within_rate(state.node.app(connection.app), connection, id, now, sockets) {
            return;
        }
        match decode(text) {
            Ok(ClientFrame::Ping) => sockets.send(id, server::pong()),
            Ok(ClientFrame::Pong) => {}
            Ok(ClientFrame::Subscribe(request)) => {
                commands::subscribe(state, id, &request, now, sockets);
            }
            Ok(ClientFrame::Unsubscribe { channel }) => {
                commands::unsubscribe(state, id, &channel, now);
            }
            Ok(ClientFrame::SignIn(request)) => {
                commands::sign_in(state, id, &request, now, sockets)
            }
            Ok(ClientFrame::ClientEvent(event)) => {
                commands::client_event(state, id, &event, now, has_room, sockets);
            }
            Err(error) => {
                Rejection::new(Rejected::Malformed, error.to_string()).send(id, sockets);
            }
        }
    }

    /// Handles a ping control frame, which counts for the rate limit as every message does. Returns whether
    /// it is to be replied to.
    pub fn ping_frame(
        &mut self,
        id: ConnectionId,
        now: Duration,
        sockets: &mut impl Sockets,
    ) -> bool {
        let state = &mut self.state;
        let Some(connection) = state.connections.get_mut(id.0 as usize) else { return false };
        connection.keepalive.heard_ping_frame(now);
        is_within_rate(state.node.app(connection.app), connection, id, now, sockets)
    }

    /// Handles a pong control frame, which may acknowledge what the client has received.
    pub fn pong_frame(&mut self, id: ConnectionId, payload: &[u8], now: Duration) {
        let is_acknowledgement = pages::acknowledge(&self.state, id, payload);
        if let Some(connection) = self.state.connections.get_mut(id.0 as usize) {
            if is_acknowledgement {
                connection.keepalive.heard(now);
            } else {
                connection.keepalive.heard_pong_frame(now);
            }
        }
    }

    /// Handles the client's reply to a close frame.
    pub fn close_reply(&mut self, id: ConnectionId) {
        pages::replied(&self.state, id);
    }

    /// Handles a message from the inbox.
    pub fn process(&mut self, message: WorkerMessage, now: Duration, sockets: &mut impl Sockets) {
        let state = &mut self.state;
        match message {
            WorkerMessage::Deliver { channel, frame, except, position, ack: _ack } => {
                let except = except.and_then(|socket_id| state.find(socket_id));
                sockets.send_to_all(state.subscribers.deliver(&channel, position), except, frame);
            }
            WorkerMessage::Joined {
                connection,
                socket_id,
                channel,
                member,
                succeeded,
                past,
                replayed,
            } => {
                if !state.is_wanted(connection, socket_id, &channel) {
                    let worker = state.id;
                    let member = member.as_deref();
                    let leave = Leave { worker, channel: &channel, member, is_abrupt: false };
                    state.node.step(&channel, now, |shard, step| shard.leave(&leave, step));
                    return;
                }
                let channel = subscribed(state, connection, socket_id, channel, member);
                if let Some(replayed) = replayed {
                    pages::subscribed(state, connection, channel, *replayed);
                }
                sockets.send(connection, succeeded);
                past.into_iter().for_each(|frame| sockets.send(connection, frame));
            }
            WorkerMessage::Full { connection, socket_id, channel, max } => {
                if state.is_wanted(connection, socket_id, &channel) {
                    let rejection = Rejection::presence_full(max);
                    rejection.send_for_channel(connection, channel.name.as_str(), sockets);
                }
            }
            WorkerMessage::Send { connection, socket_id, frame } => {
                if state.has(connection, socket_id) {
                    sockets.send(connection, frame);
                }
            }
            WorkerMessage::Replaced { connection, socket_id } => {
                if state.has(connection, socket_id) {
                    let message = "Another connection of this page was opened";
                    close_with_error(connection, Code::GENERIC, message, sockets);
                }
            }
            WorkerMessage::Reconnect { channel } => state.reconnects.begin(channel, now),
            WorkerMessage::Terminate { app, user, ack: _ack } => {
                for (slot, connection) in &state.connections {
                    if connection.app == app && connection.is_of_user(&user) {
                        let id = ConnectionId(slot as u32);
                        let message = "Terminated by the application";
                        close_with_error(id, Code::UNAUTHORIZED, message, sockets);
                    }
                }
            }
        }
    }

    /// Asks the pages that have got events of channels with history to acknowledge them. Call it between
    /// [`process`](Self::process) and the writes to sockets, so that a request needs no write of its own.
    pub fn ask_pages(&mut self, now: Duration, sockets: &mut impl Sockets) {
        pages::ask_changed(&mut self.state, now, sockets);
    }

    /// Checks the connections in `slots`: pings silent ones, closes dead ones and those of removed apps. Call
    /// it so that each slot is checked about once a second.
    pub fn sweep(&mut self, slots: Range<usize>, now: Duration, sockets: &mut impl Sockets) {
        self.state.reconnects.end_due(now);
        pages::ask(&self.state, slots.clone(), now, sockets);
        for slot in slots {
            let Some(connection) = self.state.connections.get_mut(slot) else { continue };
            let app: &App = self.state.node.app(connection.app);
            let id = ConnectionId(slot as u32);
            if self.state.node.apps().is_removed(connection.app) {
                close_with_error(id, Code::APP_DISABLED, "Application disabled", sockets);
                continue;
            }
            if self.state.reconnects.include(connection, &self.state.subscribers, now) {
                let message = "Events may have been missed; reconnect";
                close_with_error(id, Code::GENERIC, message, sockets);
                continue;
            }
            match connection.keepalive.check(app, connection.age(now), now) {
                Silence::Fine => {}
                Silence::Ping { frame_only } => sockets.ping(id, frame_only),
                Silence::Unauthorized => {
                    let message = "Connection not authorized within timeout";
                    close_with_error(id, Code::UNAUTHORIZED, message, sockets);
                }
                Silence::Dead => {
                    let message = "Pong reply not received in time";
                    close_with_error(id, Code::PONG_TIMEOUT, message, sockets);
                }
            }
        }
    }

    /// Ends all subscriptions of a connection that is being closed. Its slot stays in use until
    /// [`close`](Self::close), because the socket may still have frames to write.
    pub fn leave_all(&mut self, id: ConnectionId, end: End, now: Duration) {
        self.state.leave_all(id, end, now);
    }

    /// Removes a connection whose socket is closed.
    pub fn close(&mut self, id: ConnectionId, now: Duration) {
        let state = &mut self.state;
        state.leave_all(id, End::Lost, now);
        if let Some(connection) = state.connections.try_remove(id.0 as usize) {
            pages::close(state, connection.app, id, connection.socket_id, now);
            state.node.apps().release(connection.app);
        }
    }

    /// Finds the connection with this id, if it belongs to this worker.
    #[must_use]
    pub fn find(&self, socket_id: SocketId) -> Option<ConnectionId> {
        self.state.find(socket_id)
    }

    /// Returns the app and the public id of a connection.
    #[must_use]
    pub fn describe(&self, id: ConnectionId) -> Option<(&App, SocketId)> {
        let connection = self.state.connections.get(id.0 as usize)?;
        Some((self.state.node.app(connection.app), connection.socket_id))
    }

    /// Returns the index of a connection's app.
    #[must_use]
    pub fn app_of(&self, id: ConnectionId) -> Option<AppIndex> {
        self.state.connections.get(id.0 as usize).map(|connection| connection.app)
    }

    /// Returns a snapshot of a connection.
    pub fn look_at(&self, id: ConnectionId, now: Duration) -> Option<ConnectionInfo<'_>> {
        let connection = self.state.connections.get(id.0 as usize)?;
        let user = connection.user.as_ref().map(|user| &user.member.id);
        let present = connection.subscriptions.iter().find_map(|s| s.member.as_deref());
        Some(ConnectionInfo {
            app: self.state.node.app(connection.app),
            socket_id: connection.socket_id,
            age: connection.age(now),
            user: user.or(present).map(UserId::as_str),
            channels: connection
                .subscriptions
                .iter()
                .map(|s| self.state.subscribers.key(s.position.channel).name.as_str())
                .collect(),
        })
    }

    /// Returns the worker's own subscribers of a channel.
    #[must_use]
    pub fn subscribers(&self, channel: &ChannelKey) -> &[ConnectionId] {
        self.state.subscribers.of(channel)
    }

    /// Returns the number of slots: all connections are in `0..slots()`.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.state.connections.capacity()
    }

    /// Whether the worker has no connections, and nothing is left of former ones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let WorkerState { connections, subscribers, pending, pages, .. } = &self.state;
        connections.is_empty() && subscribers.is_empty() && pending.is_empty() && pages.is_empty()
    }

    /// Gives back memory that a larger number of connections needed.
    pub fn shrink(&mut self) {
        if self.state.connections.len() < self.state.connections.capacity() / 4 {
            self.state.connections.shrink_to_fit();
        }
        self.state.subscribers.shrink();
    }
}

/// Counts a message of a connection, and rejects it if it is over the app's rate limit.
fn is_within_rate(
    app: &App,
    connection: &mut Connection,
    id: ConnectionId,
    now: Duration,
    sockets: &mut impl Sockets,
) -> bool {
    let Some(limit) = app.rate_limit else { return true };
    let Rate::Over { is_first } = connection.count_message(limit, now) else { return true };
    let message = "Rate limit exceeded";
    if is_first {
        Rejection::new(Rejected::Rate, message).send(id, sockets);
    } else {
        sockets.rejected(Rejected::Rate);
    }
    if limit.terminate {
        // A close code from 4300 on would keep the client away for good.
        sockets.close(id, Code::OVER_CAPACITY, message);
    }
    false
}

/// Records a subscription that the directory has made. Returns its channel.
fn subscribed<S: OutputSink>(
    state: &mut WorkerState<S>,
    connection: ConnectionId,
    socket_id: SocketId,
    channel: ChannelKey,
    member: Option<Box<UserId>>,
) -> ChannelIndex {
    if state.node.app(channel.app).hooks.connections {
        let channel = channel.clone();
        let user = member.as_deref().cloned();
        let event = ConnectionEvent::Subscribed { channel, socket_id, user };
        state.node.output(Output::ConnectionEvent(event));
    }
    let needs_auth = channel.name.needs_auth();
    let position = state.subscribers.add(channel, connection);
    if let Some(connection) = state.connections.get_mut(connection.0 as usize) {
        if needs_auth {
            connection.keepalive.authorized();
        }
        connection.subscriptions.push(Subscription { position, member });
    }
    position.channel
}

/// Sends an error to a connection and closes it.
fn close_with_error(id: ConnectionId, code: Code, message: &str, sockets: &mut impl Sockets) {
    sockets.send(id, server::error(code, message));
    sockets.close(id, code, message);
}
