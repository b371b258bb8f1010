//! Idempotency keys of this node and the others.

use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::{
    AnsweredKey, ClusterMessage, KeyClaim, KeyHash, Keys, Membership, NodeId, OnClaimed, Version,
};

use super::outgoing::Outgoing;
use super::wire::Wire;
use crate::outputs::OutputSink;

/// The idempotency keys of a [`Cluster`](super::Cluster), and the way to the other nodes.
#[derive(Debug)]
pub struct ClusterKeys<'a, S, W> {
    pub(super) keys: &'a mut Keys,
    pub(super) members: &'a Membership,
    pub(super) outgoing: &'a mut Outgoing<S>,
    pub(super) wire: &'a mut W,
    /// Timeout for the bus.
    pub(super) deadline: Duration,
}

impl<S: OutputSink, W: Wire> ClusterKeys<'_, S, W> {
    /// Whether there are other nodes, and all of them know of keys.
    fn is_heard(&self) -> bool {
        self.members.count() > 0 && self.members.version() >= Version::KEYS
    }

    /// Claims keys for this node, which then publishes with those that are new. `then` is called when the bus
    /// has returned the claims, or does not in time.
    pub fn claim(self, claims: Vec<KeyClaim>, now: Duration, then: OnClaimed) {
        if let Some(outcomes) = self.keys.look_up(&claims, now) {
            return then(outcomes);
        }
        let is_heard = self.outgoing.is_up && self.is_heard();
        let Self { keys, outgoing, wire, deadline, .. } = self;
        let ticket = outgoing.flights.next_ticket();
        let message = ClusterMessage::KeyClaims { ticket, claims: claims.clone() };
        keys.claim(ticket, claims, now + deadline, then);
        if is_heard {
            outgoing.send_to_all(&message, wire);
        } else {
            keys.returned(ticket, outgoing.id, now);
        }
    }

    /// Ends the claim of a key. `answer` is what repeats get, on all nodes; `None` if nothing was published.
    pub fn end(self, key: KeyHash, answer: Option<Bytes>, now: Duration) {
        if self.is_heard() {
            let answer = answer.as_deref().map(Into::into);
            self.outgoing.send_to_all(&ClusterMessage::KeyEnded { key, answer }, self.wire);
        }
        self.keys.ended(self.outgoing.id, key, answer, now);
    }

    /// Handles a message of another node to all.
    pub(super) fn message(
        self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        part_bytes: usize,
        now: Duration,
    ) {
        match message {
            ClusterMessage::KeyClaims { claims, .. } => self.keys.claimed(from, claims, now),
            ClusterMessage::KeyEnded { key, answer } => {
                let answer = answer.map(|answer| Bytes::copy_from_slice(answer));
                self.keys.ended(from, *key, answer, now);
            }
            ClusterMessage::KeysRequest => self.send_to(from, part_bytes, now),
            _ => {}
        }
    }

    /// Sends the keys that this node has published with to a node that may not know them.
    fn send_to(self, peer: NodeId, part_bytes: usize, now: Duration) {
        let Self { keys, outgoing, wire, .. } = self;
        let id = outgoing.id;
        let mut send = |keys: Vec<AnsweredKey<'_>>| {
            if !keys.is_empty() {
                outgoing.send_part(peer, &ClusterMessage::AnsweredKeys(keys), wire);
            }
        };
        let mut part = Vec::new();
        let mut size = 0;
        for key in keys.answered(id, now) {
            if size > part_bytes {
                size = 0;
                send(std::mem::take(&mut part));
            }
            size += key.answer.len() + size_of::<KeyClaim>();
            part.push(key);
        }
        send(part);
    }
}
