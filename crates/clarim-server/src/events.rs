//! What happens on a server, as a stream for the program that runs it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use clarim_hub::app::App;
use clarim_hub::{AppIndex, Apps, ChannelEvent, ChannelKey, ConnectionEvent, Node};
use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, SocketId};
use futures_util::Stream;

use crate::inbox::Inboxes;
use crate::queue::{BYTES, Queue, Waiting, queue};

/// Something that has happened.
///
/// What is said of connections is said of those to this node. What is said of channels as a whole is what
/// [webhooks](crate::config::ServerConfig::webhooks) say, though at once: who comes back within three
/// seconds has left and has come. In a cluster one of the nodes says it, as with webhooks.
///
/// In all of them `app` is the app's id, `socket_id` the public id of the connection, and `channel` the
/// channel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "said above of the fields that most of them have")]
#[non_exhaustive]
pub enum ServerEvent {
    /// A connection was let in.
    Connected { app: String, socket_id: SocketId },
    /// A connection has signed in (`pusher:signin`).
    SignedIn {
        app: String,
        socket_id: SocketId,
        /// The user's id.
        user: String,
    },
    /// A connection has become a channel's subscriber.
    Subscribed {
        app: String,
        socket_id: SocketId,
        channel: ChannelName,
        /// Who it is there, on a presence channel.
        user: Option<String>,
    },
    /// A connection is a channel's subscriber no more. When it ends, this is said of each of its channels.
    Unsubscribed { app: String, socket_id: SocketId, channel: ChannelName },
    /// A client has sent an event (a whisper) to the other subscribers.
    ClientEvent {
        app: String,
        socket_id: SocketId,
        channel: ChannelName,
        /// The event's name.
        event: String,
        /// Its data, as JSON.
        data: String,
        /// Who has sent it, on a presence channel.
        user: Option<String>,
    },
    /// A backend has published an event through this node; none that has come straight onto the bus.
    Published {
        app: String,
        channel: ChannelName,
        /// The event's name.
        event: String,
        /// Its data, as the literal of a JSON string.
        data: String,
    },
    /// A channel has its first subscriber.
    ChannelOccupied { app: String, channel: ChannelName },
    /// A channel has lost its last one.
    ChannelVacated { app: String, channel: ChannelName },
    /// A user has come to a presence channel, with the first connection.
    MemberAdded {
        app: String,
        channel: ChannelName,
        /// The user's id.
        user: String,
    },
    /// A user has left a presence channel, with the last connection.
    MemberRemoved {
        app: String,
        channel: ChannelName,
        /// The user's id.
        user: String,
    },
    /// A subscriber of a cache channel has found no event there.
    CacheMiss { app: String, channel: ChannelName },
    /// A channel has so many subscribers, where the app's setting tells them so themselves.
    SubscriptionCount { app: String, channel: ChannelName, count: usize },
    /// A connection has ended.
    Disconnected {
        app: String,
        socket_id: SocketId,
        /// What has ended it.
        by: Ended,
    },
    /// So many events are not told here, for the stream was not read in time and 16 MiB of them waited.
    Missed(u64),
}

/// What has ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client has said farewell.
    ByClient,
    /// The server has, with a code.
    ByServer,
    /// The client has read too slowly, and its outbox was full.
    Slow,
    /// It was lost without a farewell.
    Lost,
}

/// The events of a server, from when [`Server::events`](crate::Server::events) was called until the server
/// has ended. Whoever does not read them holds nobody up, and is told how many were
/// [missed](ServerEvent::Missed).
#[derive(Debug)]
pub struct Events {
    waiting: Waiting<Note>,
    missed: Arc<Mutex<u64>>,
    node: Arc<Node<Inboxes>>,
}

impl Events {
    /// The next one; `None`: the server has ended. No event is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<ServerEvent> {
        std::future::poll_fn(|context| self.poll(context)).await
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<ServerEvent>> {
        let note = match self.waiting.poll_take(context) {
            Poll::Ready(Some(queued)) => queued.value,
            // The runtime may want its turn while there are some.
            Poll::Pending if !self.waiting.is_empty() => return Poll::Pending,
            // What was missed last is told by nothing that came after it.
            unready => {
                let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
                match std::mem::take(&mut *missed) {
                    0 => return unready.map(|_| None),
                    missed => Note::Event(ServerEvent::Missed(missed)),
                }
            }
        };
        Poll::Ready(Some(note.named(self.node.apps())))
    }
}

impl Stream for Events {
    type Item = ServerEvent;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(ready!(self.get_mut().poll(context)))
    }
}

