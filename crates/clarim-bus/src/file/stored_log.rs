//! What is known in memory of a log in the file: everything but payloads and keys.

use std::collections::VecDeque;
use std::time::Duration;

use super::database::{SavedEntry, SavedLog};
use crate::log::{IDEMPOTENCY_WINDOW, PageLimit, Position, Retention};

/// Part of its idle time by which a log's end may move before it is stored.
const END_STEP: u32 = 16;

/// A log that was appended to or read a short time ago.
#[derive(Debug)]
pub(super) struct StoredLog {
    saved: SavedLog,
    /// The ends of entries that are kept: they follow the start without a hole.
    entries: VecDeque<SavedEntry>,
    bytes: u64,
    /// Not before the first use.
    ends_at: Option<Duration>,
    pub(super) used_at: Duration,
    pub(super) is_dirty: bool,
}

impl StoredLog {
    /// A log without entries.
    pub(super) fn new(id: i64, era: i64) -> Self {
        let current = Position { epoch: fastrand::u64(1..), offset: 0 };
        let saved = SavedLog { id, era, current, start: 0, ends_at: Duration::ZERO };
        Self { ends_at: None, ..Self::of(saved, VecDeque::new(), true) }
    }

    /// A log as it was stored. In another era it gets another epoch, because the disk may lack its last
    /// entries.
    pub(super) fn load(saved: SavedLog, entries: Vec<SavedEntry>, era: i64) -> Self {
        let mut log = Self::of(saved, entries.into(), false);
        let SavedLog { current, start, .. } = log.saved;
        log.entries.retain(|entry| entry.offset > start);
        let is_complete = (start + 1..=current.offset).eq(log.entries.iter().map(|e| e.offset));
        if log.saved.era != era || !is_complete {
            log.saved.era = era;
            log.saved.current.epoch = fastrand::u64(1..);
            log.is_dirty = true;
        }
        if !is_complete {
            log.entries.clear();
            log.saved.start = current.offset;
        }
        log.bytes = log.entries.iter().map(|entry| entry.bytes).sum();
        log
    }

    fn of(saved: SavedLog, entries: VecDeque<SavedEntry>, is_dirty: bool) -> Self {
        let ends_at = Some(saved.ends_at);
        Self { saved, entries, bytes: 0, ends_at, used_at: Duration::ZERO, is_dirty }
    }

    pub(super) fn id(&self) -> i64 {
        self.saved.id
    }

    pub(super) fn current(&self) -> Position {
        self.saved.current
    }

    pub(super) fn start(&self) -> u64 {
        self.saved.start
    }

    /// Whether nobody has used the log for too long.
    pub(super) fn has_ended(&self, now: Duration) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }

    /// Returns the data to store.
    pub(super) fn save(&mut self) -> &SavedLog {
        self.saved.ends_at = self.ends_at.unwrap_or_default();
        self.is_dirty = false;
        &self.saved
    }

    /// Notes that the log is used.
    pub(super) fn touch(&mut self, retention: Retention, now: Duration) {
        self.used_at = now;
        // Readers may name any log, and each takes space.
        let idle = match self.saved.current.offset {
            0 => retention.idle().min(retention.ttl / 2 + IDEMPOTENCY_WINDOW),
            _ => retention.idle(),
        };
        let ends_at = now.saturating_add(idle);
        self.ends_at = Some(ends_at);
        self.is_dirty |= ends_at > self.saved.ends_at.saturating_add(idle / END_STEP);
        self.trim(retention, now);
    }

    /// Adds an entry. Returns it, to be stored.
    pub(super) fn append(&mut self, bytes: u64, retention: Retention, now: Duration) -> SavedEntry {
        self.saved.current.offset += 1;
        let entry = SavedEntry { offset: self.saved.current.offset, at: now, bytes };
        self.bytes += bytes;
        self.entries.push_back(entry);
        self.is_dirty = true;
        self.trim(retention, now);
        entry
    }

    fn trim(&mut self, retention: Retention, now: Duration) {
        while let Some(oldest) = self.entries.front() {
            let is_kept = self.entries.len() <= retention.messages as usize
                && now.saturating_sub(oldest.at) < retention.ttl
                && (self.bytes <= retention.bytes || self.entries.len() == 1);
            if is_kept {
                break;
            }
            self.saved.start = oldest.offset;
            self.bytes -= oldest.bytes;
            self.entries.pop_front();
            self.is_dirty = true;
        }
    }

    /// The number of entries after an offset that a page has room for.
    pub(super) fn count(&self, after: u64, limit: PageLimit) -> usize {
        let from = self.entries.partition_point(|entry| entry.offset <= after);
        let mut bytes = 0;
        let entries = self.entries.range(from..).take(limit.entries as usize);
        let fitting = entries.enumerate().take_while(|(n, entry)| {
            bytes += entry.bytes;
            bytes <= limit.bytes || *n == 0
        });
        fitting.count()
    }
}
