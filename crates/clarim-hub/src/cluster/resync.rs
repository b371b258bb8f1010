//! Resynchronization: publishing the states of all channels, one shard per tick.

use std::time::Duration;

use clarim_cluster::timing::{FORGET, REFRESH};

use crate::node::SHARDS;

/// A publication of all channels' states that is in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resync {
    pub(super) next_shard: usize,
    /// Whether the other nodes are to answer with theirs.
    pub(super) is_request: bool,
}

impl Resync {
    pub(super) fn start(is_request: bool) -> Self {
        Self { next_shard: 0, is_request }
    }

    /// Returns the rest of the resynchronization after `shard`, if there is one.
    pub(super) fn after(shard: usize, is_request: bool) -> Option<Self> {
        let next_shard = shard + 1;
        (next_shard < SHARDS).then_some(Self { next_shard, is_request })
    }
}

/// The publication of the versions of all channels' states, one shard after the other.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    next_shard: usize,
    due: Duration,
}

impl Refresh {
    /// Returns the shard whose turn it is, if it is time.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<usize> {
        if now < self.due {
            return None;
        }
        self.due = now + REFRESH / SHARDS as u32;
        let shard = self.next_shard;
        self.next_shard = (shard + 1) % SHARDS;
        Some(shard)
    }

    /// Returns the time since when a node must have confirmed a channel; `spared` is the time until which
    /// silence does not count.
    pub(super) fn since(now: Duration, spared: Duration) -> Duration {
        if now > spared + FORGET { now - FORGET } else { Duration::ZERO }
    }
}