/// An event on its way: where it happens, apps are numbers.
#[derive(Debug, Clone)]
enum Note {
    ChannelEvent(ChannelEvent),
    ConnectionEvent(ConnectionEvent),
    Event(ServerEvent),
}

/// Those who read the events.
#[derive(Debug, Default)]
pub(crate) struct Audience(RwLock<Readers>);

#[derive(Debug, Default)]
struct Readers {
    all: Vec<Reader>,
    /// Nothing will happen any more.
    has_ended: bool,
}

#[derive(Debug)]
struct Reader {
    queue: Queue<Note>,
    missed: Arc<Mutex<u64>>,
}

impl Audience {
    pub(crate) fn listen(&self, node: Arc<Node<Inboxes>>) -> Events {
        let (queue, waiting) = queue(BYTES);
        let missed = Arc::<Mutex<u64>>::default();
        let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        readers.all.retain(|reader| !reader.queue.is_closed());
        if !readers.has_ended {
            readers.all.push(Reader { queue, missed: missed.clone() });
        }
        drop(readers);
        Events { waiting, missed, node }
    }

    /// The server has ended.
    pub(crate) fn close(&self) {
        let mut readers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *readers = Readers { all: Vec::new(), has_ended: true };
    }

    pub(crate) fn fact(&self, fact: &ChannelEvent) {
        self.tell(fact.weight(), || Note::ChannelEvent(fact.clone()));
    }

    pub(crate) fn happened(&self, happening: &ConnectionEvent) {
        self.tell(happening.weight(), || Note::ConnectionEvent(happening.clone()));
    }

    pub(crate) fn connected(&self, app: &App, socket_id: SocketId) {
        self.tell(app.id.len(), || {
            Note::Event(ServerEvent::Connected { app: app.id.clone(), socket_id })
        });
    }

    pub(crate) fn disconnected(&self, app: &App, socket_id: SocketId, by: Ended) {
        self.tell(app.id.len(), || {
            Note::Event(ServerEvent::Disconnected { app: app.id.clone(), socket_id, by })
        });
    }

    pub(crate) fn published(&self, app: &App, channel: &ChannelName, event: &str, data: &str) {
        let weight = app.id.len() + channel.as_str().len() + event.len() + data.len();
        self.tell(weight, || {
            Note::Event(ServerEvent::Published {
                app: app.id.clone(),
                channel: channel.clone(),
                event: event.to_owned(),
                data: data.to_owned(),
            })
        });
    }

    fn tell(&self, bytes: usize, note: impl Fn() -> Note) {
        let readers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // One that is not read any more is paid for no longer.
        for reader in readers.all.iter().filter(|reader| !reader.queue.is_closed()) {
            reader.tell(note(), bytes + size_of::<Note>());
        }
    }
}

impl Reader {
    fn tell(&self, note: Note, bytes: usize) {
        // Held while both go in, so that what was missed stands where it is missing.
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = Note::Event(ServerEvent::Missed(*missed));
        if *missed > 0 && self.queue.put(missing, size_of::<Note>()) {
            *missed = 0;
        }
        if *missed > 0 || !self.queue.put(note, bytes) {
            *missed += 1;
        }
    }
}

impl Note {
    fn named(self, apps: &Apps) -> ServerEvent {
        match self {
            Self::Event(event) => event,
            Self::ConnectionEvent(happening) => named_happening(happening, apps),
            Self::ChannelEvent(fact) => named_fact(fact, apps),
        }
    }
}

fn id(app: AppIndex, apps: &Apps) -> String {
    apps.get(app).id.clone()
}

fn text(user: &UserId) -> String {
    user.as_str().to_owned()
}

fn named_happening(happening: ConnectionEvent, apps: &Apps) -> ServerEvent {
    match happening {
        ConnectionEvent::SignedIn { app, socket_id, user } => {
            ServerEvent::SignedIn { app: id(app, apps), socket_id, user: text(&user) }
        }
        ConnectionEvent::Subscribed { channel: ChannelKey { app, name }, socket_id, user } => {
            let (app, user) = (id(app, apps), user.as_ref().map(text));
            ServerEvent::Subscribed { app, socket_id, channel: name, user }
        }
        ConnectionEvent::Unsubscribed { channel: ChannelKey { app, name }, socket_id } => {
            ServerEvent::Unsubscribed { app: id(app, apps), socket_id, channel: name }
        }
    }
}

fn named_fact(fact: ChannelEvent, apps: &Apps) -> ServerEvent {
    let ChannelKey { app, name: channel } = fact.channel().clone();
    let app = id(app, apps);
    match fact {
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
