//! Commands of clients: subscribe, unsubscribe, sign in, send a client event.

use std::borrow::Cow;
use std::time::Duration;

use clarim_protocol::client::{ClientEvent, SignIn, Subscribe};
use clarim_protocol::user::{Member, User};
use clarim_protocol::{ChannelName, Code, server};

use super::pages;
use super::state::WorkerState;
use crate::address::{ChannelKey, ConnectionId};
use crate::app::{App, ClientEvents};
use crate::connection::{Connection, Rejection};
use crate::directory::{Join, Joining, watchlist};
use crate::outputs::{ChannelEvent, ConnectionEvent, Output, OutputSink};
use crate::rejected::Rejected;
use crate::sockets::Sockets;

/// Subscribes the connection to a channel.
pub(super) fn subscribe<S: OutputSink>(
    worker: &mut WorkerState<S>,
    id: ConnectionId,
    request: &Subscribe,
    now: Duration,
    sockets: &mut impl Sockets,
) {
    if let Err(rejection) = try_subscribe(worker, id, request, now) {
        rejection.send_for_channel(id, &request.channel, sockets);
    }
}

fn try_subscribe<S: OutputSink>(
    worker: &mut WorkerState<S>,
    id: ConnectionId,
    request: &Subscribe,
    now: Duration,
) -> Result<(), Rejection> {
    let connection = &worker.connections[id.0 as usize];
    let app = worker.node.app(connection.app);
    let name = ChannelName::parse(&request.channel, app.limits.channel_name_bytes)
        .map_err(|error| Rejection::new(Rejected::Channel, error.to_string()))?;
    let member = authorize(connection, app, &name, request)?;
    let channel = ChannelKey { app: connection.app, name };
    let is_subscribed = |index| connection.subscription(index).is_some();
    let pending = worker.pending.of(id);
    if worker.subscribers.find(&channel).is_some_and(is_subscribed) || pending.contains(&channel) {
        let message = format!("Existing subscription to channel {}", channel.name);
        return Err(Rejection::new(Rejected::Duplicate, message));
    }
    let max = app.limits.channels_per_connection;
    if connection.subscriptions.len() + pending.len() >= max {
        return Err(Rejection::limit(format!("A connection may have {max} subscriptions at most")));
    }
    let from_page = match &request.since {
        Some(_) => None,
        None => pages::since(worker, id, &channel.name),
    };
    let join = Join {
        addr: worker.addr(id),
        socket_id: connection.socket_id,
        channel: &channel,
        member: member.as_deref(),
        since: request.since.as_ref().or_else(|| from_page.as_ref().map(|page| &page.since)),
        former: from_page.as_ref().map_or(&[], |page| &page.former),
    };
    let joining = worker.node.step(&channel, now, |shard, step| shard.join(&join, step));
    if joining.map_err(|full| Rejection::presence_full(full.max))? == Joining::Pending {
        worker.pending.add(id, channel);
    }
    Ok(())
}

/// Ends a subscription of the connection, if there is one.
pub(super) fn unsubscribe<S: OutputSink>(
    worker: &mut WorkerState<S>,
    id: ConnectionId,
    channel: &str,
    now: Duration,
) {
    let connection = &mut worker.connections[id.0 as usize];
    let Ok(name) = ChannelName::parse(channel, usize::MAX) else { return };
    let key = ChannelKey { app: connection.app, name };
    let socket_id = connection.socket_id;
    pages::unsubscribed(worker, id, &key.name);
    let connection = &mut worker.connections[id.0 as usize];
    if worker.pending.remove(id, &key) {
        return worker.cancel_pending(socket_id, key, now);
    }
    let Some(index) = worker.subscribers.find(&key) else { return };
    if let Some(subscription) = connection.take_subscription(index) {
        worker.leave(&subscription, socket_id, false, now);
    }
}

/// Signs the connection in as a user.
pub(super) fn sign_in<S: OutputSink>(
    worker: &mut WorkerState<S>,
    id: ConnectionId,
    request: &SignIn,
    now: Duration,
    sockets: &mut impl Sockets,
) {
    let connection = &worker.connections[id.0 as usize];
    let app = connection.app;
    let socket_id = connection.socket_id;
    let user = match authenticate(connection, worker.node.app(app), request) {
        Ok(user) => user,
        Err(rejection) => return rejection.send(id, sockets),
    };
    sockets.send(id, server::signin_success(&request.user_data));
    if user.watchlist_cut {
        let message = "The watchlist is longer than 100 users; those beyond are ignored";
        sockets.send(id, server::error(Code::WATCHLIST_LIMIT, message));
    }
    if connection.user.is_some() {
        return;
    }
    let addr = worker.addr(id);
    let watch = |user: &str| {
        let Some(key) = ChannelKey::of_user(app, user) else { return false };
        let node = &worker.node;
        node.step(&key, now, |shard, step| watchlist::watch(shard, &key, socket_id, addr, step))
    };
    let (online, offline): (Vec<&str>, Vec<&str>) =
        user.watchlist.iter().map(AsRef::as_ref).partition(|user| watch(user));
    if !user.watchlist.is_empty() {
        sockets.send(id, server::watchlist_events(online.into_iter(), offline.into_iter()));
    }
    if let Some(key) = ChannelKey::of_user(app, user.member.id.as_str()) {
        worker.node.step(&key, now, |shard, step| watchlist::sign_in(shard, &key, step));
    }
    if worker.node.app(app).hooks.connections {
        let user = user.member.id.clone();
        let event = ConnectionEvent::SignedIn { app, socket_id, user };
        worker.node.output(Output::ConnectionEvent(event));
    }
    let connection = &mut worker.connections[id.0 as usize];
    connection.keepalive.authorized();
    connection.user = Some(Box::new(user));
}

