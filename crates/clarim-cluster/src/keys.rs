//! Idempotency keys that all nodes know.
//!
//! A node claims a key before it publishes. All nodes receive the claims in the order of the bus, so they
//! agree on the first one. Its node publishes, and sends the others its answer.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::node_id::NodeId;
use crate::timing::{CLAIM_TIME, KEY_RETENTION};

/// Maximum size of the keys and answers of other nodes, in bytes: some 500,000 keys.
const MAX_BYTES: usize = 64 << 20;

/// Bytes of a key without its answer.
const KEY_BYTES: usize = 128;

/// A hash of an idempotency key and of what it identifies: the same on all nodes, and without collisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub u128);

/// A key that a node claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyClaim {
    /// The key.
    pub key: KeyHash,
    /// A hash of the event or request: the same for repeats.
    pub fingerprint: u64,
}

/// A key with the answer to the event or request that was published with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsweredKey<'a> {
    /// The key.
    pub claim: KeyClaim,
    /// The answer.
    #[serde(with = "serde_bytes")]
    pub answer: &'a [u8],
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOutcome {
    /// The key is new: this node publishes, and ends the claim.
    First,
    /// Another node has published. This is its answer.
    Repeat(Bytes),
    /// Another node is publishing.
    InProgress,
    /// The key belongs to another event or request.
    Reused,
}

/// Receives the results, in the order of the claims.
pub type OnClaimed = Box<dyn FnOnce(Vec<KeyOutcome>) + Send>;

/// The keys of the last minutes, of all nodes.
#[derive(Debug, Default)]
pub struct Keys {
    known: HashMap<KeyHash, Known, foldhash::fast::RandomState>,
    /// When to look at keys that may be forgotten.
    due: VecDeque<(Duration, KeyHash)>,
    bytes: usize,
    /// Claims of this node that the bus has not returned, by ticket.
    pending: VecDeque<PendingClaims>,
}

#[derive(Debug)]
struct Known {
    /// The node with the first claim.
    node: NodeId,
    fingerprint: u64,
    /// The answer; `None` while the node is publishing.
    answer: Option<Bytes>,
    /// When this is forgotten.
    until: Duration,
}

struct PendingClaims {
    ticket: u64,
    claims: Vec<KeyClaim>,
    then: OnClaimed,
    /// When the bus is no longer waited for.
    until: Duration,
}

impl fmt::Debug for PendingClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ticket, claims, .. } = self;
        f.debug_struct("PendingClaims").field("ticket", ticket).field("claims", claims).finish()
    }
}

impl Known {
    fn bytes(&self) -> usize {
        KEY_BYTES + self.answer.as_ref().map_or(0, Bytes::len)
    }
}

impl Keys {
    /// Returns the results of claims, if they do not depend on the order of the bus: all keys are known.
    #[must_use]
    pub fn look_up(&self, claims: &[KeyClaim], now: Duration) -> Option<Vec<KeyOutcome>> {
        claims.iter().map(|claim| self.outcome(claim, now)).collect()
    }

    /// Adds claims of this node that are sent with this ticket. `then` is called when the bus has returned
    /// them, or does not return them in time.
    pub fn claim(&mut self, ticket: u64, claims: Vec<KeyClaim>, until: Duration, then: OnClaimed) {
        self.pending.push_back(PendingClaims { ticket, claims, then, until });
    }

    /// Handles that the bus has returned claims of this node, or will not. Then this node goes on alone.
    pub fn returned(&mut self, ticket: u64, me: NodeId, now: Duration) {
        let Some(at) = self.pending.iter().position(|pending| pending.ticket == ticket) else {
            return;
        };
        let Some(PendingClaims { claims, then, .. }) = self.pending.remove(at) else { return };
        then(claims.iter().map(|claim| self.decide(claim, me, now)).collect());
    }

    /// Handles claims of another node.
    pub fn claimed(&mut self, node: NodeId, claims: &[KeyClaim], now: Duration) {
        for claim in claims {
            self.decide(claim, node, now);
        }
    }

    /// Handles the end of a claim: the answer, or `None` if nothing was published.
    pub fn ended(&mut self, node: NodeId, key: KeyHash, answer: Option<Bytes>, now: Duration) {
        let Some(known) = self.known.get_mut(&key).filter(|known| known.node == node) else {
            return;
        };
        self.bytes -= known.bytes();
        match answer {
            Some(answer) => {
                known.answer = Some(answer);
                known.until = now + KEY_RETENTION;
                self.bytes += known.bytes();
                self.make_room();
            }
            None => drop(self.known.remove(&key)),
        }
    }

