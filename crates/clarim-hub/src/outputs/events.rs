//! Lifecycle events of channels and connections, for webhooks and for subscribers of server events.

use clarim_cluster::NodeId;
use clarim_protocol::SocketId;
use clarim_protocol::user::UserId;

use crate::address::{AppIndex, ChannelKey};

/// A lifecycle event of a channel. In a cluster, one node reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChannelEvent {
    /// The channel has its first subscriber.
    Occupied(ChannelKey),
    /// The channel has lost its last subscriber.
    Vacated(ChannelKey),
    /// A user has joined a presence channel.
    MemberAdded(ChannelKey, Box<str>),
    /// A user has left a presence channel.
    MemberRemoved(ChannelKey, Box<str>),
    /// A new subscriber of a cache channel found no cached event.
    CacheMiss(ChannelKey),
    /// The channel's number of subscribers has changed.
    Count(ChannelKey, usize),
    /// A client has sent an event to the other subscribers.
    ClientEvent {
        /// The channel.
        channel: ChannelKey,
        /// The event's name.
        event: String,
        /// Its data, as JSON.
        data: String,
        /// The sender.
        socket_id: SocketId,
        /// The sender's user id, on a presence channel.
        user: Option<UserId>,
    },
}

impl ChannelEvent {
    /// Returns the channel concerned.
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

    /// Returns the occupant that joins or leaves by this event, and whether it is a leave.
    #[must_use]
    pub fn occupant(&self) -> Option<(Occupant, bool)> {
        let (user, is_leave) = match self {
            Self::Occupied(_) => (None, false),
            Self::Vacated(_) => (None, true),
            Self::MemberAdded(_, user) => (Some(user.clone()), false),
            Self::MemberRemoved(_, user) => (Some(user.clone()), true),
            _ => return None,
        };
        Some((Occupant { channel: self.channel().clone(), user }, is_leave))
    }

    /// Returns the bytes it keeps allocated, to bound queues.
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

/// A lifecycle event of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It has signed in.
    SignedIn {
        /// Its app.
        app: AppIndex,
        /// The connection.
        socket_id: SocketId,
        /// The user.
        user: UserId,
    },
    /// It has subscribed.
    Subscribed {
        /// The channel.
        channel: ChannelKey,
        /// The connection.
        socket_id: SocketId,
        /// Its user id, on a presence channel.
        user: Option<UserId>,
    },
    /// It has unsubscribed, or has closed.
    Unsubscribed {
        /// The channel.
        channel: ChannelKey,
        /// The connection.
        socket_id: SocketId,
    },
}

impl ConnectionEvent {
    /// Returns the bytes it keeps allocated, to bound queues.
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

/// The subject of an [`Occupied`](ChannelEvent::Occupied) or [`MemberAdded`](ChannelEvent::MemberAdded) event
/// and its counterpart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Occupant {
    /// The channel.
    pub channel: ChannelKey,
    /// A user on it; `None` for its subscribers as a whole.
    pub user: Option<Box<str>>,
}

impl Occupant {
    /// Returns the event of its join.
    #[must_use]
    pub fn joined(self) -> ChannelEvent {
        match self.user {
            None => ChannelEvent::Occupied(self.channel),
            Some(user) => ChannelEvent::MemberAdded(self.channel, user),
        }
    }

    /// Returns the event of its leave.
    #[must_use]
    pub fn left(self) -> ChannelEvent {
        match self.user {
            None => ChannelEvent::Vacated(self.channel),
            Some(user) => ChannelEvent::MemberRemoved(self.channel, user),
        }
    }
}

/// The move of an [`Occupant`] from one node to another.
///
/// If both nodes sent webhooks, the backend could receive the join before the leave. So neither node sends
/// one, just as when the user reconnects to the same node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Migration {
    /// An occupant that left this node a moment ago is now on another node. If the leave has not been
    /// reported yet, drop it and call
    /// [`Node::publish_leave_suppressed`](crate::Node::publish_leave_suppressed).
    Away {
        /// The occupant.
        occupant: Occupant,
        /// The other node.
        to: NodeId,
    },
    /// An occupant that joined this node had left another node, which has not reported the leave: drop the
    /// join.
    Here(Occupant),
}
