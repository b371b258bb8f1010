//! Counters of connections, messages and requests, kept by each thread for itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_hub::{Refusal, Rejected, WorkerId};
use serde::{Deserialize, Serialize};

use super::observer::Ended;
use crate::sync::{Counter, DropCounter, Histogram};

/// The counters of one thread. Only that thread writes them while it works, so counting costs no more than
/// an addition; the alignment keeps the counters of two threads out of one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) opened: Counter,
    /// By [`Ended`].
    pub(crate) closed: [Counter; Ended::ALL.len()],
    /// Rejected client requests, by [`Rejected`].
    pub(crate) rejected: [Counter; Rejected::ALL.len()],
    pub(crate) messages_received: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) writes: Counter,
    /// By the first digit of the status; 0 is not used.
    pub(crate) requests: [Counter; 6],
    /// Published events, counted once for each channel.
    pub(crate) published_events: Counter,
    /// Time from a checked publish request until all subscribers' send queues had its events.
    pub(crate) publish_times: Histogram,
    /// Time from an entry in a worker's inbox until all writable sockets concerned had been written to.
    pub(crate) delivery_times: Histogram,
    /// Bytes in send queues, updated once a second.
    pub(crate) outbox_bytes: Counter,
    /// The operating system's id of the thread; 0 if unknown.
    pub(crate) thread: Counter,
}

impl Counters {
    pub(crate) fn count_end(&self, cause: Ended) {
        self.closed[cause as usize].add(1);
    }

    /// Calls back with each counter that only grows.
    fn each(&self, mut with: impl FnMut(String, &Counter)) {
        let Self { opened, closed, rejected, requests, publish_times, delivery_times, .. } = self;
        with("opened".to_owned(), opened);
        for (ended, counter) in Ended::ALL.iter().zip(closed) {
            with(format!("closed {ended:?}"), counter);
        }
        for (why, counter) in Rejected::ALL.iter().zip(rejected) {
            with(format!("rejected {why:?}"), counter);
        }
        for (class, counter) in requests.iter().enumerate() {
            with(format!("requests {class}"), counter);
        }
        for (name, times) in [("publish", publish_times), ("delivery", delivery_times)] {
            for (n, counter) in times.buckets.iter().enumerate() {
                with(format!("{name} bucket {n}"), counter);
            }
            with(format!("{name} sum"), &times.microseconds);
        }
        with("messages_received".to_owned(), &self.messages_received);
        with("bytes_received".to_owned(), &self.bytes_received);
        with("frames_sent".to_owned(), &self.frames_sent);
        with("bytes_sent".to_owned(), &self.bytes_sent);
        with("writes".to_owned(), &self.writes);
        with("published_events".to_owned(), &self.published_events);
    }

    /// Counts one publish request.
    pub(crate) fn count_publish(&self, events: usize, took: Duration) {
        self.published_events.add(events as u64);
        self.publish_times.add(took);
    }
}

/// The counters of a server in a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedCounters {
    sums: BTreeMap<String, u64>,
    /// Refused connections by close code.
    refused: BTreeMap<u16, u64>,
    /// HTTP requests answered with an error, by status.
    failed: BTreeMap<u16, u64>,
}

/// Numbers of idempotency keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyNumbers {
    /// Repeats that got the first answer.
    pub(crate) repeats: u64,
    /// Keys that were forgotten early, because there were too many.
    pub(crate) forgotten: u64,
}

/// Time between two log lines about connections refused with one code.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Connections refused with one code.
#[derive(Debug, Default)]
struct RefusedCount {
    count: u64,
    unlogged: DropCounter,
}

/// The counters of all threads.
#[derive(Debug, Default)]
pub(crate) struct ServerCounters {
    pub(crate) workers: Vec<Arc<Counters>>,
    /// Of all threads that are not the server's own.
    outside: Arc<Counters>,
    refused: Mutex<BTreeMap<u16, RefusedCount>>,
    failed: Mutex<BTreeMap<u16, u64>>,
}

impl ServerCounters {
    pub(crate) fn new(workers: u16) -> Self {
        let workers = (0..workers).map(|_| Arc::default()).collect();
        Self { workers, ..Self::default() }
    }

    pub(crate) fn of(&self, worker: WorkerId) -> Arc<Counters> {
        self.workers[usize::from(worker.0)].clone()
    }

    pub(crate) fn outside(&self) -> Arc<Counters> {
        self.outside.clone()
    }

    /// Counts a refused connection and logs it, at most one of each code in a second: anybody can cause
    /// refusals.
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        let code = refusal.code.get();
        let mut all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = all.entry(code).or_default();
        refused.count += 1;
        let unlogged = refused.unlogged.add_within(REFUSAL_LOG_INTERVAL);
        drop(all);
        if let Some(times) = unlogged {
            tracing::info!(code, reason = refusal.message, times, "connection refused");
        }
    }

    /// Counts an HTTP request that was answered with an error.
    pub(crate) fn count_failed(&self, status: u16) {
        count_one(&self.failed, status);
    }

    /// Refused connections by close code.
    pub(crate) fn refused(&self) -> Vec<(String, u64)> {
        let all = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(code, refused)| (code.to_string(), refused.count)).collect()
    }

    /// HTTP requests answered with an error, by status.
    pub(crate) fn failed(&self) -> Vec<(String, u64)> {
        by_number(&self.failed)
    }

    /// Saves the sums over all threads, by the names of the counters.
    pub(crate) fn save(&self) -> SavedCounters {
        let all = self.workers.iter().chain([&self.outside]);
        let mut sums = BTreeMap::new();
        for counters in all {
            counters.each(|name, counter| *sums.entry(name).or_default() += counter.get());
        }
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        SavedCounters {
            sums,
            refused: refused.iter().map(|(code, refused)| (*code, refused.count)).collect(),
            failed: failed.clone(),
        }
    }

    /// Goes on from saved sums.
    pub(crate) fn restore(&self, saved: &SavedCounters) {
        self.outside.each(|name, counter| counter.add(saved.sums.get(&name).copied().unwrap_or(0)));
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, count) in &saved.refused {
            refused.entry(*code).or_default().count += count;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (status, count) in &saved.failed {
            *failed.entry(*status).or_default() += count;
        }
    }

    /// Sums one counter over all threads.
    pub(crate) fn sum(&self, which: impl Fn(&Counters) -> &Counter) -> u64 {
        let all = self.workers.iter().chain([&self.outside]);
        all.map(|counters| which(counters).get()).sum()
    }

    pub(crate) fn closed(&self, cause: Ended) -> u64 {
        self.sum(|counters| &counters.closed[cause as usize])
    }
}

fn count_one(counts: &Mutex<BTreeMap<u16, u64>>, number: u16) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    *counts.entry(number).or_default() += 1;
}

fn by_number(counts: &Mutex<BTreeMap<u16, u64>>) -> Vec<(String, u64)> {
    let counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    counts.iter().map(|(number, count)| (number.to_string(), *count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_on_after_a_hand_over() {
        let before = ServerCounters::new(2);
        before.of(WorkerId(1)).frames_sent.add(3);
        before.outside().count_publish(2, Duration::from_millis(1));
        before.count_failed(404);
        let after = ServerCounters::new(1);
        after.restore(&before.save());
        assert_eq!(after.save(), before.save());
        assert_eq!(after.sum(|counters| &counters.frames_sent), 3);
    }

    #[test]
    fn counters_of_two_threads_share_no_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }
}
