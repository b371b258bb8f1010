//! Counters of connections, messages and requests, kept by each thread for itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_hub::{Refusal, Rejected, WorkerId};

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

    /// Counts one publish request.
    pub(crate) fn count_publish(&self, events: usize, took: Duration) {
        self.published_events.add(events as u64);
        self.publish_times.add(took);
    }
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
    fn counters_of_two_threads_share_no_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }
}
