//! Messages to the workers and commands for the bus.

use std::sync::Arc;

use bytes::Bytes;
use clarim_cluster::NodeId;
use clarim_protocol::user::UserId;
use clarim_protocol::{Frame, Position, SocketId};

use super::ack::DeliveryAck;
use crate::address::{AppIndex, ChannelKey, ConnectionId};

/// A message to a worker. Messages about one channel arrive at all workers in one order.
#[derive(Debug)]
pub enum WorkerMessage {
    /// Deliver a frame to the channel's subscribers.
    Deliver {
        /// The channel.
        channel: ChannelKey,
        /// The encoded frame.
        frame: Frame,
        /// A connection to skip.
        except: Option<SocketId>,
        /// On a channel with history, the position behind this message.
        position: Option<Position>,
        /// See [`DeliveryAck`].
        ack: Option<DeliveryAck>,
    },
    /// Add the connection to the channel's subscribers. It gets everything after this message and nothing
    /// before it.
    Joined {
        /// The connection, which belongs to this worker.
        connection: ConnectionId,
        /// Its id: a connection that waited for the channel may have closed.
        socket_id: SocketId,
        /// The channel.
        channel: ChannelKey,
        /// The connection's user id, on a presence channel.
        member: Option<Box<UserId>>,
        /// `subscription_succeeded`.
        succeeded: Frame,
        /// What follows at once: past events, the last event of a cache channel or `cache_miss`, a gap.
        past: Vec<Frame>,
        /// On a channel with history, the positions around `past`.
        replayed: Option<Box<Replayed>>,
    },
    /// Reject a connection that waited for a presence channel: the channel is full.
    Full {
        /// The connection, which belongs to this worker.
        connection: ConnectionId,
        /// Its id.
        socket_id: SocketId,
        /// The channel.
        channel: ChannelKey,
        /// The maximum number of members.
        max: usize,
    },
    /// Send a frame to one connection, if it is still open.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// Its id: the slot may be in use by another connection.
        socket_id: SocketId,
        /// The encoded frame.
        frame: Frame,
    },
    /// Close a connection whose page has opened another one.
    Replaced {
        /// The connection.
        connection: ConnectionId,
        /// Its id: the slot may be in use by another connection.
        socket_id: SocketId,
    },
    /// Close the connections with a subscription within 5 s, so that they are made again.
    Reconnect {
        /// Only the subscribers of this channel.
        channel: Option<ChannelKey>,
    },
    /// Close all connections of a user.
    Terminate {
        /// The user's app.
        app: AppIndex,
        /// The user's id.
        user: Arc<str>,
        /// See [`DeliveryAck`].
        ack: Option<DeliveryAck>,
    },
}

/// The part of a channel's history that a new subscriber has missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// The position before the past events.
    pub from: Position,
    /// The position behind them.
    pub to: Position,
}

impl WorkerMessage {
    /// Returns the bytes it keeps allocated, to bound inboxes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let frames = match self {
            Self::Deliver { frame, .. } | Self::Send { frame, .. } => frame.bytes().len(),
            Self::Joined { succeeded, past, .. } => {
                succeeded.bytes().len()
                    + past.iter().map(|frame| frame.bytes().len()).sum::<usize>()
            }
            Self::Terminate { .. }
            | Self::Full { .. }
            | Self::Replaced { .. }
            | Self::Reconnect { .. } => 0,
        };
        size_of::<Self>() + frames
    }
}

/// A command for the bus of a cluster. Commands about one channel keep that channel's order.
#[derive(Debug)]
pub enum BusCommand {
    /// Subscribe to the channel's subject. The channel's subscribers wait until it is open.
    Open(ChannelKey),
    /// Unsubscribe from it.
    Close(ChannelKey),
    /// Choose another node as a backup: this node is the only one that has the channel.
    RequestBackup(ChannelKey),
    /// Send a message about the channel's state to its backup.
    Backup {
        /// The channel.
        channel: ChannelKey,
        /// The node.
        backup: NodeId,
        /// The message, encoded.
        message: Bytes,
    },
    /// Send an event to the other nodes, and deliver it on this one at its place in the order of the bus.
    Event {
        /// The channel.
        channel: ChannelKey,
        /// The encoded frame.
        frame: Frame,
        /// A connection to skip.
        except: Option<SocketId>,
        /// On cache channels, the number that orders cached events across nodes.
        kept: Option<u64>,
        /// Whether the event belongs to the history of the channel, which the server of the bus keeps.
        is_recorded: bool,
        /// The idempotency key under which the history takes the event once.
        key: Option<Arc<str>>,
        /// Held until the bus has accepted the event: see [`DeliveryAck`].
        ack: Option<DeliveryAck>,
        /// Held until the event is delivered on this node.
        here: Option<DeliveryAck>,
    },
    /// Send a message about the channel's state to the other nodes.
    Sync {
        /// The channel.
        channel: ChannelKey,
        /// The message, encoded.
        message: Bytes,
        /// The kind of message.
        kind: SyncKind,
    },
}

/// The kind of a message about a channel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncKind {
    /// The other nodes will reply.
    Request,
    /// A change of this node's state, which this node applies when the bus returns it.
    Change {
        /// The version of the state after the change.
        number: u64,
    },
    /// The version of a state. Nothing is lost without it.
    Version,
    /// Any other message.
    Other,
}

impl BusCommand {
    /// Returns the bytes it keeps allocated, to bound queues.
    #[must_use]
    pub fn weight(&self) -> usize {
        let bytes = match self {
            Self::Event { frame, .. } => frame.bytes().len(),
            Self::Sync { message, .. } | Self::Backup { message, .. } => message.len(),
            Self::Open(_) | Self::Close(_) | Self::RequestBackup(_) => 0,
        };
        size_of::<Self>() + bytes
    }
}
