//! Logs: subjects whose last messages the server keeps.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::error::BusError;

/// Time for which the server remembers an [`IdempotencyKey`].
pub const IDEMPOTENCY_WINDOW: Duration = Duration::from_secs(300);

/// Maximum length of an [`IdempotencyKey`], in bytes.
const MAX_KEY: usize = 160;

/// Time that a log outlives its last use, beside twice its `ttl`.
const IDLE: Duration = Duration::from_secs(60);

/// A log of the server: the name that its entries are published under, and how long they are kept.
///
/// A log exists once it has been appended to or read. Its name is independent of subjects of messages:
/// subscribers of a subject do not receive the entries of a log with the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    name: Arc<str>,
    retention: Retention,
}

impl Log {
    /// A log with this name. All connections must name the same retention.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, retention: Retention) -> Self {
        Self { name: name.into(), retention }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// How long entries are kept.
    #[must_use]
    pub fn retention(&self) -> Retention {
        self.retention
    }
}

/// How many entries a log keeps, and for how long. The first bound that is reached counts.
///
/// NATS keeps entries for at least [`IDEMPOTENCY_WINDOW`], and does not bound the bytes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Retention {
    /// Maximum number of entries.
    pub messages: u32,
    /// Maximum age of an entry.
    pub ttl: Duration,
    /// Maximum bytes of all payloads. The newest entry is kept even if it is larger. NATS does not enforce
    /// it.
    pub bytes: u64,
}

impl Retention {
    /// Keeps at least one message, for at least a millisecond.
    #[must_use]
    pub fn new(messages: u32, ttl: Duration, bytes: u64) -> Self {
        Self { messages: messages.max(1), ttl: ttl.max(Duration::from_millis(1)), bytes }
    }

    /// Time after which a log ends that is neither appended to nor read: a reader that was away for less than
    /// `ttl` finds the same epoch, if others read the log once per `ttl`. In Redis and in a file, a log that
    /// was never appended to ends after half its `ttl` and five minutes.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.ttl.saturating_mul(2).saturating_add(IDLE)
    }
}

/// Support of a broker for logs.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogSupport {
    /// It keeps them.
    Kept,
    /// It keeps them, but drops any of them when its memory is full.
    Evicted {
        /// The broker's name for it, such as `allkeys-lru`.
        policy: String,
    },
    /// It keeps none: the reason, and the cure.
    Missing(BusError),
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    /// A random number of the log's data. It changes if the data is lost, or the log has not been used for
    /// [`Retention::idle`].
    pub epoch: u64,
    /// Number of an entry, or 0 before the first one. It grows with each entry of an epoch, usually by one.
    /// It skips numbers on NATS, and after a Redis server has been restarted or replaced.
    pub offset: u64,
}

/// An entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// Its position.
    pub position: Position,
    /// The offset of the entry before it, 0 if the server knows none. A reader of the log has missed entries
    /// if this is larger than the offset that it has seen last.
    pub previous: u64,
    /// The entry itself.
    pub payload: Bytes,
}

impl LogEntry {
    /// An entry, as a backend reports it.
    #[must_use]
    pub fn new(position: Position, previous: u64, payload: Bytes) -> Self {
        Self { position, previous, payload }
    }
}

/// Entries of a log after an offset, and what the log has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogPage {
    /// The log's current position: its newest entry, or a position that every later entry is after. Without
    /// entries, a reader who goes on after it misses none, unless the page was limited to 0 entries.
    pub current: Position,
    /// The log keeps every entry after this offset. A reader that has seen less has missed entries for good,
    /// or (on NATS) may have. NATS knows it if the connection follows the log and has read it within its
    /// `ttl`.
    pub start: u64,
    /// Entries in order. If the last one is before `current`, read on after it.
    pub entries: Vec<LogEntry>,
}

impl LogPage {
    /// A page, as a backend reports it.
    #[must_use]
    pub fn new(current: Position, start: u64, entries: Vec<LogEntry>) -> Self {
        Self { current, start, entries }
    }
}

/// Bounds of a [`LogPage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Maximum number of entries. With 0, only the log's position is read.
    pub entries: u32,
    /// Maximum bytes of all payloads. An entry that is larger is returned alone.
    pub bytes: u64,
}

/// A key under which a log accepts one entry within [`IDEMPOTENCY_WINDOW`]. At most 160 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// A key, if it can be one.
    ///
    /// # Errors
    /// [`InvalidIdempotencyKey`] if it is empty or too long.
    pub fn new(key: impl Into<Arc<str>>) -> Result<Self, InvalidIdempotencyKey> {
        let key = key.into();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(InvalidIdempotencyKey { bytes: key.len() });
        }
        Ok(Self(key))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An idempotency key of a wrong length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the idempotency key has {bytes} bytes; use 1 to {MAX_KEY}")]
pub struct InvalidIdempotencyKey {
    /// Its length.
    pub bytes: usize,
}
