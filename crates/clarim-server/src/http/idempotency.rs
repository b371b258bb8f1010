//! Idempotency keys: a key identifies an event or a request. What it identifies is published once, and
//! repeats get the first answer.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clarim_hub::AppIndex;
use hyper::header::{HeaderMap, HeaderValue};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::publish::{CheckedEvent, MAX_KEY_BYTES, PublishError, PublishScope, check_key};
use super::response::{ApiError, ApiResponse, json};
use crate::runtime::KeyNumbers;

/// The header with the key of a whole request.
const HEADER: &str = "idempotency-key";

/// Time for which a key is remembered after its answer.
const RETENTION: Duration = Duration::from_secs(300);

/// Maximum size of all keys and answers of a node, in bytes: some 500,000 keys.
const MAX_BYTES: usize = 64 << 20;

/// Time that a repeat waits for the answer to the first request.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Bytes of a key with an answer that has no body of its own.
const KEY_BYTES: usize = 128;

/// An answer to a published event or request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    pub(crate) scope: PublishScope,
    /// Some node has not replied.
    pub(crate) is_partial: bool,
}

impl Answer {
    /// The answer without attributes of channels.
    pub(crate) fn plain(scope: PublishScope) -> Self {
        Self { body: Bytes::from_static(b"{}"), scope, is_partial: false }
    }

    fn cost(&self) -> usize {
        KEY_BYTES + if self.body.len() > 2 { self.body.len() } else { 0 }
    }
}

impl From<Answer> for ApiResponse {
    fn from(answer: Answer) -> Self {
        let mut response = json(answer.body);
        let headers = response.headers_mut();
        if answer.scope == PublishScope::ThisNode {
            let warning = "local only: the bus is down, or not all nodes are back on it";
            headers.insert("clarim-warning", HeaderValue::from_static(warning));
        }
        if answer.is_partial {
            headers.insert("clarim-partial", HeaderValue::from_static("true"));
        }
        response
    }
}

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
    pub(crate) app: AppIndex,
    pub(crate) text: &'a str,
    /// A hash of the event or request: the same for repeats.
    pub(crate) fingerprint: u64,
}

/// Returns the key of a whole request.
pub(crate) fn header(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| check_key(text).is_ok());
    let message = format!("Idempotency-Key must have 1 to {MAX_KEY_BYTES} ASCII characters.");
    text.map(Some).ok_or_else(|| ApiError::malformed(message))
}

/// A key in the table. A hash, because the length of keys must not matter, and because a publisher must not
/// be able to find two of them that collide.
type KeyHash = (u64, u64);

/// The keys of the last five minutes.
#[derive(Debug, Default)]
pub(crate) struct IdempotencyKeys {
    hashers: (RandomState, RandomState),
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
    /// Dropped after the key was answered or freed.
    _ended: watch::Sender<()>,
}

impl ClaimedKey {
    /// Sets the answer that repeats get.
    pub(crate) fn answer(self, answer: Answer, now: Duration) {
        let mut table = self.keys.lock();
        let Some(entry) = table.entries.get_mut(&self.key) else { return };
        let cost = answer.cost();
        entry.state = State::Answered(answer);
        table.bytes += cost;
        table.answered.push_back((now + RETENTION, self.key));
        table.make_room();
    }
}

impl Drop for ClaimedKey {
    fn drop(&mut self) {
        let mut table = self.keys.lock();
        let is_open = |entry: &Entry| matches!(entry.state, State::InProgress(_));
        if table.entries.get(&self.key).is_some_and(is_open) {
            table.entries.remove(&self.key);
        }
    }
}

impl IdempotencyKeys {
    /// Returns a hash of what a key identifies.
    pub(crate) fn fingerprint(&self, content: impl Hash) -> u64 {
        self.hashers.0.hash_one(content)
    }

    /// Returns the key of an event, if it has one.
    pub(crate) fn of_event<'e>(&self, event: &'e CheckedEvent<'_>) -> Option<Keyed<'e>> {
        let text = event.idempotency_key?;
        let CheckedEvent { name, data, channels, except, info, .. } = event;
        let names: Vec<&str> = channels.iter().map(|key| key.name.as_str()).collect();
        let fingerprint = self.fingerprint((name, data.get(), names, except, info));
        let app = channels.first()?.app;
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
                Attempt::Claimed(claims) => return Ok(claims),
                Attempt::Wait(in_progress) => in_progress,
            };
            // Nothing is sent: the channel closes.
            if timeout_at(deadline, in_progress.changed()).await.is_err() {
                return Err(PublishError::KeyInProgress);
            }
        }
    }

    fn try_claim(
        self: &Arc<Self>,
        items: &[Option<Keyed<'_>>],
        now: Duration,
    ) -> Result<Attempt, PublishError> {
        let hashed = items.iter().map(|item| item.map(|item| (self.hash(item), item.fingerprint)));
        let hashed: Vec<Option<(KeyHash, u64)>> = hashed.collect();
        let mut table = self.lock();
        table.expire(now);
        for (key, fingerprint) in hashed.iter().flatten() {
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
            let Some((key, fingerprint)) = item else {
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
            claims.push(Claim::First(ClaimedKey { keys: self.clone(), key, _ended: ended }));
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

    pub(crate) fn numbers(&self) -> KeyNumbers {
        self.lock().numbers
    }

    fn hash(&self, keyed: Keyed<'_>) -> KeyHash {
        let Keyed { kind, app, text, .. } = keyed;
        let identity = (kind, app, text);
        (self.hashers.0.hash_one(identity), self.hashers.1.hash_one(identity))
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
    use clarim_hub::Apps;
    use clarim_hub::app::App;

    use super::*;

    fn app() -> AppIndex {
        Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap()
    }

    fn key(text: &str, fingerprint: u64) -> Option<Keyed<'_>> {
        Some(Keyed { kind: KeyKind::Event, app: app(), text, fingerprint })
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
