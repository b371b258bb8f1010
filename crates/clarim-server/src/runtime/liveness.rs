//! Liveness of the workers, for a watchdog outside of the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Set by a worker that has ended, which is not stuck.
const ENDED: u64 = u64::MAX;

/// Number of a worker's turns. In a cache line of its own: the worker writes it in each turn.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Turns(AtomicU64);

/// A worker's heartbeat.
#[derive(Debug)]
pub(crate) struct Heartbeat(Arc<Turns>);

impl Heartbeat {
    /// Counts one turn. The worker is the only writer, so this need not be one atomic step.
    pub(crate) fn beat(&self) {
        self.0.0.store(self.0.0.load(Relaxed) + 1, Relaxed);
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.0.0.store(ENDED, Relaxed);
    }
}

/// A check that every worker of a server is running, for a watchdog such as systemd's.
///
/// A server with a stuck worker serves some of its clients and not the others, and can't repair itself: it
/// has to be restarted. Each clone keeps its own state.
#[derive(Debug, Clone)]
pub struct Liveness(Vec<Watched>);

#[derive(Debug, Clone)]
struct Watched {
    turns: Arc<Turns>,
    seen: u64,
}

impl Liveness {
    /// Minimum time between two checks. An idle worker runs every 100 ms.
    pub const MIN_INTERVAL: Duration = Duration::from_millis(300);

    /// Makes the heartbeat of each worker, and the check of all of them.
    pub(crate) fn new(workers: usize) -> (Vec<Heartbeat>, Self) {
        let turns: Vec<Arc<Turns>> = (0..workers).map(|_| Arc::default()).collect();
        let heartbeats = turns.iter().cloned().map(Heartbeat).collect();
        let watched = turns.into_iter().map(|turns| Watched { turns, seen: ENDED });
        (heartbeats, Self(watched.collect()))
    }

    /// Returns the number of the first worker that has not run since the previous call. Calls have to be at
    /// least [`MIN_INTERVAL`](Self::MIN_INTERVAL) apart.
    pub fn stuck_worker(&mut self) -> Option<u16> {
        let mut first = None;
        for (id, watched) in (0..).zip(&mut self.0) {
            let now = watched.turns.0.load(Relaxed);
            if now == watched.seen && now != ENDED {
                first = first.or(Some(id));
            }
            watched.seen = now;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_worker_is_found_and_an_ended_one_is_not() {
        let (mut heartbeats, mut liveness) = Liveness::new(3);
        assert_eq!(liveness.stuck_worker(), None, "nothing is known yet");
        assert_eq!(liveness.stuck_worker(), Some(0));
        heartbeats[0].beat();
        heartbeats[2].beat();
        assert_eq!(liveness.stuck_worker(), Some(1));
        heartbeats.iter().for_each(Heartbeat::beat);
        assert_eq!(liveness.stuck_worker(), None, "every worker has made a turn");
        drop(heartbeats.split_off(1));
        heartbeats[0].beat();
        assert_eq!(liveness.stuck_worker(), None);
        assert_eq!(liveness.stuck_worker(), Some(0), "an ended worker hides nobody");
    }
}
