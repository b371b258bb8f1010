//! Resynchronization: publishing the states of all channels, one shard per tick.

use std::time::Duration;

use super::channel_sync;
use crate::node::{Node, SHARDS};
use crate::outputs::OutputSink;

/// A publication of all channels' states, which may be in progress.
#[derive(Debug, Default)]
pub(super) struct Resync {
    next_shard: Option<usize>,
    /// Whether the other nodes are to answer with theirs.
    is_request: bool,
}

impl Resync {
    /// Begins anew. `is_request`: the other nodes answer with their states. They do so, too, if this was true
    /// for the publication in progress.
    pub(super) fn start(&mut self, is_request: bool) {
        let is_requesting = self.is_request && self.next_shard.is_some();
        *self = Self { next_shard: Some(0), is_request: is_request || is_requesting };
    }

    /// Publishes the states of one shard, if any are left.
    pub(super) fn proceed<S: OutputSink>(&mut self, node: &Node<S>, now: Duration) {
        if let Some(shard) = self.next_shard {
            let is_request = self.is_request;
            node.step_in(shard, now, |shard, step| {
                channel_sync::publish_all(shard, is_request, step);
            });
            self.next_shard = Some(shard + 1).filter(|next| *next < SHARDS);
        }
    }
}
