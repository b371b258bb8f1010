//! Whether the workers still turn: a watchdog outside is told only while all of them do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use clarim_hub::WorkerId;

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

/// Compares the workers' turns with those of the time before.
#[derive(Debug, Clone)]
pub(crate) struct Watch(Vec<(Arc<Turns>, u64)>);

impl Watch {
    /// One pulse for each worker, and what looks at them.
    pub(crate) fn over(workers: usize) -> (Vec<Pulse>, Self) {
        let turns: Vec<Arc<Turns>> = (0..workers).map(|_| Arc::default()).collect();
        let pulses = turns.iter().cloned().map(Pulse).collect();
        (pulses, Self(turns.into_iter().map(|turns| (turns, ENDED)).collect()))
    }

    /// The first worker that has not turned since this was asked last. A worker without work turns with each
    /// sweep, so more than one of them must lie between two questions.
    pub(crate) fn stuck(&mut self) -> Option<WorkerId> {
        let mut first = None;
        for (id, (turns, seen)) in (0..).zip(&mut self.0) {
            let now = turns.0.load(Relaxed);
            if now == *seen && now != ENDED {
                first = first.or(Some(WorkerId(id)));
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
        let (mut pulses, mut watch) = Watch::over(3);
        assert_eq!(watch.stuck(), None, "nothing is known yet");
        assert_eq!(watch.stuck(), Some(WorkerId(0)));
        pulses[0].beat();
        pulses[2].beat();
        assert_eq!(watch.stuck(), Some(WorkerId(1)));
        pulses.iter().for_each(Pulse::beat);
        assert_eq!(watch.stuck(), None, "it turns again");
        drop(pulses.split_off(1));
        pulses[0].beat();
        assert_eq!(watch.stuck(), None);
        assert_eq!(watch.stuck(), Some(WorkerId(0)), "one that has ended hides nobody");
    }
}
