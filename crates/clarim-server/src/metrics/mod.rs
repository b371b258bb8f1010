//! What is counted.

mod scrape;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_hub::{Rejected, WorkerId};
use clarim_protocol::Code;
pub(crate) use scrape::{CONTENT_TYPE, Scrape};

use crate::events::Ended;

/// Upper ends of the buckets for times, in microseconds.
const BUCKETS: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 2_000_000];

/// What one thread counts. Nobody else writes here while it works, so it costs no more than an addition;
/// the alignment keeps the counters of two threads out of one cache line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Counters {
    pub(crate) opened: Counter,
    /// By what has ended them; see [`ENDS`].
    pub(crate) closed: [Counter; ENDS.len()],
    /// What clients have asked for in vain, by [`Rejected`].
    pub(crate) rejected: [Counter; Rejected::ALL.len()],
    pub(crate) messages_received: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) frames_sent: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) writes: Counter,
    /// By the first digit of the status; 0 is not used.
    pub(crate) requests: [Counter; 6],
    pub(crate) published: Publishes,
    /// From when something came for a worker until all sockets that could take it had been written to.
    pub(crate) delivered: Times,
    /// Looked at once a second.
    pub(crate) outbox_bytes: Counter,
    /// The operating system's number for the thread.
    pub(crate) thread: Counter,
}

/// What ends connections, as the label says it, by [`Ended`].
const ENDS: [&str; 4] = ["client", "server", "slow", "lost"];

/// A number that goes up, or is set.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Events of backends, and how long it took until all subscribers' outboxes had them.
#[derive(Debug, Default)]
pub(crate) struct Publishes {
    events: Counter,
    times: Times,
}

impl Publishes {
    /// Takes note of one request that published so many events.
    pub(crate) fn add(&self, events: usize, took: Duration) {
        self.events.add(events as u64);
        self.times.add(took);
    }
}

/// How long something took, each time: how often up to the end of each of [`BUCKETS`], and how long in all.
#[derive(Debug, Default)]
pub(crate) struct Times {
    buckets: [Counter; BUCKETS.len() + 1],
    microseconds: Counter,
}

impl Times {
    pub(crate) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.add(micros);
        self.buckets[BUCKETS.partition_point(|end| *end < micros)].add(1);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }

    #[cfg(test)]
    pub(crate) fn microseconds(&self) -> u64 {
        self.microseconds.get()
    }
}

impl Counters {
    pub(crate) fn ended(&self, how: Ended) {
        self.closed[how as usize].add(1);
    }
}

/// The counters of all threads.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    workers: Vec<Arc<Counters>>,
    /// Of all threads that are not the server's own.
    outside: Arc<Counters>,
    refused: Mutex<BTreeMap<u16, u64>>,
    /// HTTP requests that were answered with an error, by status.
    failed: Mutex<BTreeMap<u16, u64>>,
}

impl Metrics {
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

    /// All publishes: how many events, how many requests took up to so many microseconds, and how many all.
    pub(crate) fn publishes(&self) -> serde_json::Value {
        let buckets = (0..=BUCKETS.len())
            .map(|n| self.sum(|counters| &counters.published.times.buckets[n]))
            .collect::<Vec<_>>();
        serde_json::json!({
            "events": self.sum(|counters| &counters.published.events),
            "microseconds": self.sum(|counters| &counters.published.times.microseconds),
            "ends": BUCKETS,
            "buckets": buckets,
        })
    }

    /// Takes note of a connection that was not let in.
    pub(crate) fn refuse(&self, code: Code) {
        count_one(&self.refused, code.get());
    }

    /// Takes note of an HTTP request that was answered with an error.
    pub(crate) fn fail(&self, status: u16) {
        count_one(&self.failed, status);
    }

    pub(crate) fn sum(&self, which: impl Fn(&Counters) -> &Counter) -> u64 {
        let all = self.workers.iter().chain([&self.outside]);
        all.map(|counters| which(counters).get()).sum()
    }

    pub(crate) fn closed(&self, how: Ended) -> u64 {
        self.sum(|counters| &counters.closed[how as usize])
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
    fn a_publish_counts_in_the_first_bucket_that_it_fits() {
        let published = Publishes::default();
        for micros in [50, 51, 2_000_000, 2_000_001] {
            published.add(2, Duration::from_micros(micros));
        }
        let counts: Vec<u64> = published.times.buckets.iter().map(Counter::get).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(published.events.get(), 8);
    }

    #[test]
    fn counters_of_two_threads_share_no_cache_line() {
        assert_eq!(align_of::<Counters>(), 128);
        assert_eq!(size_of::<Counters>() % 128, 0);
    }
}
