//! How long what has come for a worker is on its way to its sockets.

use std::collections::VecDeque;
use std::time::Instant;

use crate::metrics::Times;

/// What an inbox gave at one time is one batch: its time is that of the first entry in it, until the last
/// socket that got something of it was written to. Sockets that take no more are not waited for: what their
/// clients have not read is seen in the outboxes.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    /// When each began, and how many writes there will have been when it is over. The oldest is first, and
    /// sockets are written in the order in which they got something: so the oldest is over first.
    batches: VecDeque<(Instant, u64)>,
}

impl Lag {
    pub(crate) fn begin(&mut self, since: Instant, last: u64) {
        // What is over with an earlier batch, as when one client says much in one turn, is part of it.
        if self.batches.back().is_none_or(|batch| batch.1 < last) {
            self.batches.push_back((since, last));
        }
    }

    /// There have been so many writes.
    pub(crate) fn written(&mut self, writes: u64, times: &Times) {
        let is_over = |batch: &mut (Instant, u64)| batch.1 <= writes;
        let Some(mut batch) = self.batches.pop_front_if(is_over) else {
            return;
        };
        let now = Instant::now();
        loop {
            times.add(now.saturating_duration_since(batch.0));
            match self.batches.pop_front_if(is_over) {
                Some(next) => batch = next,
                None => break,
            }
        }
        // A burst must not keep its memory for ever.
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
    fn a_batch_is_over_when_its_last_socket_was_written_to() {
        let (mut lag, times) = (Lag::default(), Times::default());
        let since = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        lag.begin(since, 300);
        // Nothing new has to be written for it.
        lag.begin(since, 300);
        lag.begin(since, 301);
        lag.written(256, &times);
        assert_eq!(times.count(), 0);
        lag.written(300, &times);
        assert_eq!(times.count(), 1);
        lag.written(301, &times);
        assert_eq!(times.count(), 2);
        assert!(times.microseconds() >= 2_000_000);
    }
}
