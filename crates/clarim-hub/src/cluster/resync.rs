//! Resynchronization: publishing the states of all channels, one shard per tick.

use std::time::Duration;

use super::channel_sync;
use crate::node::{Node, SHARDS};
use crate::outputs::OutputSink;

/// A publication of all channels' states that is in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resync {
    next_shard: usize,
    /// Whether the other nodes are to answer with theirs.
    pub(super) is_request: bool,
}

impl Resync {
    pub(super) fn start(is_request: bool) -> Self {
        Self { next_shard: 0, is_request }
    }

    /// Publishes the states of one shard. Returns the rest of the resynchronization, if there is one.
    pub(super) fn proceed<S: OutputSink>(self, node: &Node<S>, now: Duration) -> Option<Self> {
        let Self { next_shard, is_request } = self;
        node.step_in(next_shard, now, |shard, step| {
            channel_sync::publish_all(shard, is_request, step);
        });
        let next_shard = next_shard + 1;
        (next_shard < SHARDS).then_some(Self { next_shard, is_request })
    }
}
