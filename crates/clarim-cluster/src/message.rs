//! Messages between nodes, and from external publishers.

use std::borrow::Cow;

use clarim_protocol::SocketId;
use serde::{Deserialize, Serialize};

use crate::keys::{AnsweredKey, KeyClaim, KeyHash};
use crate::node_id::NodeId;
use crate::versions::{Version, Versions};

/// Number of kinds of messages: the variants of [`ClusterMessage`].
pub(crate) const KINDS: u32 = 28;

/// A message between nodes, or from an external publisher to the nodes. The comments begin with the
/// subject on which it is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClusterMessage<'a> {
    /// Channel: an event for the subscribers.
    Event {
        /// The payload of the frame to clients.
        #[serde(borrow, with = "serde_bytes")]
        payload: &'a [u8],
        /// A connection to skip.
        except: Option<SenderId>,
        /// On cache channels, if it is to be cached: of two events, the one with the greater number is the
        /// last. The number comes from the logical clock.
        kept: Option<u64>,
        /// The trace of a traced event.
        trace: Option<Trace>,
        /// The sender's own number for the event, by which it finds the event again when the bus returns it.
        /// Appended in the encoding: see [`codec`](crate::decode).
        #[serde(skip)]
        ticket: u64,
    },
    /// Channel: the sender's state, and a request for the other nodes' states.
    SyncRequest(#[serde(borrow)] State<'a>),
    /// Channel: the sender's state.
    State(#[serde(borrow)] State<'a>),
    /// Channel: a change of the sender's state since the previous number.
    StateChange {
        /// The number of the changed state.
        number: u64,
        /// The change.
        #[serde(borrow)]
        change: Change<'a>,
    },
    /// Channel: the number of the sender's state, for nodes that have missed a change.
    VersionDigest(u64),
    /// Channel: a request for this node's state.
    StateRequest(NodeId),
    /// Channel: the sender has closed the channel.
    ChannelClosed,
    /// Channel: a user who had left the sender has joined another node in time, so no leave is sent to the
    /// app's backend.
    LeaveSuppressed {
        /// The user; `None` for the channel's last subscriber.
        user: Option<&'a str>,
        /// The node that the user has joined, which sends no join; `None` from nodes of the first releases.
        /// Appended in the encoding: see [`codec`](crate::decode).
        #[serde(skip)]
        to: Option<NodeId>,
    },
    /// Node: a request to open this channel as a backup. No other node has it: if the sender died, none could
    /// report to the app's backend who has left. Used while a node does not understand
    /// [`Backup`](Self::Backup).
    BackupSubscribe {
        /// The app's id.
        app: &'a str,
        /// The channel.
        channel: &'a str,
    },
    /// All nodes: the sender is alive.
    Heartbeat {
        /// Microseconds since the sender started, to measure the bus's latency.
        at: u64,
        /// The versions that the sender speaks. Appended in the encoding: see [`codec`](crate::decode).
        #[serde(skip)]
        versions: Versions,
        /// The sender's logical clock in microseconds; 0 from nodes that have none. Appended.
        #[serde(skip)]
        clock: u64,
        /// Number of other nodes that the sender knows; `None` until it has joined the cluster. Appended.
        #[serde(skip)]
        nodes: Option<u32>,
    },
    /// All nodes: this node was unknown to the sender or considered dead, and is to send the states of all
    /// its channels.
    ResyncRequest(NodeId),
    /// All nodes: the sender stops.
    Goodbye,
    /// All nodes: a query. Replies go to the sender's subject.
    Query {
        /// The sender's number for the query.
        ticket: u64,
        /// The app's id.
        app: &'a str,
        /// The query.
        #[serde(borrow)]
        question: Query<'a>,
    },
    /// Node: a reply to its query.
    Reply {
        /// The number of the query.
        ticket: u64,
        /// Whether more parts of the reply follow.
        more: bool,
        /// The reply, or a part of it.
        #[serde(borrow)]
        answer: QueryReply<'a>,
        /// Number of parts before this one; `None` from nodes of the first release. Appended in the encoding:
        /// see [`codec`](crate::decode).
        #[serde(skip)]
        index: Option<u32>,
    },
    /// Channel, from an external publisher: an event for the subscribers.
    ExternalPublish(#[serde(borrow)] ExternalEvent<'a>),
    /// All nodes, from an external publisher: an event that one of the nodes publishes. Used for cache
    /// channels, to which no node may be subscribed.
    RelayPublish {
        /// The app's id.
        app: &'a str,
        /// The channel.
        channel: &'a str,
        /// The event.
        #[serde(borrow)]
        event: ExternalEvent<'a>,
    },
    /// Node: the versions of the sender's states on channels that both nodes have, for changes that this node
    /// has missed. Replaces [`VersionDigest`](Self::VersionDigest) on such channels.
    VersionDigests {
        /// The app's id.
        app: &'a str,
        /// The channels, each with the version of the sender's state.
        #[serde(borrow)]
        channels: Vec<(&'a str, u64)>,
    },
    /// All nodes: the sender wants to publish with these idempotency keys. Of several claims of a key, the
    /// first in the order of the bus counts.
    KeyClaims {
        /// The sender's number for the claims.
        ticket: u64,
        /// The claims.
        claims: Vec<KeyClaim>,
    },
    /// All nodes: the sender has published with a key, or has not.
    KeyEnded {
        /// The key.
        key: KeyHash,
        /// The answer; `None` if nothing was published.
        #[serde(borrow)]
        answer: Option<&'a serde_bytes::Bytes>,
    },
    /// All nodes: a request for the keys that the other nodes have published with.
    KeysRequest,
    /// Node: the keys that the sender has published with.
    AnsweredKeys(#[serde(borrow)] Vec<AnsweredKey<'a>>),
    /// Channel: events of the sender may not have left it, because it was without the bus. All nodes: on any
    /// of their channels.
    EventsMissed,
    /// All nodes: the sender is about to be handed over to another program. The others keep the events that
    /// they publish until it is back.
    HandingOver,
    /// Node: the sender keeps its events from now on.
    HandOverReady,
    /// All nodes: the sender is back, or was not handed over.
    HandedOver {
        /// Whether it needs what the others have kept.
        is_back: bool,
    },
    /// Node: events that the sender has kept, in order.
    KeptEvents(#[serde(borrow)] Vec<KeptEvent<'a>>),
    /// Node: the sender has sent everything that it has kept.
    KeptEnd {
        /// The number of events.
        count: u32,
        /// Whether these are all that it has published.
        is_complete: bool,
    },
    /// Node: a message of the sender about its state on a channel that no other node has. The receiver is its
    /// backup: if the sender dies, it reports to the app's backend who has left. `ChannelClosed` ends the
    /// backup, because the sender has closed the channel or another node has it, too.
    Backup {
        /// The app's id.
        app: &'a str,
        /// The channel.
        channel: &'a str,
        /// The message, encoded.
        #[serde(with = "serde_bytes")]
        message: &'a [u8],
    },
}

impl ClusterMessage<'_> {
    /// Returns the oldest protocol version whose nodes understand the message.
    #[must_use]
    pub fn version(&self) -> Version {
        match self {
            Self::VersionDigests { .. } => Version::DIGESTS,
            Self::Backup { .. } => Version::BACKUPS,
            Self::KeyClaims { .. }
            | Self::KeyEnded { .. }
            | Self::KeysRequest
            | Self::AnsweredKeys(_)
            | Self::HandingOver
            | Self::HandOverReady
            | Self::HandedOver { .. }
            | Self::KeptEvents(_)
            | Self::KeptEnd { .. } => Version::KEYS,
            _ => Version::FIRST,
        }
    }
}

/// A message on a channel that a node has kept for another one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptEvent<'a> {
    /// The app's id.
    pub app: &'a str,
    /// The channel.
    pub channel: &'a str,
    /// The reading of the sender's logical clock when it published the message.
    pub at: u64,
    /// The message, encoded.
    #[serde(borrow, with = "serde_bytes")]
    pub message: &'a [u8],
}

/// The trace context of a sampled event, as defined by [W3C Trace Context].
///
/// [W3C Trace Context]: https://www.w3.org/TR/trace-context/
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The id of the trace.
    pub id: u128,
    /// The id of the parent span.
    pub span: u64,
}

/// The public id of the connection that caused an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SenderId(u64, u64);

impl From<SocketId> for SenderId {
    fn from(id: SocketId) -> Self {
        Self(id.nonce, id.place)
    }
}

impl From<SenderId> for SocketId {
    fn from(sender: SenderId) -> Self {
        Self { nonce: sender.0, place: sender.1 }
    }
}

/// An event of an external publisher. Nodes check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalEvent<'a> {
    /// The event's name.
    pub name: &'a str,
    /// Its data, as a JSON string literal.
    pub data: &'a str,
    /// A connection to skip.
    pub except: Option<SenderId>,
}

/// A node's state on a channel. A long state comes in consecutive parts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State<'a> {
    /// The version of the state. Grows by one with each change.
    pub number: u64,
    /// Number of subscriptions.
    pub subscriptions: u32,
    /// On a user's channel: whether a connection is signed in as the user.
    pub online: bool,
    /// On presence channels: the users with a connection to the node, as `channel_data`.
    #[serde(borrow)]
    pub members: Vec<&'a str>,
    /// The last event of a cache channel, with its number.
    #[serde(borrow)]
    pub cached: Option<(u64, &'a serde_bytes::Bytes)>,
    /// The nodes whose [`ClusterMessage::SyncRequest`] this answers.
    pub answers: Vec<NodeId>,
    /// Number of other nodes with the channel that the sender knows: the number of answers to a request.
    /// `u32::MAX` in an answer while the sender itself is opening the channel: nodes of the first release
    /// then wait for another answer.
    pub nodes: u32,
    /// Whether more parts follow.
    pub more: bool,
    /// The place of this part; `None` for a state in one part, and for those of the first release. Appended
    /// in the encoding: see [`codec`](crate::decode).
    #[serde(skip)]
    pub part: Option<Part>,
}

/// The place of a part in a long state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The number of the publication to which the part belongs. A sender gives each long state that it
    /// publishes on a channel another number.
    pub publication: u32,
    /// The number of parts before this one.
    pub index: u32,
}

/// A change of a node's state on a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change<'a> {
    /// A user's first connection to the node, as `channel_data`.
    Joined(&'a str),
    /// The last connection of the user with this id has left the node.
    Left(&'a str),
    /// Whether a connection is signed in as the channel's user.
    Online(bool),
    /// The number of subscriptions.
    Subscriptions(u32),
}

/// A query to all other nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Query<'a> {
    /// The channels with subscribers whose names begin with this prefix.
    Channels(Cow<'a, str>),
    /// One channel.
    Channel(Cow<'a, str>),
    /// The users on a presence channel.
    Users(Cow<'a, str>),
    /// The number of connections.
    Connections,
    /// Close all connections of this user.
    Terminate(Cow<'a, str>),
}

/// A reply to a [`Query`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QueryReply<'a> {
    /// Channels, each with its name, subscriptions and users.
    Channels(#[serde(borrow)] Vec<(&'a str, u64, u64)>),
    /// The last event of a cache channel, as sent to clients, and the milliseconds until it expires.
    Cached(#[serde(borrow)] &'a serde_bytes::Bytes, u64),
    /// Ids of users.
    Users(#[serde(borrow)] Vec<&'a str>),
    /// The number of connections.
    Connections(u64),
    /// The command was executed.
    Done,
}
