//! Idempotency keys: a key identifies an event or a request. What it identifies is published once, and
//! repeats get the first answer.

mod answer;
mod saved;

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clarim_cluster::timing::KEY_RETENTION;
use clarim_cluster::{KeyClaim, KeyHash, KeyOutcome};
use hyper::header::HeaderMap;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::publish::{CheckedEvent, MAX_KEY_BYTES, PublishError, check_key};
use super::response::ApiError;
use crate::cluster::Cluster;
use crate::runtime::KeyNumbers;
pub(crate) use answer::Answer;
pub(crate) use saved::SavedKeys;

/// The header with the key of a whole request.
const HEADER: &str = "idempotency-key";

/// Maximum size of all keys and answers of a node, in bytes: some 500,000 keys.
const MAX_BYTES: usize = 64 << 20;

/// Time that a repeat waits for the answer to the first request.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Pause between two claims of a key that is in progress on another node.
const CLAIM_PAUSE: Duration = Duration::from_millis(50);

/// The kind of thing that a key identifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum KeyKind {
    Event,
    Request,
}

/// A key with what it identifies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keyed<'a> {
    pub(crate) kind: KeyKind,
    /// The app's id.
    pub(crate) app: &'a str,
    pub(crate) text: &'a str,
    /// A hash of the event or request: the same for repeats, on all nodes.
    pub(crate) fingerprint: u64,
}

impl Keyed<'_> {
    fn claim(&self) -> KeyClaim {
        let Self { kind, app, text, fingerprint } = *self;
        let mut hash = Sha256::new();
        hash.update([kind as u8]);
        hash.update(app.len().to_le_bytes());
        for part in [app, text] {
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (half, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        KeyClaim { key: KeyHash(u128::from_le_bytes(*half)), fingerprint }
    }
}

/// Returns a hash of what a key identifies. It is the same on all nodes of a release.
pub(crate) fn fingerprint(content: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// Returns the key of a whole request.
pub(crate) fn header(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| check_key(text).is_ok());
    let message = format!("Idempotency-Key must have 1 to {MAX_KEY_BYTES} ASCII characters.");
    text.map(Some).ok_or_else(|| ApiError::malformed(message))
}

/// The keys of the last five minutes.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    /// The other nodes, if there may be any.
    cluster: Option<Cluster>,
    /// Held for a look-up or a change only, never across a wait.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<KeyHash, Entry>,
    /// The answered keys with the times at which they are forgotten.
    answered: VecDeque<(Duration, KeyHash)>,
    /// Size of the answered keys.
    bytes: usize,
    numbers: KeyNumbers,
}

#[derive(Debug)]
struct Entry {
    fingerprint: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The first request is in progress. The channel closes when it has ended.
    InProgress(watch::Receiver<()>),
    Answered(Answer),
}

/// The way to handle an event or request.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Publish it: it has no key.
    Unkeyed,
    /// Publish it, and set the answer.
    First(ClaimedKey),
    /// Do not publish it: this is the first answer.
    Repeat(Answer),
    /// Do not publish it: the event with this index in the same batch has the same key.
    SameAs(usize),
}

impl Claim {
    pub(crate) fn is_to_publish(&self) -> bool {
        matches!(self, Self::Unkeyed | Self::First(_))
    }

    /// Whether the other nodes are to be asked.
    fn is_unshared(&self) -> bool {
        matches!(self, Self::First(key) if !key.is_shared)
    }

    fn key(&self) -> Option<KeyClaim> {
        match self {
            Self::First(ClaimedKey { key, fingerprint, .. }) => {
                Some(KeyClaim { key: *key, fingerprint: *fingerprint })
            }
            _ => None,
        }
    }

    fn set_shared(&mut self) {
        if let Self::First(key) = self {
            key.is_shared = true;
        }
    }

    /// Replaces the claim by the answer of another node.
    fn repeat(&mut self, answer: Answer, now: Duration) {
        if let Self::First(key) = std::mem::replace(self, Self::Repeat(answer.clone())) {
            key.answer(answer, now);
        }
    }
}