    /// Handles keys that another node has published with, which this node may not know.
    pub fn learn(&mut self, node: NodeId, keys: &[AnsweredKey<'_>], now: Duration) {
        for AnsweredKey { claim, answer } in keys {
            self.decide(claim, node, now);
            self.ended(node, claim.key, Some(Bytes::copy_from_slice(answer)), now);
        }
    }

    /// Returns the keys that this node has published with.
    pub fn answered(&self, me: NodeId, now: Duration) -> impl Iterator<Item = AnsweredKey<'_>> {
        let is_mine = move |known: &Known| known.node == me && known.until > now;
        self.known.iter().filter(move |(_, known)| is_mine(known)).filter_map(|(key, known)| {
            let claim = KeyClaim { key: *key, fingerprint: known.fingerprint };
            Some(AnsweredKey { claim, answer: known.answer.as_deref()? })
        })
    }

    /// Frees the keys that a node had claimed that has gone.
    pub fn remove_peer(&mut self, node: NodeId) {
        let Self { known, bytes, .. } = self;
        known.retain(|_, known| {
            let is_kept = known.node != node || known.answer.is_some();
            *bytes -= if is_kept { 0 } else { known.bytes() };
            is_kept
        });
    }

    /// Ends the claims that the bus does not return: all of them, or those whose time is over. Forgets old
    /// keys.
    pub fn expire(&mut self, is_up: bool, me: NodeId, now: Duration) {
        while let Some(first) = self.pending.front().filter(|first| !is_up || first.until <= now) {
            self.returned(first.ticket, me, now);
        }
        while let Some((_, key)) = self.due.pop_front_if(|(due, _)| *due <= now) {
            match self.known.get(&key).map(|known| known.until) {
                Some(until) if until > now => self.due.push_back((now + KEY_RETENTION, key)),
                Some(_) => self.forget(&key),
                None => {}
            }
        }
        if self.known.len() < self.known.capacity() / 8 {
            self.known.shrink_to_fit();
            self.due.shrink_to_fit();
        }
    }

    /// Decides who has a key: the node that has claimed it first.
    fn decide(&mut self, claim: &KeyClaim, node: NodeId, now: Duration) -> KeyOutcome {
        let is_mine =
            |known: &Known| known.node == node && known.answer.is_none() && known.until > now;
        if !self.known.get(&claim.key).is_some_and(is_mine)
            && let Some(outcome) = self.outcome(claim, now)
        {
            return outcome;
        }
        let until = now + CLAIM_TIME;
        let known = Known { node, fingerprint: claim.fingerprint, answer: None, until };
        self.bytes += known.bytes();
        match self.known.insert(claim.key, known) {
            Some(old) => self.bytes -= old.bytes(),
            None => self.due.push_back((now + KEY_RETENTION, claim.key)),
        }
        self.make_room();
        KeyOutcome::First
    }

    /// Returns the result of a claim of a known key.
    fn outcome(&self, claim: &KeyClaim, now: Duration) -> Option<KeyOutcome> {
        let known = self.known.get(&claim.key).filter(|known| known.until > now)?;
        Some(match &known.answer {
            _ if known.fingerprint != claim.fingerprint => KeyOutcome::Reused,
            Some(answer) => KeyOutcome::Repeat(answer.clone()),
            None => KeyOutcome::InProgress,
        })
    }

