//! The events of a server as a stream, for the program that runs it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use clarim_hub::app::App;
use clarim_hub::{AppIndex, Apps, ChannelEvent, ChannelKey, ConnectionEvent, Node};
use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, SocketId};
use futures_util::Stream;

use crate::runtime::{Ended, Observer, PublishedEvent, Sink};
use crate::sync::{ByteQueue, ByteQueueReceiver, byte_queue};

/// An event of a server.
///
/// Events of connections are those of this node's connections. Events of channels are those that
/// [webhooks](crate::config::ServerConfig::webhooks) report, but without the debounce: a user who reconnects
/// within three seconds has left and come back. In a cluster one node reports each of them, as with webhooks.
///
/// In all variants, `app` is the app's id, `socket_id` the public id of the connection and `channel` the
/// channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "documented above for the fields that most variants have")]
#[non_exhaustive]
pub enum ServerEvent {
    /// A connection was accepted.
    Connected { app: String, socket_id: SocketId },
    /// A connection signed in (`pusher:signin`).
    SignedIn {
        app: String,
        socket_id: SocketId,
        /// The user's id.
        user: String,
    },
    /// A connection subscribed to a channel.
    Subscribed {
        app: String,
        socket_id: SocketId,
        channel: ChannelName,
        /// The user id, on a presence channel.
        user: Option<String>,
    },
    /// A connection unsubscribed from a channel. A connection that ends unsubscribes from all its channels.
    Unsubscribed { app: String, socket_id: SocketId, channel: ChannelName },
    /// A client sent a client event (Echo's `whisper`) to the other subscribers.
    ClientEvent {
        app: String,
        socket_id: SocketId,
        channel: ChannelName,
        /// The event's name.
        event: String,
        /// Its data, as JSON.
        data: String,
        /// The sender's user id, on a presence channel.
        user: Option<String>,
    },
    /// An application published an event through this node. Events published directly to the bus are not
    /// reported.
    Published {
        app: String,
        channel: ChannelName,
        /// The event's name.
        event: String,
        /// Its data, as the literal of a JSON string.
        data: String,
    },
    /// A channel got its first subscriber.
    ChannelOccupied { app: String, channel: ChannelName },
    /// A channel lost its last subscriber.
    ChannelVacated { app: String, channel: ChannelName },
    /// A user joined a presence channel, with a first connection.
    MemberAdded {
        app: String,
        channel: ChannelName,
        /// The user's id.
        user: String,
    },
    /// A user left a presence channel, with the last connection.
    MemberRemoved {
        app: String,
        channel: ChannelName,
        /// The user's id.
        user: String,
    },
    /// A client subscribed to a cache channel without a cached event.
    CacheMiss { app: String, channel: ChannelName },
    /// The number of subscribers changed, if the app sends subscription counts to its clients.
    SubscriptionCount { app: String, channel: ChannelName, count: usize },
    /// A connection ended.
    Disconnected {
        app: String,
        socket_id: SocketId,
        /// The cause.
        by: Ended,
    },
    /// This number of events was dropped, since the stream was not read in time and 16 MiB were waiting.
    Missed(u64),
}

/// A stream of a server's events, from the call of [`Server::events`](crate::Server::events) to the end of
/// the server. A slow reader delays nobody; it gets the number of [missed](ServerEvent::Missed) events.
#[derive(Debug)]
pub struct Events {
    queue: ByteQueueReceiver<Notification>,
    missed: Arc<Mutex<u64>>,
    node: Arc<Node<Sink>>,
}

impl Events {
    /// Returns the next event, or `None` once the server has ended. Cancel safe.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        let notification = match self.queue.poll_take(context) {
            Poll::Ready(Some(queued)) => queued.value,
            // Tokio's cooperative budget may be used up while events are waiting.
            Poll::Pending if !self.queue.is_empty() => return Poll::Pending,
            // Events missed last are followed by none that could report them.
            unready => {
                let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
                match std::mem::take(&mut *missed) {
                    0 => return unready.map(|_| None),
                    missed => Notification::Event(ServerEvent::Missed(missed)),
                }
            }
        };
        Poll::Ready(Some(notification.into_event(self.node.apps())))
    }
}

impl Stream for Events {
    type Item = ServerEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(ready!(self.get_mut().poll(context)))
    }
}

/// A queued event. Events of the hub contain app indexes, which the reader turns into ids.
#[derive(Debug, Clone)]
enum Notification {
    Channel(ChannelEvent),
    Connection(ConnectionEvent),
    Event(ServerEvent),
}

/// The readers of the server's events.
#[derive(Debug, Default)]
pub(crate) struct EventSubscribers(RwLock<Readers>);

#[derive(Debug, Default)]
struct Readers {
    all: Vec<Reader>,
    /// The server has ended.
    has_ended: bool,
}

#[derive(Debug)]
struct Reader {
    queue: ByteQueue<Notification>,
    missed: Arc<Mutex<u64>>,
}

