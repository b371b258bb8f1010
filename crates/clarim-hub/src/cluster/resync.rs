//! Resynchronization: publishing the states of all channels, one shard per tick.

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
