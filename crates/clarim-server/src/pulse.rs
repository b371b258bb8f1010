//! Liveness of the workers, for a watchdog.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Set by a worker that has ended: it is not to be waited for.
const ENDED: u64 = u64::MAX;

/// Turns of one worker; in a cache line of its own, for it is written in each of them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Turns(AtomicU64);

/// A worker's own end.
#[derive(Debug)]
pub(crate) struct Pulse(Arc<Turns>);

impl Pulse {
    /// One more turn. Nobody else counts here, so it need not be one step.
    pub(crate) fn beat(&self) {
        self.0.0.store(self.0.0.load(Relaxed) + 1, Relaxed);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.0.0.store(ENDED, Relaxed);
    }
}

/// A check that every worker of a server is running, for a watchdog such as systemd's.
///
/// A server with a stuck worker serves some of its clients and not the others, and can't repair itself: it has
/// to be restarted.
#[derive(Debug, Clone)]
pub struct Liveness(Vec<(Arc<Turns>, u64)>);

impl Liveness {
    /// Minimum time between two checks. An idle worker runs every 100 ms.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(300);

    /// A pulse for each worker, and the check of all of them.
    pub(crate) fn of_workers(workers: usize) -> (Vec<Pulse>, Self) {
        let turns: Vec<Arc<Turns>> = (0..workers).map(|_| Arc::default()).collect();
        let pulses = turns.iter().cloned().map(Pulse).collect();
        (pulses, Self(turns.into_iter().map(|turns| (turns, ENDED)).collect()))
    }

    /// Returns the number of the first worker that has not run since the previous call. Calls have to be at
    /// least [`MIN_INTERVAL`](Self::MIN_INTERVAL) apart.
    pub fn stuck_worker(&mut self) -> Option<u16> {
        let mut first = None;
        for (id, (turns, seen)) in (0..).zip(&mut self.0) {
            let now = turns.0.load(Relaxed);
            if now == *seen && now != ENDED {
                first = first.or(Some(id));
            }
            *seen = now;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_does_not_turn_is_found_and_one_that_has_ended_is_not() {
        let (mut pulses, mut watch) = Liveness::of_workers(3);
        assert_eq!(watch.stuck_worker(), None, "nothing is known yet");
        assert_eq!(watch.stuck_worker(), Some(0));
        pulses[0].beat();
        pulses[2].beat();
        assert_eq!(watch.stuck_worker(), Some(1));
        pulses.iter().for_each(Pulse::beat);
        assert_eq!(watch.stuck_worker(), None, "it turns again");
        drop(pulses.split_off(1));
        pulses[0].beat();
        assert_eq!(watch.stuck_worker(), None);
        assert_eq!(watch.stuck_worker(), Some(0), "one that has ended hides nobody");
    }
}
