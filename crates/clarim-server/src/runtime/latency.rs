//! Delivery latency: the time from an entry in a worker's inbox to its sockets.

use std::collections::VecDeque;
use std::time::Instant;

use crate::sync::Histogram;

/// Measures the delivery latency of one worker.
///
/// Everything taken from the inbox at one time is one batch. Its latency runs from the arrival of its first
/// entry to the write to the last socket concerned. Sockets that are not writable are not waited for: the
/// size of the send queues shows those.
#[derive(Debug, Default)]
pub(crate) struct DeliveryLatency {
    /// The oldest batch first. Sockets are written in the order in which they got something, so the oldest
    /// batch is also done first.
    batches: VecDeque<Batch>,
}

#[derive(Debug)]
struct Batch {
    arrived: Instant,
    /// The number of writes after which this batch is done.
    last_write: u64,
}

impl DeliveryLatency {
    pub(crate) fn begin(&mut self, arrived: Instant, last_write: u64) {
        // A batch that is done with an earlier one, as when a client sends many messages in one turn, is
        // counted as part of that.
        if self.batches.back().is_none_or(|batch| batch.last_write < last_write) {
            self.batches.push_back(Batch { arrived, last_write });
        }
    }

    /// Records the batches that are done after this number of writes.
    pub(crate) fn record(&mut self, writes: u64, times: &Histogram) {
        let is_done = |batch: &mut Batch| batch.last_write <= writes;
        let Some(mut batch) = self.batches.pop_front_if(is_done) else {
            return;
        };
        let now = Instant::now();
        loop {
            times.add(now.saturating_duration_since(batch.arrived));
            match self.batches.pop_front_if(is_done) {
                Some(next) => batch = next,
                None => break,
            }
        }
        // Give back the memory of a burst.
        if self.batches.is_empty() && self.batches.capacity() > 4096 {
            self.batches = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_batch_is_done_with_the_write_to_its_last_socket() {
        let mut latency = DeliveryLatency::default();
        let times = Histogram::default();
        let arrived = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        latency.begin(arrived, 300);
        // Nothing more has to be written for this one.
        latency.begin(arrived, 300);
        latency.begin(arrived, 301);
        latency.record(256, &times);
        assert_eq!(times.count(), 0);
        latency.record(300, &times);
        assert_eq!(times.count(), 1);
        latency.record(301, &times);
        assert_eq!(times.count(), 2);
        assert!(times.microseconds.get() >= 2_000_000);
    }
}
