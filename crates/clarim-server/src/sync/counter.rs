//! Counters, histograms and the rate of warnings about dropped things.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upper bounds of a histogram's buckets, in microseconds.
pub(crate) const BUCKETS: [u64; 12] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 2_000_000];

/// Time between two warnings of one [`DropCounter`].
pub(crate) const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

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

/// A histogram of durations with the bounds in [`BUCKETS`], and their sum.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    pub(crate) buckets: [Counter; BUCKETS.len() + 1],
    pub(crate) microseconds: Counter,
}

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.add(micros);
        self.buckets[BUCKETS.partition_point(|bound| *bound < micros)].add(1);
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(Counter::get).sum()
    }
}

/// Counts dropped things between two warnings, so that a burst is logged once and not once per item.
#[derive(Debug, Default)]
pub(crate) struct DropCounter(Mutex<Dropped>);

#[derive(Debug, Default)]
struct Dropped {
    unlogged: u64,
    logged_at: Option<Instant>,
}

impl DropCounter {
    /// Counts one more. Returns the number to log, if a warning is due.
    pub(crate) fn add(&self) -> Option<u64> {
        self.add_within(BETWEEN_WARNINGS)
    }

    /// As [`add`](Self::add), with another time between two warnings.
    pub(crate) fn add_within(&self, between: Duration) -> Option<u64> {
        let now = Instant::now();
        let mut dropped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.unlogged += 1;
        if dropped.logged_at.is_some_and(|at| now.duration_since(at) < between) {
            return None;
        }
        dropped.logged_at = Some(now);
        Some(std::mem::take(&mut dropped.unlogged))
    }

    /// Takes the number that has not been logged yet, if there is any.
    pub(crate) fn take_unlogged(&self) -> Option<u64> {
        let mut dropped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (dropped.unlogged > 0).then(|| {
            dropped.logged_at = Some(Instant::now());
            std::mem::take(&mut dropped.unlogged)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_it_fits() {
        let histogram = Histogram::default();
        for micros in [50, 51, 2_000_000, 2_000_001] {
            histogram.add(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = histogram.buckets.iter().map(Counter::get).collect();
        assert_eq!(counts, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn a_burst_of_drops_is_logged_once() {
        let drops = DropCounter::default();
        assert_eq!(drops.add(), Some(1));
        assert_eq!(drops.add(), None);
        assert_eq!(drops.add(), None);
        assert_eq!(drops.take_unlogged(), Some(2));
        assert_eq!(drops.take_unlogged(), None);
    }
}
