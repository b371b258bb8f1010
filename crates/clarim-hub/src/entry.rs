//! What the workers of a node tell each other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use clarim_protocol::cluster::{NodeId, Trace};
use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, Frame, SocketId};

use crate::apps::{AppIndex, Apps};

/// A worker of the node: one of its threads, which owns its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A connection's place in its worker. Places are used again after a connection has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// Where a connection is in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionAddr {
    /// Its worker.
    pub worker: WorkerId,
    /// Its place there.
    pub connection: ConnectionId,
}

impl ConnectionAddr {
    /// The connection's public id says where it is, so that excluding it from a delivery needs no map.
    /// The nonce tells it from others that sat here before.
    #[must_use]
    pub fn socket_id(self, nonce: u64) -> SocketId {
        let place = u64::from(self.connection.0) << 16 | u64::from(self.worker.0);
        SocketId { nonce, place: place + 1 }
    }

    /// Where the connection with this id is, if it is on this node at all.
    #[must_use]
    pub fn of(socket_id: SocketId) -> Option<Self> {
        let place = socket_id.place.checked_sub(1)?;
        let connection = ConnectionId(u32::try_from(place >> 16).ok()?);
        Some(Self { worker: WorkerId((place & 0xffff) as u16), connection })
    }
}

/// A channel of an app.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    /// Whose channel.
    pub app: AppIndex,
    /// Its name.
    pub name: ChannelName,
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.app, self.name)
    }
}

/// Kept by every entry that a publish made: when the last copy is dropped, each worker concerned has
/// handed the event to its subscribers, and the bus has taken it.
#[derive(Clone)]
pub struct DeliveryAck(Arc<dyn Waits>);

impl DeliveryAck {
    /// Calls `at_last` when the last copy of the receipt goes, with whether the event has reached all it was
    /// to reach: the bus may not have taken it.
    pub fn new(at_last: impl FnOnce(bool) + Send + Sync + 'static) -> Self {
        Self::make(None, at_last)
    }

    /// The same of an event that is traced: nodes that get it over the bus are told.
    pub fn traced(trace: Trace, at_last: impl FnOnce(bool) + Send + Sync + 'static) -> Self {
        Self::make(Some(trace), at_last)
    }

    fn make(trace: Option<Trace>, at_last: impl FnOnce(bool) + Send + Sync + 'static) -> Self {
        let is_partial = AtomicBool::new(false);
        Self(Arc::new(Waiting { is_partial, trace, at_last: Some(at_last) }))
    }

    pub(crate) fn trace(&self) -> Option<Trace> {
        self.0.trace()
    }

    /// Says that the event stays on this node.
    pub fn missed_the_bus(&self) {
        self.0.be_partial();
    }
}

/// What is kept by the two ways that an event of a backend takes.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryAcks<'a> {
    /// By this node's workers.
    pub here: Option<&'a DeliveryAck>,
    /// On its way to the bus.
    pub bus: Option<&'a DeliveryAck>,
}

impl<'a> DeliveryAcks<'a> {
    /// The same for both.
    #[must_use]
    pub fn of(receipt: &'a DeliveryAck) -> Self {
        Self { here: Some(receipt), bus: Some(receipt) }
    }
}

trait Waits: Send + Sync {
    fn be_partial(&self);
    fn trace(&self) -> Option<Trace>;
}

struct Waiting<F: FnOnce(bool)> {
    is_partial: AtomicBool,
    trace: Option<Trace>,
    at_last: Option<F>,
}

impl<F: FnOnce(bool) + Send + Sync> Waits for Waiting<F> {
    fn be_partial(&self) {
        self.is_partial.store(true, Ordering::Relaxed);
    }

    fn trace(&self) -> Option<Trace> {
        self.trace
    }
}

impl<F: FnOnce(bool)> Drop for Waiting<F> {
    fn drop(&mut self) {
        if let Some(at_last) = self.at_last.take() {
            // The count of the copies has ordered this behind what each of them did.
            at_last(!*self.is_partial.get_mut());
        }
    }
}

impl fmt::Debug for DeliveryAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", Arc::strong_count(&self.0))
    }
}