/// The result of an attempt to claim keys.
enum Attempt {
    Claimed(Vec<Claim>),
    /// Another request with one of the keys is in progress.
    Wait(watch::Receiver<()>),
}

/// A key whose event is being published. Dropping it frees the key.
#[derive(Debug)]
pub(crate) struct ClaimedKey {
    keys: Arc<IdempotencyKeys>,
    key: KeyHash,
    fingerprint: u64,
    /// Whether the other nodes know the claim and not its end.
    is_shared: bool,
    /// Dropped after the key was answered or freed.
    _ended: watch::Sender<()>,
}

impl ClaimedKey {
    /// Sets the answer that repeats get.
    pub(crate) fn answer(mut self, answer: Answer, now: Duration) {
        self.end(Some(&answer));
        let mut table = self.keys.lock();
        let Some(entry) = table.entries.get_mut(&self.key) else { return };
        let cost = answer.cost();
        entry.state = State::Answered(answer);
        table.bytes += cost;
        table.answered.push_back((now + KEY_RETENTION, self.key));
        table.make_room();
    }

    /// Tells the other nodes of the end.
    fn end(&mut self, answer: Option<&Answer>) {
        if let Some(cluster) = &self.keys.cluster
            && std::mem::take(&mut self.is_shared)
        {
            cluster.end_claim(self.key, answer.map(Answer::encode));
        }
    }
}

impl Drop for ClaimedKey {
    fn drop(&mut self) {
        self.end(None);
        let mut table = self.keys.lock();
        let is_open = |entry: &Entry| matches!(entry.state, State::InProgress(_));
        if table.entries.get(&self.key).is_some_and(is_open) {
            table.entries.remove(&self.key);
        }
    }
}

impl IdempotencyKeys {
    pub(crate) fn new(cluster: Option<Cluster>) -> Self {
        Self { cluster, ..Self::default() }
    }