    /// Forgets the oldest keys while there are too many.
    fn make_room(&mut self) {
        while self.bytes > MAX_BYTES
            && let Some((_, key)) = self.due.pop_front()
        {
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &KeyHash) {
        if let Some(known) = self.known.remove(key) {
            self.bytes -= known.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn claim(key: u128, fingerprint: u64) -> KeyClaim {
        KeyClaim { key: KeyHash(key), fingerprint }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    type Outcomes = Arc<Mutex<Vec<KeyOutcome>>>;

    fn claim_mine(keys: &mut Keys, ticket: u64, claims: Vec<KeyClaim>) -> Outcomes {
        let outcomes = Outcomes::default();
        let result = outcomes.clone();
        let then = Box::new(move |outcomes| *result.lock().unwrap() = outcomes);
        keys.claim(ticket, claims, seconds(1), then);
        outcomes
    }

    #[test]
    fn the_first_claim_in_the_order_of_the_bus_counts() {
        let mut keys = Keys::default();
        let outcomes = claim_mine(&mut keys, 1, vec![claim(1, 1), claim(2, 1), claim(3, 1)]);
        keys.claimed(OTHER, &[claim(1, 1), claim(2, 9)], seconds(0));
        keys.returned(1, ME, seconds(0));
        let expected = [KeyOutcome::InProgress, KeyOutcome::Reused, KeyOutcome::First];
        assert_eq!(*outcomes.lock().unwrap(), expected);
        // Later ones change nothing.
        keys.claimed(OTHER, &[claim(3, 1)], seconds(0));
        keys.ended(OTHER, KeyHash(3), None, seconds(0));
        let answer = Bytes::from_static(b"{}");
        keys.ended(ME, KeyHash(3), Some(answer.clone()), seconds(0));
        keys.ended(OTHER, KeyHash(1), Some(answer.clone()), seconds(0));
        keys.ended(OTHER, KeyHash(2), None, seconds(0));
        let found = |keys: &Keys, key| keys.look_up(&[claim(key, 1)], seconds(1));
        assert_eq!(found(&keys, 1), Some(vec![KeyOutcome::Repeat(answer.clone())]));
        assert_eq!(found(&keys, 2), None);
        assert_eq!(found(&keys, 3), Some(vec![KeyOutcome::Repeat(answer)]));
        // A node that comes learns of it.
        let mut newer = Keys::default();
        newer.learn(ME, &keys.answered(ME, seconds(1)).collect::<Vec<_>>(), seconds(1));
        assert_eq!([1, 3].map(|key| found(&newer, key).is_some()), [false, true]);
    }

    #[test]
    fn claims_end_with_their_node_or_their_time_and_answers_after_five_minutes() {
        let mut keys = Keys::default();
        keys.claimed(OTHER, &[claim(1, 1), claim(2, 1), claim(3, 1)], seconds(0));
        keys.ended(OTHER, KeyHash(1), Some(Bytes::new()), seconds(9));
        keys.claimed(NodeId(3), &[claim(4, 1)], seconds(0));
        keys.remove_peer(OTHER);
        let is_known = |keys: &Keys, key, at| keys.look_up(&[claim(key, 1)], seconds(at)).is_some();
        assert_eq!([1, 2, 3, 4].map(|key| is_known(&keys, key, 10)), [true, false, false, true]);
        assert!(!is_known(&keys, 4, CLAIM_TIME.as_secs()));
        keys.expire(true, ME, seconds(300));
        assert!(is_known(&keys, 1, 308) && !is_known(&keys, 1, 309));
        keys.expire(true, ME, seconds(1000));
        assert_eq!((keys.known.len(), keys.due.len(), keys.bytes), (0, 0, 0));
    }

    #[test]
    fn a_node_goes_on_alone_if_the_bus_does_not_return_its_claims() {
        let mut keys = Keys::default();
        let outcomes = claim_mine(&mut keys, 1, vec![claim(1, 1)]);
        keys.expire(true, ME, seconds(0));
        assert!(outcomes.lock().unwrap().is_empty());
        keys.expire(true, ME, seconds(1));
        assert_eq!(*outcomes.lock().unwrap(), [KeyOutcome::First]);
        let outcomes = claim_mine(&mut keys, 2, vec![claim(2, 1)]);
        keys.expire(false, ME, seconds(0));
        assert_eq!(*outcomes.lock().unwrap(), [KeyOutcome::First]);
    }

    #[test]
    fn the_oldest_keys_are_forgotten_when_there_are_too_many() {
        let mut keys = Keys::default();
        let body = Bytes::from(vec![b' '; 1 << 20]);
        for n in 0..70 {
            keys.claimed(OTHER, &[claim(n, 1)], seconds(0));
            keys.ended(OTHER, KeyHash(n), Some(body.clone()), seconds(0));
        }
        assert!(keys.bytes <= MAX_BYTES);
        assert!(keys.look_up(&[claim(0, 1)], seconds(0)).is_none());
        assert!(keys.look_up(&[claim(69, 1)], seconds(0)).is_some());
    }
}