/// Something for a worker to do. What concerns one channel is posted under that channel's lock, so that
/// all workers see it in one order.
#[derive(Debug)]
pub enum WorkerMessage {
    /// Give the frame to the channel's subscribers.
    Deliver {
        /// The channel.
        channel: ChannelKey,
        /// The finished frame.
        frame: Frame,
        /// The one connection that must not get it.
        except: Option<SocketId>,
        /// See [`DeliveryAck`].
        receipt: Option<DeliveryAck>,
    },
    /// From here on the connection is a subscriber: what stands before this entry isn't for it, what
    /// stands behind it is.
    Joined {
        /// The connection, which is this worker's own.
        connection: ConnectionId,
        /// Its id: if it had to wait for the channel, it may have gone.
        socket_id: SocketId,
        /// The channel.
        channel: ChannelKey,
        /// Who the connection is there, on a presence channel.
        member: Option<Box<UserId>>,
        /// `subscription_succeeded`.
        succeeded: Frame,
        /// The last event of a cache channel, or the news that there is none.
        cached: Option<Frame>,
    },
    /// A connection that waited for a presence channel finds it full.
    Full {
        /// The connection, which is this worker's own.
        connection: ConnectionId,
        /// Its id.
        socket_id: SocketId,
        /// The channel.
        channel: ChannelKey,
        /// How many members it may have.
        max: usize,
    },
    /// Give the frame to one connection, if it is still there.
    Tell {
        /// The connection.
        connection: ConnectionId,
        /// Its id, for the place may have been taken by another.
        socket_id: SocketId,
        /// The finished frame.
        frame: Frame,
    },
    /// Close every connection of a user.
    Terminate {
        /// The user's app.
        app: AppIndex,
        /// The user's id.
        user: Arc<str>,
        /// See [`DeliveryAck`].
        receipt: Option<DeliveryAck>,
    },
}

impl WorkerMessage {
    /// Bytes that the entry keeps alive, for bounding inboxes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let frames = match self {
            Self::Deliver { frame, .. } | Self::Tell { frame, .. } => frame.bytes().len(),
            Self::Joined { succeeded, cached, .. } => {
                succeeded.bytes().len() + cached.as_ref().map_or(0, |frame| frame.bytes().len())
            }
            Self::Terminate { .. } | Self::Full { .. } => 0,
        };
        size_of::<Self>() + frames
    }
}

/// Something that an app's backend may want to know. In a cluster, one of the nodes tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelEvent {
    /// A channel has its first subscriber.
    Occupied(ChannelKey),
    /// A channel has lost its last.
    Vacated(ChannelKey),
    /// A user has come to a presence channel.
    MemberAdded(ChannelKey, Box<str>),
    /// A user has left one.
    MemberRemoved(ChannelKey, Box<str>),
    /// A subscriber of a cache channel found no event there.
    CacheMiss(ChannelKey),
    /// A channel has so many subscribers.
    Count(ChannelKey, usize),
    /// A client has sent an event to others.
    ClientEvent {
        /// To the subscribers of this channel.
        channel: ChannelKey,
        /// The event's name.
        event: String,
        /// Its data, as JSON.
        data: String,
        /// From this connection.
        socket_id: SocketId,
        /// Who that is, on a presence channel.
        user: Option<UserId>,
    },
}

/// What a connection has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It has signed in.
    SignedIn {
        /// To its app.
        app: AppIndex,
        /// The connection.
        socket_id: SocketId,
        /// As this user.
        user: UserId,
    },
    /// It has become a subscriber.
    Subscribed {
        /// Of this channel.
        channel: ChannelKey,
        /// The connection.
        socket_id: SocketId,
        /// Who it is there, on a presence channel.
        user: Option<UserId>,
    },
    /// It is a subscriber no more.
    Unsubscribed {
        /// Of this channel.
        channel: ChannelKey,
        /// The connection.
        socket_id: SocketId,
    },
}

impl ConnectionEvent {
    /// Bytes that it keeps alive, for bounding what waits.
    #[must_use]
    pub fn weight(&self) -> usize {
        let bytes = match self {
            Self::SignedIn { user, .. } => user.as_str().len(),
            Self::Subscribed { channel, user, .. } => {
                channel.name.as_str().len() + user.as_ref().map_or(0, |user| user.as_str().len())
            }
            Self::Unsubscribed { channel, .. } => channel.name.as_str().len(),
        };
        size_of::<Self>() + bytes
    }
}

/// Of whom an app's backend is told that they come and leave.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Occupant {
    /// The channel.
    pub channel: ChannelKey,
    /// A user on it; `None`: its subscribers as a whole.
    pub user: Option<Box<str>>,
}

/// What becomes of those who leave one node and come to another: a backend that is told of both by two nodes
/// may hear it in the wrong order, so it is told of neither, as when they come back to the same node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    /// Who has left this node a moment ago is on another one. If the backend has not been told yet, it is not
    /// to be, and [`Node::say_kept`](crate::Node::say_kept) is to be called.
    Away(Occupant),
    /// Who has come to this node had left another one, which has not told the backend: it need not be told
    /// that it has come.
    Here(Occupant),
}

