//! The encoding of messages.
//!
//! ```text
//! 0xC1 | version: u8 | sender: u64, little-endian | kind: varint | fields …
//! ```
//!
//! `version` is the oldest version whose nodes understand the message: a message that has not changed since
//! version 2 carries 2. Kind and fields are postcard's encoding of [`ClusterMessage`]. Bytes behind the known
//! fields are fields of a newer version; they are ignored. Fields that were appended to a message after the
//! first release are encoded behind it, one after the other; where they are missing, they have their default.

use bytes::Bytes;
use serde::Serialize;

use crate::message::{ClusterMessage, KINDS};
use crate::node_id::NodeId;
use crate::versions::Version;

/// The first byte of every message.
const MAGIC: u8 = 0xC1;

/// A message received from the bus.
#[derive(Debug, Clone, PartialEq)]
pub struct Received<'a> {
    /// The sender.
    pub from: NodeId,
    /// The message; `None` if it belongs to a newer version of the protocol and is to be skipped.
    pub message: Option<ClusterMessage<'a>>,
}

/// Encodes a message.
#[must_use]
pub fn encode(from: NodeId, message: &ClusterMessage<'_>) -> Bytes {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend_from_slice(&[MAGIC, message.version().0]);
    bytes.extend_from_slice(&from.0.to_le_bytes());
    let bytes = append(message, bytes);
    match message {
        ClusterMessage::Event { ticket, .. } => append(ticket, bytes),
        ClusterMessage::Heartbeat { versions, clock, nodes, .. } => {
            append(&(versions, clock, nodes), bytes)
        }
        ClusterMessage::SyncRequest(state) | ClusterMessage::State(state) => {
            append(&state.part, bytes)
        }
        ClusterMessage::Reply { index, .. } => append(index, bytes),
        ClusterMessage::LeaveSuppressed { to, .. } => append(to, bytes),
        _ => bytes,
    }
    .into()
}

fn append(value: &impl Serialize, bytes: Vec<u8>) -> Vec<u8> {
    // Cannot fail: the buffer grows, and all types know their lengths.
    postcard::to_extend(value, bytes).unwrap_or_default()
}

/// Decodes a message.
///
/// # Errors
/// If the bytes are not a message of a node or publisher.
pub fn decode(bytes: &[u8]) -> Result<Received<'_>, InvalidMessage> {
    let (&[magic, version], rest) = bytes.split_first_chunk().ok_or(InvalidMessage::Truncated)?;
    if magic != MAGIC {
        return Err(InvalidMessage::Magic);
    }
    if Version(version) < Version::FIRST {
        return Err(InvalidMessage::Version(version));
    }
    let (from, body) = rest.split_first_chunk().ok_or(InvalidMessage::Truncated)?;
    let from = NodeId(u64::from_le_bytes(*from));
    let kind: u32 = postcard::from_bytes(body).map_err(InvalidMessage::Body)?;
    if Version(version) > Version::NEWEST || kind >= KINDS {
        return Ok(Received { from, message: None });
    }
    let (mut message, newer) = postcard::take_from_bytes(body).map_err(InvalidMessage::Body)?;
    match &mut message {
        ClusterMessage::Event { ticket, .. } => {
            *ticket = postcard::from_bytes(newer).unwrap_or_default();
        }
        ClusterMessage::Heartbeat { versions, clock, nodes, .. } => {
            let (own, newer) = postcard::take_from_bytes(newer).unwrap_or_default();
            *versions = own;
            (*clock, *nodes) = postcard::from_bytes(newer).unwrap_or_default();
        }
        ClusterMessage::SyncRequest(state) | ClusterMessage::State(state) => {
            state.part = postcard::from_bytes(newer).unwrap_or_default();
        }
        ClusterMessage::Reply { index, .. } => {
            *index = postcard::from_bytes(newer).unwrap_or_default();
        }
        ClusterMessage::LeaveSuppressed { to, .. } => {
            *to = postcard::from_bytes(newer).unwrap_or_default();
        }
        _ => {}
    }
    Ok(Received { from, message: Some(message) })
}

/// The error of bytes that are not a message of a node or publisher. They are counted and ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// The message ends inside its header.
    #[error("the cluster message ends inside its header")]
    Truncated,
    /// The message does not begin as Clarim's do: something else publishes with the same prefix.
    #[error("not a cluster message: use a prefix of your own for other messages on the bus")]
    Magic,
    /// The message belongs to a version before the first release.
    #[error("cluster protocol version {0} is too old: update the node that sends it")]
    Version(u8),
    /// The fields cannot be decoded.
    #[error("the fields of the cluster message cannot be decoded")]
    Body(#[source] postcard::Error),
}

