//! The logs of a bus in memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::log::{
    IDEMPOTENCY_WINDOW, IdempotencyKey, Log, LogEntry, LogPage, PageLimit, Position, Retention,
};

/// Number of logs from which on those that have ended are looked for.
const FEW: usize = 64;

/// All logs, by name.
#[derive(Debug, Default)]
pub(super) struct Logs {
    by_name: HashMap<Arc<str>, StoredLog>,
    /// The number of logs at which those that have ended are removed again.
    sweep_at: usize,
}

/// The outcome of an append.
pub(super) enum Append {
    Stored(LogEntry),
    /// The position of the entry that has the key.
    Duplicate(Position),
}

#[derive(Debug)]
struct StoredLog {
    /// The newest entry.
    current: Position,
    /// The newest entry that is not kept any more.
    start: u64,
    entries: VecDeque<StoredEntry>,
    bytes: u64,
    /// In the order in which they end.
    keys: VecDeque<StoredKey>,
    by_key: HashMap<IdempotencyKey, Position>,
    ends_at: Instant,
}

#[derive(Debug)]
struct StoredEntry {
    entry: LogEntry,
    at: Instant,
}

#[derive(Debug)]
struct StoredKey {
    key: IdempotencyKey,
    ends_at: Instant,
}

impl Logs {
    pub(super) fn append(
        &mut self,
        log: &Log,
        payload: Bytes,
        key: Option<&IdempotencyKey>,
    ) -> Append {
        let now = Instant::now();
        let stored = self.open(log, now);
        if let Some(first) = key.and_then(|key| stored.by_key.get(key)) {
            return Append::Duplicate(*first);
        }
        let entry = stored.append(payload, now);
        if let Some(key) = key {
            stored.by_key.insert(key.clone(), entry.position);
            let ends_at = now + IDEMPOTENCY_WINDOW;
            stored.keys.push_back(StoredKey { key: key.clone(), ends_at });
        }
        stored.trim(log.retention(), now);
        Append::Stored(entry)
    }

    pub(super) fn read(&mut self, log: &Log, after: u64, limit: PageLimit) -> LogPage {
        self.open(log, Instant::now()).page(after, limit)
    }

    pub(super) fn clear(&mut self) {
        self.by_name.clear();
    }

    /// The log, or a new one.
    fn open(&mut self, log: &Log, now: Instant) -> &mut StoredLog {
        if self.by_name.len() >= self.sweep_at.max(FEW) {
            self.by_name.retain(|_, stored| stored.ends_at > now);
            self.sweep_at = self.by_name.len() * 2;
        }
        let stored = self.by_name.entry(log.name().clone()).or_insert_with(|| StoredLog::new(now));
        if stored.ends_at < now {
            *stored = StoredLog::new(now);
        }
        let retention = log.retention();
        stored.ends_at = now + retention.idle();
        stored.trim(retention, now);
        stored
    }
}

impl StoredLog {
    fn new(now: Instant) -> Self {
        Self {
            current: Position { epoch: fastrand::u64(..), offset: 0 },
            start: 0,
            entries: VecDeque::new(),
            bytes: 0,
            keys: VecDeque::new(),
            by_key: HashMap::new(),
            ends_at: now,
        }
    }

    fn append(&mut self, payload: Bytes, now: Instant) -> LogEntry {
        let previous = self.current.offset;
        self.current.offset += 1;
        self.bytes += payload.len() as u64;
        let entry = LogEntry::new(self.current, previous, payload);
        self.entries.push_back(StoredEntry { entry: entry.clone(), at: now });
        entry
    }

    fn trim(&mut self, retention: Retention, now: Instant) {
        while let Some(oldest) = self.entries.front() {
            let is_kept = self.entries.len() <= retention.messages as usize
                && now.duration_since(oldest.at) < retention.ttl
                && (self.bytes <= retention.bytes || self.entries.len() == 1);
            if is_kept {
                break;
            }
            self.start = oldest.entry.position.offset;
            self.bytes -= oldest.entry.payload.len() as u64;
            self.entries.pop_front();
        }
        while let Some(first) = self.keys.pop_front_if(|first| first.ends_at <= now) {
            self.by_key.remove(&first.key);
        }
    }

    fn page(&self, after: u64, limit: PageLimit) -> LogPage {
        let from = self.entries.partition_point(|stored| stored.entry.position.offset <= after);
        let mut bytes = 0;
        let mut entries: Vec<LogEntry> = Vec::new();
        for StoredEntry { entry, .. } in self.entries.range(from..).take(limit.entries as usize) {
            bytes += entry.payload.len() as u64;
            if bytes > limit.bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        LogPage::new(self.current, self.start, entries)
    }
}