impl ChannelEvent {
    /// The channel that it is about.
    #[must_use]
    pub fn channel(&self) -> &ChannelKey {
        match self {
            Self::Occupied(channel)
            | Self::Vacated(channel)
            | Self::MemberAdded(channel, _)
            | Self::MemberRemoved(channel, _)
            | Self::CacheMiss(channel)
            | Self::Count(channel, _)
            | Self::ClientEvent { channel, .. } => channel,
        }
    }

    /// Bytes that it keeps alive, for bounding what waits.
    #[must_use]
    pub fn weight(&self) -> usize {
        let bytes = match self {
            Self::MemberAdded(_, user) | Self::MemberRemoved(_, user) => user.len(),
            Self::ClientEvent { event, data, .. } => event.len() + data.len(),
            Self::Occupied(_) | Self::Vacated(_) | Self::CacheMiss(_) | Self::Count(..) => 0,
        };
        size_of::<Self>() + self.channel().name.as_str().len() + bytes
    }
}

/// Something for the bus of a cluster. As with entries, what concerns one channel is told under that
/// channel's lock.
#[derive(Debug)]
pub enum BusCommand {
    /// Listen to the channel's subject. [`Node::opened`](crate::Node::opened) is waited for.
    Open(ChannelKey),
    /// Listen to it no longer.
    Close(ChannelKey),
    /// Ask another node to have it too, of which none has.
    Guard(ChannelKey),
    /// Send an event of this node to the others.
    Event {
        /// The channel.
        channel: ChannelKey,
        /// The finished frame.
        frame: Frame,
        /// The one connection that must not get it.
        except: Option<SocketId>,
        /// On cache channels, the number to keep it under.
        kept: Option<u64>,
        /// See [`DeliveryAck`].
        receipt: Option<DeliveryAck>,
    },
    /// Send a message to the channel's subject.
    Say {
        /// The channel.
        channel: ChannelKey,
        /// The message, encoded.
        message: Bytes,
        /// The others will answer it.
        hello: bool,
    },
}

impl BusCommand {
    /// Bytes that it keeps alive, for bounding what waits.
    #[must_use]
    pub fn weight(&self) -> usize {
        let bytes = match self {
            Self::Event { frame, .. } => frame.bytes().len(),
            Self::Say { message, .. } => message.len(),
            Self::Open(_) | Self::Close(_) | Self::Guard(_) => 0,
        };
        size_of::<Self>() + bytes
    }
}

/// A frame that goes to many, as it is to be posted.
pub(crate) fn for_many(frame: &Frame, post: &impl Outputs) -> Frame {
    if post.compresses() { frame.compressible() } else { frame.clone() }
}

/// The inboxes of a node's workers. `post` is called under a channel's lock: it must be quick.
pub trait Outputs {
    /// Appends `entry` to the inbox of `worker`.
    fn post(&self, worker: WorkerId, entry: WorkerMessage);

    /// Whether no inbox holds more than it should. While one does, client events are refused; backends are
    /// made to wait before they publish.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether connections may have agreed on compression. Frames that go to many are then posted with a
    /// place for their compressed form, which the first worker that wants it fills for all.
    fn compresses(&self) -> bool {
        false
    }

    /// The node's name in its cluster; `None`: it stands alone.
    fn node_id(&self) -> Option<NodeId> {
        None
    }

    /// Takes what an app's backend wants to know; only what its [hooks](crate::app::Hooks) ask for. As quick
    /// as `post`.
    fn fact(&self, fact: ChannelEvent) {
        drop(fact);
    }

    /// Takes what a connection has done; only if the [hooks](crate::app::Hooks) of its app ask for it. As
    /// quick as `post`.
    fn happened(&self, happening: ConnectionEvent) {
        drop(happening);
    }

    /// Takes who has moved from one node to another; only in a cluster. As quick as `post`.
    fn moved(&self, moved: Migration) {
        drop(moved);
    }

    /// An event that is traced has come over the bus: what its workers are to keep.
    fn arrived(&self, apps: &Apps, channel: &ChannelKey, trace: Trace) -> Option<DeliveryAck> {
        let _ = (apps, channel, trace);
        None
    }

    /// Takes what is for the bus. As quick as `post`; never called on a node that stands alone.
    fn tell(&self, told: BusCommand) {
        drop(told);
    }
}