impl EventSubscribers {
    pub(crate) fn subscribe(&self, node: Arc<Node<Sink>>) -> Events {
        let (sender, queue) = byte_queue(ByteQueue::<Notification>::DEFAULT_BYTES);
        let missed = Arc::<Mutex<u64>>::default();
        let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        readers.all.retain(|reader| !reader.queue.is_closed());
        if !readers.has_ended {
            readers.all.push(Reader { queue: sender, missed: missed.clone() });
        }
        drop(readers);
        Events { queue, missed, node }
    }

    /// Ends all streams.
    pub(crate) fn close(&self) {
        let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *readers = Readers { all: Vec::new(), has_ended: true };
    }

    fn notify(&self, bytes: usize, notification: impl Fn() -> Notification) {
        let readers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // A dropped stream costs nothing any more.
        for reader in readers.all.iter().filter(|reader| !reader.queue.is_closed()) {
            reader.notify(notification(), bytes + size_of::<Notification>());
        }
    }
}

impl Observer for EventSubscribers {
    fn connected(&self, app: &App, socket_id: SocketId) {
        self.notify(app.id.len(), || {
            Notification::Event(ServerEvent::Connected { app: app.id.clone(), socket_id })
        });
    }

    fn disconnected(&self, app: &App, socket_id: SocketId, by: Ended) {
        self.notify(app.id.len(), || {
            Notification::Event(ServerEvent::Disconnected { app: app.id.clone(), socket_id, by })
        });
    }

    fn published(&self, event: PublishedEvent<'_>) {
        let PublishedEvent { app, channel, name, data } = event;
        let bytes = app.id.len() + channel.as_str().len() + name.len() + data.len();
        self.notify(bytes, || {
            Notification::Event(ServerEvent::Published {
                app: app.id.clone(),
                channel: channel.clone(),
                event: name.to_owned(),
                data: data.to_owned(),
            })
        });
    }

    fn channel_event(&self, event: &ChannelEvent) {
        self.notify(event.weight(), || Notification::Channel(event.clone()));
    }

    fn connection_event(&self, event: &ConnectionEvent) {
        self.notify(event.weight(), || Notification::Connection(event.clone()));
    }
}

impl Reader {
    fn notify(&self, notification: Notification, bytes: usize) {
        // Held while both are queued, so that the number of missed events stands where they are missing.
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = Notification::Event(ServerEvent::Missed(*missed));
        if *missed > 0 && self.queue.put(missing, size_of::<Notification>()) {
            *missed = 0;
        }
        if *missed > 0 || !self.queue.put(notification, bytes) {
            *missed += 1;
        }
    }
}

impl Notification {
    fn into_event(self, apps: &Apps) -> ServerEvent {
        match self {
            Self::Event(event) => event,
            Self::Connection(event) => from_connection_event(event, apps),
            Self::Channel(event) => from_channel_event(event, apps),
        }
    }
}

fn id(app: AppIndex, apps: &Apps) -> String {
    apps.get(app).id.clone()
}

fn text(user: &UserId) -> String {
    user.as_str().to_owned()
}

fn from_connection_event(event: ConnectionEvent, apps: &Apps) -> ServerEvent {
    match event {
        ConnectionEvent::SignedIn { app, socket_id, user } => {
            ServerEvent::SignedIn { app: id(app, apps), socket_id, user: text(&user) }
        }
        ConnectionEvent::Subscribed { channel: ChannelKey { app, name }, socket_id, user } => {
            let app = id(app, apps);
            let user = user.as_ref().map(text);
            ServerEvent::Subscribed { app, socket_id, channel: name, user }
        }
        ConnectionEvent::Unsubscribed { channel: ChannelKey { app, name }, socket_id } => {
            ServerEvent::Unsubscribed { app: id(app, apps), socket_id, channel: name }
        }
    }
}

fn from_channel_event(event: ChannelEvent, apps: &Apps) -> ServerEvent {
    let ChannelKey { app, name: channel } = event.channel().clone();
    let app = id(app, apps);
    match event {
        ChannelEvent::Occupied(_) => ServerEvent::ChannelOccupied { app, channel },
        ChannelEvent::Vacated(_) => ServerEvent::ChannelVacated { app, channel },
        ChannelEvent::CacheMiss(_) => ServerEvent::CacheMiss { app, channel },
        ChannelEvent::MemberAdded(_, user) => {
            ServerEvent::MemberAdded { app, channel, user: user.into() }
        }
        ChannelEvent::MemberRemoved(_, user) => {
            ServerEvent::MemberRemoved { app, channel, user: user.into() }
        }
        ChannelEvent::Count(_, count) => ServerEvent::SubscriptionCount { app, channel, count },
        ChannelEvent::ClientEvent { event, data, socket_id, user, .. } => {
            let user = user.as_ref().map(text);
            ServerEvent::ClientEvent { app, socket_id, channel, event, data, user }
        }
    }
}
