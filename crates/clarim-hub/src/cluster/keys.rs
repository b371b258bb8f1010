//! Idempotency keys of this node and the others.

use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::{
    AnsweredKey, ClusterMessage, KeyClaim, KeyHash, Keys, Membership, NodeId, OnClaimed, Version,
};

use super::flights::{Flights, NodeSender};
use super::wire::Wire;

/// The idempotency keys of the cluster, as a node knows them.
#[derive(Debug, Default)]
pub(super) struct ClusterKeys(Keys);

/// The parts of the participant that send messages about keys.
pub(super) struct KeySender<'a, W> {
    pub(super) id: NodeId,
    pub(super) members: &'a Membership,
    pub(super) sender: &'a NodeSender,
    pub(super) flights: &'a mut Flights,
    pub(super) wire: &'a mut W,
}

impl<W: Wire> KeySender<'_, W> {
    /// Whether there are other nodes, and all of them know of keys.
    fn is_heard(&self) -> bool {
        self.members.count() > 0 && self.members.version() >= Version::KEYS
    }

    fn send_to_all(&mut self, message: &ClusterMessage<'_>) {
        self.sender.send_to_all(message, self.flights, self.wire);
    }
}

impl ClusterKeys {
    /// Claims keys for this node. See [`Cluster::claim`](super::Cluster::claim).
    pub(super) fn claim(
        &mut self,
        claims: Vec<KeyClaim>,
        deadline: Option<Duration>,
        now: Duration,
        mut sender: KeySender<'_, impl Wire>,
        then: OnClaimed,
    ) {
        if let Some(outcomes) = self.0.look_up(&claims, now) {
            return then(outcomes);
        }
        let ticket = sender.flights.next_ticket();
        let message = ClusterMessage::KeyClaims { ticket, claims: claims.clone() };
        let is_heard = deadline.is_some() && sender.is_heard();
        self.0.claim(ticket, claims, deadline.unwrap_or(now), then);
        if is_heard {
            sender.send_to_all(&message);
        } else {
            self.0.returned(ticket, sender.id, now);
        }
    }

    /// Ends the claim of a key, with the answer if this node has published.
    pub(super) fn end(
        &mut self,
        key: KeyHash,
        answer: Option<Bytes>,
        now: Duration,
        mut sender: KeySender<'_, impl Wire>,
    ) {
        if sender.is_heard() {
            let answer = answer.as_deref().map(Into::into);
            sender.send_to_all(&ClusterMessage::KeyEnded { key, answer });
        }
        self.0.ended(sender.id, key, answer, now);
    }

    /// Handles that the bus has returned claims of this node.
    pub(super) fn returned(&mut self, ticket: u64, me: NodeId, now: Duration) {
        self.0.returned(ticket, me, now);
    }

    /// Handles a message of another node.
    pub(super) fn message(&mut self, from: NodeId, message: &ClusterMessage<'_>, now: Duration) {
        match message {
            ClusterMessage::KeyClaims { claims, .. } => self.0.claimed(from, claims, now),
            ClusterMessage::KeyEnded { key, answer } => {
                let answer = answer.map(|answer| Bytes::copy_from_slice(answer));
                self.0.ended(from, *key, answer, now);
            }
            ClusterMessage::AnsweredKeys(keys) => self.0.learn(from, keys, now),
            _ => {}
        }
    }

    /// Sends the keys that this node has published with to a node that may not know them.
    pub(super) fn send_to(
        &self,
        peer: NodeId,
        part_bytes: usize,
        now: Duration,
        sender: KeySender<'_, impl Wire>,
    ) {
        let KeySender { id, sender, flights, wire, .. } = sender;
        let mut send = |keys: Vec<AnsweredKey<'_>>| {
            if !keys.is_empty() && wire.has_room() {
                sender.send_to(peer, &ClusterMessage::AnsweredKeys(keys), flights, wire);
            }
        };
        let mut part = Vec::new();
        let mut size = 0;
        for key in self.0.answered(id, now) {
            if size > part_bytes {
                size = 0;
                send(std::mem::take(&mut part));
            }
            size += key.answer.len() + size_of::<KeyClaim>();
            part.push(key);
        }
        send(part);
    }

    pub(super) fn remove_peer(&mut self, node: NodeId) {
        self.0.remove_peer(node);
    }

    /// Does periodic work, or ends all claims when the bus is lost.
    pub(super) fn expire(&mut self, is_up: bool, me: NodeId, now: Duration) {
        self.0.expire(is_up, me, now);
    }
}
