//! The logical clock that orders the cached events of all nodes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clarim_cluster::NodeId;

/// Readings from this one on are not believed: they belong to the year 2255 or later.
const MAX_READING: u64 = 1 << 53;

/// The number of an event is the time of its clock and, in this many bits, the node.
const NODE_BITS: u32 = 10;

/// A clock that follows the fastest clock of the cluster: what is published after another node's event has
/// been heard of gets a greater time, however much the wall clocks of the two nodes differ.
#[derive(Debug)]
pub(crate) struct LogicalClock {
    /// The time of day at the node's start, since 1970.
    epoch: Duration,
    /// Microseconds that the clock is ahead of this node's time of day.
    ahead: AtomicU64,
}

impl LogicalClock {
    pub(crate) fn new(epoch: Duration) -> Self {
        Self { epoch, ahead: AtomicU64::new(0) }
    }

    /// Returns microseconds that never decrease.
    pub(crate) fn read(&self, now: Duration) -> u64 {
        self.own(now).saturating_add(self.ahead.load(Ordering::Relaxed)).min(MAX_READING)
    }

    /// Follows another node's clock, if it is ahead.
    pub(crate) fn observe(&self, reading: u64, now: Duration) {
        if reading < MAX_READING {
            self.ahead.fetch_max(reading.saturating_sub(self.own(now)), Ordering::Relaxed);
        }
    }

    /// Returns a number for an event of this node: greater than those of all events that it has heard of
    /// before.
    pub(crate) fn number(&self, node: Option<NodeId>, now: Duration) -> u64 {
        // Two nodes may publish at the same moment.
        let node = node.map_or(0, |node| node.0 & ((1 << NODE_BITS) - 1));
        self.read(now) << NODE_BITS | node
    }

    /// Follows the clock of the node that has given an event this number.
    pub(crate) fn observe_number(&self, number: u64, now: Duration) {
        self.observe(number >> NODE_BITS, now);
    }

    /// Whether a clock can have given an event this number.
    pub(crate) fn is_credible(number: u64) -> bool {
        number >> NODE_BITS < MAX_READING
    }

    fn own(&self, now: Duration) -> u64 {
        u64::try_from((self.epoch + now).as_micros()).unwrap_or(MAX_READING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_follows_the_fastest_node_and_never_runs_backwards() {
        let at = Duration::from_secs;
        let clock = LogicalClock::new(at(100));
        assert_eq!(clock.read(at(1)), 101_000_000);
        clock.observe(151_000_000, at(1));
        assert_eq!(clock.read(at(1)), 151_000_000);
        clock.observe(120_000_000, at(2));
        assert_eq!(clock.read(at(2)), 152_000_000);
        clock.observe(u64::MAX, at(3));
        assert_eq!(clock.read(at(3)), 153_000_000, "no clock is right that is so far ahead");
    }
}
