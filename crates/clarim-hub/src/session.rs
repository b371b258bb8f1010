//! What a client may ask for, and when it is refused.

use std::borrow::Cow;
use std::time::Duration;

use clarim_protocol::client::{ClientEvent, SignIn, Subscribe};
use clarim_protocol::user::{Member, User};
use clarim_protocol::{ChannelKind, ChannelName, Code, server};

use crate::app::{App, ClientEvents};
use crate::apps::AppIndex;
use crate::connection::Connection;
use crate::entry::{
    ChannelEvent, ChannelKey, ConnectionAddr, ConnectionEvent, ConnectionId, Outputs,
};
use crate::reject::{Reject, Rejected};
use crate::shard::{Join, Joining};
use crate::worker::{Sockets, Worker};

/// The own channel of a user, if there can be one: in it stands who is signed in, and who wants to know.
pub(crate) fn user_key(app: AppIndex, user: &str) -> Option<ChannelKey> {
    Some(ChannelKey { app, name: ChannelName::of_user(user).ok()? })
}

impl<P: Outputs> Worker<P> {
    pub(crate) fn subscribe(
        &mut self,
        id: ConnectionId,
        request: &Subscribe,
        now: Duration,
        sockets: &mut impl Sockets,
    ) {
        if let Err(refused) = self.try_subscribe(id, request, now) {
            refused.tell_channel(id, &request.channel, sockets);
        }
    }

    fn try_subscribe(
        &mut self,
        id: ConnectionId,
        request: &Subscribe,
        now: Duration,
    ) -> Result<(), Reject> {
        let connection = &self.connections[id.0 as usize];
        let app = self.node.app(connection.app);
        let name = ChannelName::parse(&request.channel, app.limits.channel_name_bytes)
            .map_err(|error| Reject::new(Rejected::Channel, error.to_string()))?;
        let member = admit(connection, app, &name, request)?;
        let channel = ChannelKey { app: connection.app, name };
        let is_subscribed = |index| connection.subscription(index).is_some();
        let waiting = self.waiting.of(id);
        if self.channels.find(&channel).is_some_and(is_subscribed) || waiting.contains(&channel) {
            let message = format!("Existing subscription to channel {}", channel.name);
            return Err(Reject::new(Rejected::Duplicate, message));
        }
        let max = app.limits.channels_per_connection;
        if connection.subscriptions.len() + waiting.len() >= max {
            return Err(Reject::limit(format!(
                "A connection may have {max} subscriptions at most"
            )));
        }
        let join = Join {
            seat: ConnectionAddr { worker: self.id, connection: id },
            socket_id: connection.socket_id,
            channel: &channel,
            member: member.as_deref(),
            app,
            now,
        };
        if self.node.join(&join).map_err(|full| Reject::full(full.max))? == Joining::Waits {
            self.waiting.add(id, channel);
        }
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, id: ConnectionId, channel: &str, now: Duration) {
        let connection = &mut self.connections[id.0 as usize];
        // What is no valid name, or a channel without subscribers here, has no subscription to end.
        let Ok(name) = ChannelName::parse(channel, usize::MAX) else {
            return;
        };
        let (key, socket_id) = (ChannelKey { app: connection.app, name }, connection.socket_id);
        if self.waiting.remove(id, &key) {
            return self.call_off(socket_id, key, now);
        }
        let Some(index) = self.channels.find(&key) else {
            return;
        };
        if let Some(subscription) = connection.take_subscription(index) {
            self.leave(&subscription, socket_id, now);
        }
    }

    pub(crate) fn sign_in(
        &mut self,
        id: ConnectionId,
        request: &SignIn,
        now: Duration,
        sockets: &mut impl Sockets,
    ) {
        let connection = &self.connections[id.0 as usize];
        let (app_index, socket_id) = (connection.app, connection.socket_id);
        let user = match check_sign_in(connection, self.node.app(app_index), request) {
            Ok(user) => user,
            Err(reject) => return reject.tell(id, sockets),
        };
        sockets.send(id, server::signin_success(&request.user_data));
        if user.watchlist_cut {
            let message = "The watchlist is longer than 100 users; those beyond are ignored";
            sockets.send(id, server::error(Code::WATCHLIST_LIMIT, message));
        }
        if connection.user.is_some() {
            return;
        }
        let seat = ConnectionAddr { worker: self.id, connection: id };
        let (online, offline): (Vec<&str>, Vec<&str>) =
            user.watchlist.iter().map(AsRef::as_ref).partition(|watched| {
                user_key(app_index, watched)
                    .is_some_and(|user| self.node.watch(&user, (socket_id, seat), now))
            });
        if !user.watchlist.is_empty() {
            let events = server::watchlist_events(online.into_iter(), offline.into_iter());
            sockets.send(id, events);
        }
        if let Some(key) = user_key(app_index, user.member.id.as_str()) {
            self.node.come(&key, now);
        }
        if self.node.app(app_index).hooks.connections {
            let (app, user) = (app_index, user.member.id.clone());
            self.node.post().happened(ConnectionEvent::SignedIn { app, socket_id, user });
        }
        self.connections[id.0 as usize].user = Some(Box::new(user));
    }