    /// Returns the key of an event of the app with this id, if it has one.
    pub(crate) fn of_event<'e>(app: &'e str, event: &'e CheckedEvent<'_>) -> Option<Keyed<'e>> {
        let text = event.idempotency_key.as_deref()?;
        let CheckedEvent { name, data, channels, except, info, .. } = event;
        let names: Vec<&str> = channels.iter().map(|key| key.name.as_str()).collect();
        let fingerprint = fingerprint((name, data.get(), names, except, info));
        Some(Keyed { kind: KeyKind::Event, app, text, fingerprint })
    }

    /// Claims the keys of events that are published together, all or none. Waits while another request with
    /// one of them is in progress.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        items: &[Option<Keyed<'_>>],
        now: Duration,
    ) -> Result<Vec<Claim>, PublishError> {
        if items.iter().all(Option::is_none) {
            return Ok(items.iter().map(|_| Claim::Unkeyed).collect());
        }
        let deadline = Instant::now() + MAX_WAIT;
        loop {
            let mut in_progress = match self.try_claim(items, now)? {
                Attempt::Claimed(claims) => return self.share(claims, now, deadline).await,
                Attempt::Wait(in_progress) => in_progress,
            };
            // Nothing is sent: the channel closes.
            if timeout_at(deadline, in_progress.changed()).await.is_err() {
                return Err(PublishError::KeyInProgress);
            }
        }
    }

    /// Claims keys on the other nodes, too. Waits while one of them has one in progress.
    async fn share(
        &self,
        mut claims: Vec<Claim>,
        now: Duration,
        deadline: Instant,
    ) -> Result<Vec<Claim>, PublishError> {
        let Some(cluster) = &self.cluster else { return Ok(claims) };
        loop {
            let mut open: Vec<&mut Claim> = claims.iter_mut().filter(|c| c.is_unshared()).collect();
            if open.is_empty() {
                return Ok(claims);
            }
            let wanted = open.iter().filter_map(|claim| claim.key()).collect();
            let mut is_in_progress = false;
            for (claim, outcome) in open.iter_mut().zip(cluster.claim(wanted).await) {
                match outcome {
                    KeyOutcome::First => claim.set_shared(),
                    KeyOutcome::Repeat(answer) => {
                        self.lock().numbers.repeats += 1;
                        claim.repeat(Answer::decode(&answer), now);
                    }
                    KeyOutcome::Reused => return Err(PublishError::KeyReused),
                    KeyOutcome::InProgress => is_in_progress = true,
                }
            }
            if is_in_progress {
                if Instant::now() >= deadline {
                    return Err(PublishError::KeyInProgress);
                }
                sleep(CLAIM_PAUSE).await;
            }
        }
    }

    fn try_claim(
        self: &Arc<Self>,
        items: &[Option<Keyed<'_>>],
        now: Duration,
    ) -> Result<Attempt, PublishError> {
        let hashed: Vec<Option<KeyClaim>> =
            items.iter().map(|item| item.map(|item| item.claim())).collect();
        let mut table = self.lock();
        table.expire(now);
        for KeyClaim { key, fingerprint } in hashed.iter().flatten() {
            let Some(entry) = table.entries.get(key) else { continue };
            if entry.fingerprint != *fingerprint {
                return Err(PublishError::KeyReused);
            }
            if let State::InProgress(receiver) = &entry.state {
                return Ok(Attempt::Wait(receiver.clone()));
            }
        }
        // None is in progress. Errors drop the claims, which free their keys, so the lock must be free.
        let mut claims = Vec::with_capacity(items.len());
        let mut first: HashMap<KeyHash, (usize, u64)> = HashMap::new();
        let mut is_reused = false;
        for (n, item) in hashed.into_iter().enumerate() {
            let Some(KeyClaim { key, fingerprint }) = item else {
                claims.push(Claim::Unkeyed);
                continue;
            };
            if let Some(&(at, other)) = first.get(&key) {
                is_reused |= other != fingerprint;
                claims.push(Claim::SameAs(at));
                table.numbers.repeats += 1;
                continue;
            }
            first.insert(key, (n, fingerprint));
            let answer = table.entries.get(&key).and_then(|entry| match &entry.state {
                State::Answered(answer) => Some(answer.clone()),
                State::InProgress(_) => None,
            });
            if let Some(answer) = answer {
                table.numbers.repeats += 1;
                claims.push(Claim::Repeat(answer));
                continue;
            }
            let (ended, in_progress) = watch::channel(());
            let state = State::InProgress(in_progress);
            table.entries.insert(key, Entry { fingerprint, state });
            let keys = self.clone();
            let is_shared = false;
            let claimed = ClaimedKey { keys, key, fingerprint, is_shared, _ended: ended };
            claims.push(Claim::First(claimed));
        }
        drop(table);
        if is_reused { Err(PublishError::KeyReused) } else { Ok(Attempt::Claimed(claims)) }
    }

    /// Forgets the keys whose time is over. Call it about once a second.
    pub(crate) fn sweep(&self, now: Duration) {
        let mut table = self.lock();
        table.expire(now);
        if table.entries.len() < table.entries.capacity() / 8 {
            table.entries.shrink_to_fit();
            table.answered.shrink_to_fit();
        }
    }

    /// Saves all answered keys.
    pub(crate) fn save(&self, now: Duration, write: saved::Write<'_>) -> io::Result<()> {
        saved::save(&self.lock(), now, write)
    }

    /// Takes over saved keys.
    pub(crate) fn restore(&self, saved: SavedKeys, now: Duration) {
        saved::restore(&mut self.lock(), saved, now);
    }

    pub(crate) fn numbers(&self) -> KeyNumbers {
        self.lock().numbers
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn expire(&mut self, now: Duration) {
        while let Some((_, key)) = self.answered.pop_front_if(|(due, _)| *due <= now) {
            self.forget(&key);
        }
    }

    /// Forgets the oldest keys while there are too many.
    fn make_room(&mut self) {
        while self.bytes > MAX_BYTES
            && let Some((_, key)) = self.answered.pop_front()
        {
            self.forget(&key);
            self.numbers.forgotten += 1;
        }
    }

    fn forget(&mut self, key: &KeyHash) {
        if let Some(Entry { state: State::Answered(answer), .. }) = self.entries.remove(key) {
            self.bytes -= answer.cost();
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::http::publish::PublishScope;

    fn key(text: &str, fingerprint: u64) -> Option<Keyed<'_>> {
        Some(Keyed { kind: KeyKind::Event, app: "1", text, fingerprint })
    }

    async fn claim(keys: &Arc<IdempotencyKeys>, text: &str, now: u64) -> Claim {
        let now = Duration::from_secs(now);
        keys.claim(&[key(text, 1)], now).await.unwrap().remove(0)
    }

    fn answer(claim: Claim, body: &'static [u8], now: u64) {
        let Claim::First(claimed) = claim else { panic!("{claim:?}") };
        let answer =
            Answer { body: Bytes::from_static(body), ..Answer::plain(PublishScope::AllNodes) };
        claimed.answer(answer, Duration::from_secs(now));
    }

    #[tokio::test]
    async fn a_key_is_remembered_for_five_minutes() {
        let keys = Arc::<IdempotencyKeys>::default();
        answer(claim(&keys, "a", 0).await, b"first", 10);
        let Claim::Repeat(repeat) = claim(&keys, "a", 309).await else { panic!() };
        assert_eq!(repeat.body, "first");
        assert!(matches!(claim(&keys, "a", 310).await, Claim::First(_)));
        keys.sweep(Duration::from_secs(310));
        let table = keys.lock();
        assert_eq!((table.entries.len(), table.bytes), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repeat_waits_for_the_first_answer() {
        let keys = Arc::<IdempotencyKeys>::default();
        let first = claim(&keys, "a", 0).await;
        let waiting = tokio::spawn({
            let keys = keys.clone();
            async move { claim(&keys, "a", 0).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        answer(first, b"x", 0);
        assert!(matches!(waiting.await.unwrap(), Claim::Repeat(_)));
        // A request that fails frees its key.
        let failing = claim(&keys, "b", 0).await;
        let waiting = tokio::spawn({
            let keys = keys.clone();
            async move { claim(&keys, "b", 0).await }
        });
        tokio::task::yield_now().await;
        drop(failing);
        let second = waiting.await.unwrap();
        assert!(matches!(second, Claim::First(_)));
        let error = keys.claim(&[key("b", 1)], Duration::ZERO).await.unwrap_err();
        assert_eq!(error, PublishError::KeyInProgress);
    }

    #[tokio::test]
    async fn a_batch_claims_all_of_its_keys_or_none() {
        let keys = Arc::<IdempotencyKeys>::default();
        let now = Duration::ZERO;
        let claims = keys.claim(&[key("a", 1), None, key("a", 1), key("b", 2)], now).await.unwrap();
        let [Claim::First(_), Claim::Unkeyed, Claim::SameAs(0), Claim::First(_)] = &claims[..]
        else {
            panic!("{claims:?}");
        };
        drop(claims);
        assert!(keys.lock().entries.is_empty());
        let error = keys.claim(&[key("a", 1), key("a", 2)], now).await.unwrap_err();
        assert_eq!(error, PublishError::KeyReused);
        assert!(keys.lock().entries.is_empty());
        let other = keys.claim(&[key("a", 1)], now).await.unwrap();
        let error = keys.claim(&[key("b", 1), key("a", 2)], now).await.unwrap_err();
        assert_eq!(error, PublishError::KeyReused);
        drop(other);
    }

    #[tokio::test]
    async fn the_oldest_keys_are_forgotten_early_when_there_are_too_many() {
        const BODY: &[u8] = &[b' '; 1 << 20];
        let keys = Arc::<IdempotencyKeys>::default();
        for n in 0..MAX_BYTES / BODY.len() {
            answer(claim(&keys, &n.to_string(), 0).await, BODY, 0);
        }
        assert_eq!(keys.numbers(), KeyNumbers { repeats: 0, forgotten: 1 });
        assert!(matches!(claim(&keys, "1", 0).await, Claim::Repeat(_)));
        assert!(matches!(claim(&keys, "0", 0).await, Claim::First(_)));
    }
}