impl InvalidMessage {
    /// Returns a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Truncated => "cluster_message_truncated",
            Self::Magic => "cluster_message_magic",
            Self::Version(_) => "cluster_message_version",
            Self::Body(_) => "cluster_message_body",
        }
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::SocketId;

    use super::*;
    use crate::keys::{AnsweredKey, KeyClaim, KeyHash};
    use crate::message::{Change, ExternalEvent, KeptEvent, Part, QueryReply, State, Trace};
    use crate::versions::Versions;

    fn received(message: ClusterMessage<'_>) -> Received<'_> {
        Received { from: NodeId(5), message: Some(message) }
    }

    #[test]
    fn messages_are_decoded_as_they_were_encoded() {
        let state = State {
            number: u64::MAX,
            subscriptions: 3,
            online: true,
            members: vec![r#"{"user_id":7}"#, "é"],
            cached: Some((9, serde_bytes::Bytes::new(b"{}"))),
            answers: vec![NodeId(7)],
            nodes: 2,
            more: true,
            part: Some(Part { publication: 300, index: 1 }),
        };
        let except = Some("1.2".parse::<SocketId>().unwrap().into());
        let versions = Versions { oldest: Version(2), newest: Version(9) };
        let kept = KeptEvent { app: "1", channel: "a", at: 1 << 50, message: b"x" };
        let key = KeyHash(u128::MAX);
        let claim = KeyClaim { key, fingerprint: 7 };
        for message in [
            ClusterMessage::Event { payload: b"{}", except, kept: Some(1), trace: None, ticket: 9 },
            ClusterMessage::Event {
                payload: b"{\"event\":\"x\"}",
                except: None,
                kept: None,
                trace: Some(Trace { id: u128::MAX, span: 7 }),
                ticket: u64::MAX,
            },
            ClusterMessage::SyncRequest(state.clone()),
            ClusterMessage::State(State { part: None, ..state.clone() }),
            ClusterMessage::State(state),
            ClusterMessage::StateChange { number: 1, change: Change::Left("7") },
            ClusterMessage::ChannelClosed,
            ClusterMessage::EventsMissed,
            ClusterMessage::HandingOver,
            ClusterMessage::HandOverReady,
            ClusterMessage::HandedOver { is_back: true },
            ClusterMessage::KeptEvents(vec![kept]),
            ClusterMessage::KeptEnd { count: 300, is_complete: false },
            ClusterMessage::Backup { app: "1", channel: "presence-a", message: b"x" },
            ClusterMessage::LeaveSuppressed { user: Some("7"), to: Some(NodeId(9)) },
            ClusterMessage::BackupSubscribe { app: "1", channel: "presence-a" },
            ClusterMessage::Heartbeat { at: 300, versions, clock: 1 << 50, nodes: Some(2) },
            ClusterMessage::Reply {
                ticket: 1,
                more: false,
                answer: QueryReply::Channels(vec![("a", 1, 2)]),
                index: Some(3),
            },
            ClusterMessage::VersionDigests { app: "1", channels: vec![("a", 1), ("b", 1 << 50)] },
            ClusterMessage::KeyClaims { ticket: 1, claims: vec![claim] },
            ClusterMessage::KeyEnded { key, answer: Some(serde_bytes::Bytes::new(b"{}")) },
            ClusterMessage::KeyEnded { key, answer: None },
            ClusterMessage::AnsweredKeys(vec![AnsweredKey { claim, answer: b"{}" }]),
            ClusterMessage::RelayPublish {
                app: "1",
                channel: "cache-a",
                event: ExternalEvent { name: "n", data: "\"\"", except },
            },
        ] {
            let bytes = encode(NodeId(5), &message);
            assert_eq!(decode(&bytes), Ok(received(message.clone())));
            // A newer version has appended a field.
            let longer = [&bytes[..], &[1, 2, 3]].concat();
            assert_eq!(decode(&longer), Ok(received(message)));
        }
    }

    #[test]
    fn heartbeats_without_versions_are_of_the_first_version() {
        let versions = Versions::UNSAID;
        let heartbeat = ClusterMessage::Heartbeat { at: 7, versions, clock: 0, nodes: None };
        let bytes = encode(NodeId(5), &heartbeat);
        let old = &bytes[..bytes.len() - 4];
        assert_eq!(decode(old), Ok(received(heartbeat.clone())));
        let without_clock = &bytes[..bytes.len() - 2];
        assert_eq!(decode(without_clock), Ok(received(heartbeat)));
    }

    #[test]
    fn states_without_the_place_of_a_part_are_of_the_first_release() {
        let state = State { number: 7, more: true, ..State::default() };
        let bytes = encode(NodeId(5), &ClusterMessage::State(state.clone()));
        let old = &bytes[..bytes.len() - 1];
        assert_eq!(decode(old), Ok(received(ClusterMessage::State(state))));
    }

    #[test]
    fn messages_of_newer_versions_are_skipped() {
        let skipped = Ok(Received { from: NodeId(1), message: None });
        let mut newer = encode(NodeId(1), &ClusterMessage::Goodbye).to_vec();
        newer[1] = Version::NEWEST.0 + 1;
        assert_eq!(decode(&newer), skipped);
        let mut unknown = encode(NodeId(1), &ClusterMessage::Goodbye).to_vec();
        for kind in KINDS..128 {
            unknown[10] = kind as u8;
            assert_eq!(decode(&unknown), skipped, "{kind}");
        }
    }

    #[test]
    fn the_number_of_kinds_is_that_of_the_variants() {
        let last = ClusterMessage::Backup { app: "", channel: "", message: b"" };
        assert_eq!(u32::from(encode(NodeId(1), &last)[10]), KINDS - 1);
    }

    #[test]
    fn invalid_messages_are_rejected() {
        let good = encode(NodeId(1), &ClusterMessage::StateRequest(NodeId(2)));
        assert!(decode(&good).is_ok());
        for length in 0..good.len() {
            assert!(decode(&good[..length]).is_err(), "{length}");
        }
        let mut old = good.to_vec();
        old[1] = 1;
        assert_eq!(decode(&old), Err(InvalidMessage::Version(1)));
        assert_eq!(decode(b"hello"), Err(InvalidMessage::Magic));
        assert_eq!(decode(&[MAGIC, 2, 0xff]), Err(InvalidMessage::Truncated));
        // A list that claims to be longer than the message.
        let mut huge = encode(NodeId(1), &ClusterMessage::Goodbye)[..10].to_vec();
        huge.extend_from_slice(&[2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(matches!(decode(&huge), Err(InvalidMessage::Body(_))));
    }
}