    pub(crate) fn client_event(
        &self,
        id: ConnectionId,
        event: &ClientEvent<'_>,
        now: Duration,
        sockets: &mut impl Sockets,
    ) {
        if let Err(reject) = self.try_client_event(id, event, now) {
            reject.tell(id, sockets);
        }
    }

    fn try_client_event(
        &self,
        id: ConnectionId,
        event: &ClientEvent<'_>,
        now: Duration,
    ) -> Result<(), Reject> {
        let connection = &self.connections[id.0 as usize];
        let app = self.node.app(connection.app);
        let name = check_client_event(app, event)?;
        let channel = ChannelKey { app: connection.app, name };
        let subscription =
            self.channels.find(&channel).and_then(|index| connection.subscription(index));
        if subscription.is_none() && app.client_events == ClientEvents::Members {
            return Err(Reject::auth("The client is not a member of the specified channel."));
        }
        if !self.node.post().has_room() {
            return Err(Reject::event("The server is over capacity; the event was not sent"));
        }
        // Who the sender is was signed by the backend; what the message says of it is not even read.
        let user = subscription.and_then(|subscription| subscription.member.as_deref());
        let frame = server::client_event(&event.event, &channel.name, event.data, user);
        self.node.whisper(&channel, &frame, connection.socket_id, now);
        if app.hooks.client_events {
            self.node.post().fact(ChannelEvent::ClientEvent {
                channel,
                event: event.event.to_string(),
                data: event.data.map_or("null", |data| data.get()).to_owned(),
                socket_id: connection.socket_id,
                user: user.cloned(),
            });
        }
        Ok(())
    }
}

/// Whether the connection may subscribe; on a presence channel, as whom.
fn admit<'a>(
    connection: &'a Connection,
    app: &App,
    name: &ChannelName,
    request: &Subscribe,
) -> Result<Option<Cow<'a, Member>>, Reject> {
    if name.kind() == ChannelKind::User {
        let signed_in = connection.user.as_ref().map(|user| user.member.id.as_str());
        return if signed_in == name.user() {
            Ok(None)
        } else {
            Err(Reject::auth("This channel is for connections that are signed in as its user"))
        };
    }
    if !name.needs_auth() {
        return Ok(None);
    }
    let auth = request.auth.as_deref().unwrap_or_default();
    let data = request.channel_data.as_deref();
    app.key
        .verify_channel(auth, connection.socket_id, name.as_str(), data)
        .map_err(|error| Reject::auth(format!("Connection is unauthorized: {error}")))?;
    if !name.is_presence() {
        return Ok(None);
    }
    match (data, &connection.user) {
        (Some(data), _) => {
            let max = app.limits.presence_member_bytes;
            if data.len() > max {
                let message =
                    format!("channel_data has {} bytes, the maximum is {max}", data.len());
                return Err(Reject::limit(message));
            }
            let member = Member::parse(data).map_err(|error| Reject::auth(error.to_string()))?;
            Ok(Some(Cow::Owned(member)))
        }
        (None, Some(user)) => Ok(Some(Cow::Borrowed(&user.member))),
        (None, None) => Err(Reject::auth(
            "A presence channel needs channel_data with a user_id, or a connection that is signed in",
        )),
    }
}

fn check_sign_in(connection: &Connection, app: &App, request: &SignIn) -> Result<User, Reject> {
    app.key
        .verify_user(&request.auth, connection.socket_id, &request.user_data)
        .map_err(|error| Reject::auth(format!("Connection is unauthorized: {error}")))?;
    let max = app.limits.presence_member_bytes;
    if request.user_data.len() > max {
        let message =
            format!("user_data has {} bytes, the maximum is {max}", request.user_data.len());
        return Err(Reject::limit(message));
    }
    let user = User::parse(&request.user_data).map_err(|error| Reject::auth(error.to_string()))?;
    match &connection.user {
        Some(already) if already.member.id != user.member.id => {
            Err(Reject::auth("The connection is signed in as another user already"))
        }
        _ => Ok(user),
    }
}

/// What can be said of a client event without knowing who sends it. The channel it is for.
fn check_client_event(app: &App, event: &ClientEvent<'_>) -> Result<ChannelName, Reject> {
    if app.client_events == ClientEvents::None {
        return Err(Reject::event("The app does not have client messaging enabled."));
    }
    let max = app.limits.event_name_bytes;
    if event.event.len() > max {
        let message =
            format!("The event name has {} bytes, the maximum is {max}", event.event.len());
        return Err(Reject::event(message));
    }
    let (bytes, max) = (event.data.map_or(0, |data| data.get().len()), app.limits.event_data_bytes);
    if bytes > max {
        return Err(Reject::event(format!(
            "The event's data has {bytes} bytes, the maximum is {max}"
        )));
    }
    let name = ChannelName::parse(&event.channel, app.limits.channel_name_bytes)
        .map_err(|error| Reject::event(error.to_string()))?;
    match name.kind() {
        ChannelKind::Private | ChannelKind::Encrypted | ChannelKind::Presence => Ok(name),
        ChannelKind::Public if app.client_events_on_public => Ok(name),
        ChannelKind::Public | ChannelKind::User => Err(Reject::event(
            "Client event rejected - only supported on private and presence channels",
        )),
    }
}
