//! Resynchronization: publishing the states of all channels, one shard per tick.

use std::time::Duration;

use super::{OnGap, channel_sync};
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

/// A gap in what this node has received: without the bus it may have missed events of other nodes.
#[derive(Debug, Default)]
pub(super) struct Gap {
    /// Whether others may have published since the bus was lost.
    is_open: bool,
    /// Whether external publishers have used the bus.
    has_publishers: bool,
    /// The shard whose subscribers are notified next.
    next_shard: Option<usize>,
}

impl Gap {
    /// Notes that an external publisher uses the bus.
    pub(super) fn meet_publisher(&mut self) {
        self.has_publishers = true;
    }

    /// Handles the loss of the bus, which connected this node with this many others.
    pub(super) fn begin(&mut self, others: usize) {
        self.is_open |= others > 0 || self.has_publishers;
    }

    /// Handles the return of the bus.
    pub(super) fn end<S: OutputSink>(&mut self, on_gap: OnGap, node: &Node<S>) {
        if std::mem::take(&mut self.is_open) {
            match on_gap {
                OnGap::Reconnect => node.send_subscribers_away(),
                OnGap::Event => self.next_shard = Some(0),
            }
        }
    }

    /// Notifies the subscribers of one shard, if any are left.
    pub(super) fn proceed<S: OutputSink>(&mut self, node: &Node<S>, now: Duration) {
        if let Some(shard) = self.next_shard {
            node.step_in(shard, now, |shard, step| shard.announce_gap(step));
            self.next_shard = Some(shard + 1).filter(|next| *next < SHARDS);
        }
    }
}