/// Publishes a client event. `has_room`: whether the node can take more messages.
pub(super) fn client_event<S: OutputSink>(
    worker: &WorkerState<S>,
    id: ConnectionId,
    event: &ClientEvent<'_>,
    now: Duration,
    has_room: bool,
    sockets: &mut impl Sockets,
) {
    if let Err(rejection) = try_client_event(worker, id, event, now, has_room) {
        rejection.send(id, sockets);
    }
}

fn try_client_event<S: OutputSink>(
    worker: &WorkerState<S>,
    id: ConnectionId,
    event: &ClientEvent<'_>,
    now: Duration,
    has_room: bool,
) -> Result<(), Rejection> {
    let connection = &worker.connections[id.0 as usize];
    let app = worker.node.app(connection.app);
    let name = check_client_event(app, event)?;
    let channel = ChannelKey { app: connection.app, name };
    let index = worker.subscribers.find(&channel);
    let subscription = index.and_then(|index| connection.subscription(index));
    if subscription.is_none() && app.client_events == ClientEvents::Members {
        let message = "The client is not a member of the specified channel.";
        return Err(Rejection::auth(message));
    }
    if !has_room {
        let message = "The server is over capacity; the event was not sent";
        return Err(Rejection::client_event(message));
    }
    // The user id that the backend has signed; a user id in the message itself is ignored.
    let user = subscription.and_then(|subscription| subscription.member.as_deref());
    let form = app.client_event_data;
    let frame = server::client_event(&event.event, &channel.name, event.data, form, user);
    worker.node.publish_client_event(&channel, &frame, connection.socket_id, now);
    if app.hooks.client_events {
        let event = ChannelEvent::ClientEvent {
            channel,
            event: event.event.to_string(),
            data: event.data.map_or("null", |data| data.get()).to_owned(),
            socket_id: connection.socket_id,
            user: user.cloned(),
        };
        worker.node.output(Output::ChannelEvent(event));
    }
    Ok(())
}

/// Checks whether the connection may subscribe. Returns its member on a presence channel.
fn authorize<'a>(
    connection: &'a Connection,
    app: &App,
    name: &ChannelName,
    request: &Subscribe,
) -> Result<Option<Cow<'a, Member>>, Rejection> {
    if let Some(user) = name.user() {
        let signed_in = connection.user.as_ref().map(|user| user.member.id.as_str());
        return if signed_in == Some(user) {
            Ok(None)
        } else {
            Err(Rejection::auth("This channel is for connections that are signed in as its user"))
        };
    }
    if !name.needs_auth() {
        return Ok(None);
    }
    let auth = request.auth.as_deref().unwrap_or_default();
    let data = request.channel_data.as_deref();
    app.key
        .verify_channel(auth, connection.socket_id, name.as_str(), data)
        .map_err(|error| Rejection::auth(format!("Connection is unauthorized: {error}")))?;
    if !name.is_presence() {
        return Ok(None);
    }
    match (data, &connection.user) {
        (Some(data), _) => {
            let max = app.limits.presence_member_bytes;
            if data.len() > max {
                let message =
                    format!("channel_data has {} bytes, the maximum is {max}", data.len());
                return Err(Rejection::limit(message));
            }
            let member = Member::parse(data).map_err(|error| Rejection::auth(error.to_string()))?;
            Ok(Some(Cow::Owned(member)))
        }
        (None, Some(user)) => Ok(Some(Cow::Borrowed(&user.member))),
        (None, None) => Err(Rejection::auth(
            "A presence channel needs channel_data with a user_id, or a connection that is signed in",
        )),
    }
}

/// Checks the user data of a sign-in.
fn authenticate(connection: &Connection, app: &App, request: &SignIn) -> Result<User, Rejection> {
    app.key
        .verify_user(&request.auth, connection.socket_id, &request.user_data)
        .map_err(|error| Rejection::auth(format!("Connection is unauthorized: {error}")))?;
    let max = app.limits.presence_member_bytes;
    if request.user_data.len() > max {
        let message =
            format!("user_data has {} bytes, the maximum is {max}", request.user_data.len());
        return Err(Rejection::limit(message));
    }
    let user =
        User::parse(&request.user_data).map_err(|error| Rejection::auth(error.to_string()))?;
    match &connection.user {
        Some(already) if already.member.id != user.member.id => {
            Err(Rejection::auth("The connection is signed in as another user already"))
        }
        _ => Ok(user),
    }
}

/// Checks the event's name, size and channel. Returns the channel.
fn check_client_event(app: &App, event: &ClientEvent<'_>) -> Result<ChannelName, Rejection> {
    if app.client_events == ClientEvents::None {
        let message = "The app does not have client messaging enabled.";
        return Err(Rejection::client_event(message));
    }
    let max = app.limits.event_name_bytes;
    if event.event.len() > max {
        let message =
            format!("The event name has {} bytes, the maximum is {max}", event.event.len());
        return Err(Rejection::client_event(message));
    }
    let bytes = event.data.map_or(0, |data| data.get().len());
    let max = app.limits.event_data_bytes;
    if bytes > max {
        let message = format!("The event's data has {bytes} bytes, the maximum is {max}");
        return Err(Rejection::client_event(message));
    }
    let name = ChannelName::parse(&event.channel, app.limits.channel_name_bytes)
        .map_err(|error| Rejection::client_event(error.to_string()))?;
    if name.kind().allows_client_events(app.client_events_on_public) {
        return Ok(name);
    }
    Err(Rejection::client_event(
        "Client event rejected - only supported on private and presence channels",
    ))
}
