//! What the workers of a node tell each other.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, Frame, SocketId};

use crate::apps::AppIndex;

/// A worker of the node: one of its threads, which owns its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A connection's place in its worker. Places are used again after a connection has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// Where a connection is in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Its worker.
    pub worker: WorkerId,
    /// Its place there.
    pub connection: ConnectionId,
}

impl Seat {
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
/// handed the event to its subscribers.
#[derive(Clone)]
pub struct Receipt(Arc<dyn Any + Send + Sync>);

impl Receipt {
    /// Drops `on_last_drop` when the last copy of the receipt goes.
    pub fn new(on_last_drop: impl Any + Send + Sync) -> Self {
        Self(Arc::new(on_last_drop))
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({})", Arc::strong_count(&self.0))
    }
}

/// Something for a worker to do. What concerns one channel is posted under that channel's lock, so that
/// all workers see it in one order.
#[derive(Debug)]
pub enum Entry {
    /// Give the frame to the channel's subscribers.
    Deliver {
        /// The channel.
        channel: ChannelKey,
        /// The finished frame.
        frame: Frame,
        /// The one connection that must not get it.
        except: Option<SocketId>,
        /// See [`Receipt`].
        receipt: Option<Receipt>,
    },
    /// From here on the connection is a subscriber: what stands before this entry isn't for it, what
    /// stands behind it is.
    Joined {
        /// The connection, which is this worker's own.
        connection: ConnectionId,
        /// The channel.
        channel: ChannelKey,
        /// Who the connection is there, on a presence channel.
        member: Option<Box<UserId>>,
        /// `subscription_succeeded`.
        succeeded: Frame,
        /// The last event of a cache channel, or the news that there is none.
        cached: Option<Frame>,
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
        /// See [`Receipt`].
        receipt: Option<Receipt>,
    },
}

impl Entry {
    /// Bytes that the entry keeps alive, for bounding inboxes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let frames = match self {
            Self::Deliver { frame, .. } | Self::Tell { frame, .. } => frame.bytes().len(),
            Self::Joined { succeeded, cached, .. } => {
                succeeded.bytes().len() + cached.as_ref().map_or(0, |frame| frame.bytes().len())
            }
            Self::Terminate { .. } => 0,
        };
        size_of::<Self>() + frames
    }
}

/// A frame that goes to many, as it is to be posted.
pub(crate) fn for_many(frame: &Frame, post: &impl Post) -> Frame {
    if post.compresses() { frame.compressible() } else { frame.clone() }
}

/// The inboxes of a node's workers. `post` is called under a channel's lock: it must be quick.
pub trait Post {
    /// Appends `entry` to the inbox of `worker`.
    fn post(&self, worker: WorkerId, entry: Entry);

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
}
