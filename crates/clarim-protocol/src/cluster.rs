//! What the nodes of a cluster tell each other over a bus, and what publishers straight onto that bus say.
//!
//! Everything that concerns a channel goes over the channel's own [subject](channel_subject), so that the
//! bus keeps it in order; a node listens to those of the channels that its clients are on. All nodes listen
//! to [one subject](nodes_subject) for themselves, and each to [one of its own](node_subject).

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ChannelName, SocketId};

/// The first bytes of every message: what is not ours, or of another format, is told by them.
const FORMAT: [u8; 2] = [0xC1, 2];

/// A node, from its start to its end. It is a random number: who starts again is another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// Publishers that are no node speak as this one.
    pub const OUTSIDE: Self = Self(0);
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClusterMessage<'a> {
    /// On a channel: an event for its subscribers, encoded already.
    Event {
        /// The text of the message to clients.
        #[serde(borrow, with = "serde_bytes")]
        payload: &'a [u8],
        /// The one connection that must not get it.
        except: Option<Origin>,
        /// On cache channels, if it is to be kept: of two events the one with the greater number is the last.
        kept: Option<u64>,
        /// If it is traced, of which trace it is.
        trace: Option<Trace>,
    },
    /// On a channel: what a node has there, and the wish to hear it of the others.
    SyncRequest(#[serde(borrow)] State<'a>),
    /// On a channel: what a node has there.
    State(#[serde(borrow)] State<'a>),
    /// On a channel: what has changed since the number before.
    StateChange {
        /// The number of the state that it makes.
        number: u64,
        /// What it is.
        #[serde(borrow)]
        change: Change<'a>,
    },
    /// On a channel: the number of a node's state, for those who have missed something.
    VersionDigest(u64),
    /// On a channel: its state is wanted of this node.
    StateRequest(NodeId),
    /// On a channel: the node has nobody there any more, and no longer listens.
    ChannelClosed,
    /// On a channel: a user who had left this node is on another one before the app's backend was told of
    /// it, and so the backend will not be; `None`: the channel's last subscriber.
    LeaveSuppressed(Option<&'a str>),
    /// To one node: to have this channel too, without clients. Nobody else has it, and if its one node died,
    /// nobody could tell the app's backend who has left with it.
    BackupSubscribe {
        /// The app's id.
        app: &'a str,
        /// The channel.
        channel: &'a str,
    },
    /// Of all nodes: I am here.
    Heartbeat {
        /// Microseconds since the node started, for measuring how long the bus takes.
        at: u64,
    },
    /// Of all nodes: this one was thought dead, and shall say of all its channels what it has there.
    ResyncRequest(NodeId),
    /// Of all nodes: I am going.
    Goodbye,
    /// Of all nodes: a question, to be answered to the node that asks.
    Query {
        /// The asking node's number for it.
        ticket: u64,
        /// The app that it is about.
        app: &'a str,
        /// What is asked.
        #[serde(borrow)]
        question: Query<'a>,
    },
    /// To one node: an answer.
    Reply {
        /// Of the question.
        ticket: u64,
        /// More answers to the same question follow.
        more: bool,
        /// The answer, or a part of it.
        #[serde(borrow)]
        answer: QueryReply<'a>,
    },
    /// On a channel, by a publisher that is no node: an event for its subscribers.
    ExternalPublish(#[serde(borrow)] ExternalEvent<'a>),
    /// Of all nodes, by a publisher that is none: an event that one of them is to publish. So for cache
    /// channels, which may be listened to by nobody.
    RelayPublish {
        /// The app's id.
        app: &'a str,
        /// The channel.
        channel: &'a str,
        /// The event.
        #[serde(borrow)]
        event: ExternalEvent<'a>,
    },
}

/// By what the parts of an event's way are known to belong together, as [W3C Trace Context] has it. Events
/// that are not sampled have none.
///
/// [W3C Trace Context]: https://www.w3.org/TR/trace-context/
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// Of the whole way.
    pub id: u128,
    /// Of the part before this one.
    pub span: u64,
}

/// A connection's public id, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin(u64, u64);

impl From<SocketId> for Origin {
    fn from(id: SocketId) -> Self {
        Self(id.nonce, id.place)
    }
}

impl From<Origin> for SocketId {
    fn from(origin: Origin) -> Self {
        Self { nonce: origin.0, place: origin.1 }
    }
}

/// An event of a publisher that is no node, not checked yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalEvent<'a> {
    /// The event's name.
    pub name: &'a str,
    /// Its data, as the literal of a JSON string.
    pub data: &'a str,
    /// The one connection that must not get it.
    pub except: Option<Origin>,
}

/// What a node has on a channel. A long one comes in parts, one right behind the other.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct State<'a> {
    /// Grows by one with each change.
    pub number: u64,
    /// Connections subscribed.
    pub subscriptions: u32,
    /// On the channel of a user: whether a connection is signed in as it.
    pub online: bool,
    /// On presence channels: the users with a connection to this node, as `channel_data`.
    #[serde(borrow)]
    pub members: Vec<&'a str>,
    /// The last event of a cache channel, with the number that says which of several it is.
    #[serde(borrow)]
    pub cached: Option<(u64, &'a serde_bytes::Bytes)>,
    /// The nodes whose [`ClusterMessage::SyncRequest`] this answers. Empty also while this node has yet to learn itself
    /// who is there.
    pub answers: Vec<NodeId>,
    /// How many other nodes this one knows to have the channel: who has asked will get so many answers.
    pub nodes: u32,
    /// More members follow.
    pub more: bool,
}

/// A change of a node's state on a channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Change<'a> {
    /// The first connection of a user to this node, as `channel_data`.
    Joined(&'a str),
    /// The last connection of the user with this id has left.
    Left(&'a str),
    /// Whether a connection is signed in as the user whose channel it is.
    Online(bool),
    /// How many connections are subscribed.
    Subscriptions(u32),
}

/// What one node asks all others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Query<'a> {
    /// Which channels with this prefix have subscribers?
    Channels(Cow<'a, str>),
    /// What is known of this channel?
    Channel(Cow<'a, str>),
    /// Who is on this presence channel?
    Users(Cow<'a, str>),
    /// How many connections are there?
    Connections,
    /// All connections of this user are to be closed.
    Terminate(Cow<'a, str>),
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum QueryReply<'a> {
    /// Channels: name, subscriptions, users.
    Channels(#[serde(borrow)] Vec<(&'a str, u64, u64)>),
    /// The last event of a cache channel, as clients get it, and for how many milliseconds it is still kept.
    Cached(#[serde(borrow)] &'a serde_bytes::Bytes, u64),
    /// Users: their ids.
    Users(#[serde(borrow)] Vec<&'a str>),
    /// Connections.
    Connections(u64),
    /// It has been done.
    Done,
}

/// The bytes of what `origin` says.
#[must_use]
pub fn encode(origin: NodeId, word: &ClusterMessage<'_>) -> Bytes {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&FORMAT);
    bytes.extend_from_slice(&origin.0.to_le_bytes());
    // Into a growing buffer, and of types that say their lengths themselves: neither can fail.
    postcard::to_extend(word, bytes).map(Bytes::from).unwrap_or_default()
}

/// Who says what.
///
/// # Errors
/// When the bytes are none of a node's.
pub fn decode(bytes: &[u8]) -> Result<(NodeId, ClusterMessage<'_>), InvalidMessage> {
    let rest = bytes.strip_prefix(&FORMAT).ok_or(InvalidMessage)?;
    let (origin, rest) = rest.split_first_chunk().ok_or(InvalidMessage)?;
    let word = postcard::from_bytes(rest).map_err(|_| InvalidMessage)?;
    Ok((NodeId(u64::from_le_bytes(*origin)), word))
}

/// A message on one of our subjects that no node and no publisher of this version has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is none of this protocol")]
pub struct InvalidMessage;

/// The subject that all nodes listen to.
#[must_use]
pub fn nodes_subject(prefix: &str) -> String {
    format!("{prefix}:nodes")
}

/// What stands between the prefix and the node in the subject of one node.
pub const NODE: &str = ":node:";

/// The subject that one node listens to.
#[must_use]
pub fn node_subject(prefix: &str, node: NodeId) -> String {
    format!("{prefix}{NODE}{:016x}", node.0)
}

/// The subject of a channel.
#[must_use]
pub fn channel_subject(prefix: &str, app: &str, channel: &ChannelName) -> String {
    format!("{prefix}:channel:{app}:{channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let state = State {
            number: u64::MAX,
            subscriptions: 3,
            online: true,
            members: vec![r#"{"user_id":7}"#, "é"],
            cached: Some((9, serde_bytes::Bytes::new(b"{}"))),
            answers: vec![NodeId(7)],
            nodes: 2,
            more: true,
        };
        let except = Some("1.2".parse::<SocketId>().unwrap().into());
        for word in [
            ClusterMessage::Event { payload: b"{}", except, kept: Some(1), trace: None },
            ClusterMessage::Event {
                payload: b"{\"event\":\"x\"}",
                except: None,
                kept: None,
                trace: Some(Trace { id: u128::MAX, span: 7 }),
            },
            ClusterMessage::SyncRequest(state.clone()),
            ClusterMessage::State(state),
            ClusterMessage::StateChange { number: 1, change: Change::Left("7") },
            ClusterMessage::ChannelClosed,
            ClusterMessage::LeaveSuppressed(Some("7")),
            ClusterMessage::BackupSubscribe { app: "1", channel: "presence-a" },
            ClusterMessage::Reply {
                ticket: 1,
                more: false,
                answer: QueryReply::Channels(vec![("a", 1, 2)]),
            },
            ClusterMessage::RelayPublish {
                app: "1",
                channel: "cache-a",
                event: ExternalEvent { name: "n", data: "\"\"", except },
            },
        ] {
            let bytes = encode(NodeId(5), &word);
            assert_eq!(decode(&bytes), Ok((NodeId(5), word)));
        }
    }

    #[test]
    fn rubbish_is_refused() {
        let good = encode(NodeId(1), &ClusterMessage::StateRequest(NodeId(2)));
        assert!(decode(&good).is_ok());
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), Err(InvalidMessage));
        }
        // Of another version, and of nobody.
        for at in 0..FORMAT.len() {
            let mut other = good.to_vec();
            other[at] -= 1;
            assert_eq!(decode(&other), Err(InvalidMessage));
        }
        for rubbish in [&b"hello"[..], &[FORMAT[0], FORMAT[1], 0xff]] {
            assert_eq!(decode(rubbish), Err(InvalidMessage));
        }
        // A list that claims to be longer than there are bytes for.
        let mut huge = encode(NodeId(1), &ClusterMessage::Goodbye)[..10].to_vec();
        huge.extend_from_slice(&[2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(decode(&huge), Err(InvalidMessage));
    }
}
