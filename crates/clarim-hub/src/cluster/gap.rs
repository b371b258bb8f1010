//! Events of other nodes that this node may have missed.

use std::time::Duration;

use super::OnGap;
use crate::address::ChannelKey;
use crate::node::{Node, SHARDS};
use crate::outputs::OutputSink;
use crate::snapshot::SavedCluster;

/// A gap in what this node has received: without the bus it may have missed events of other nodes.
#[derive(Debug)]
pub(super) struct Gap {
    on_gap: OnGap,
    /// Whether others may have published since the bus was lost.
    is_open: bool,
    /// Whether this node knew no others when it lost the bus. Others may have come since.
    was_alone: bool,
    /// Whether external publishers have used the bus.
    pub(super) has_publishers: bool,
    /// The shard whose subscribers are notified next.
    next_shard: Option<usize>,
}

impl Gap {
    pub(super) fn new(on_gap: OnGap) -> Self {
        Self { on_gap, is_open: false, was_alone: false, has_publishers: false, next_shard: None }
    }

    /// Adds what a snapshot keeps of it.
    pub(super) fn save(&self, saved: &mut SavedCluster) {
        saved.is_gap_open = self.is_open;
        saved.was_alone = self.was_alone;
        saved.has_publishers = self.has_publishers;
    }

    pub(super) fn restore(&mut self, saved: &SavedCluster) {
        self.is_open = saved.is_gap_open;
        self.was_alone = saved.was_alone;
        self.has_publishers = saved.has_publishers;
    }

    /// Handles the loss of the bus, which connected this node with this many others.
    pub(super) fn begin(&mut self, others: usize) {
        self.is_open |= others > 0 || self.has_publishers;
        self.was_alone = !self.is_open;
    }

    /// Handles a sign of life of a node. `is_older`: it was there before the bus came back.
    pub(super) fn hear_node<S: OutputSink>(&mut self, is_older: bool, node: &Node<S>) {
        if is_older && std::mem::take(&mut self.was_alone) {
            self.begin_elsewhere(node);
        }
    }

    /// Handles that another node had events that may not have reached this one, on any channel.
    pub(super) fn begin_elsewhere<S: OutputSink>(&mut self, node: &Node<S>) {
        self.is_open = true;
        self.end(node);
    }

    /// Handles the return of the bus.
    pub(super) fn end<S: OutputSink>(&mut self, node: &Node<S>) {
        if std::mem::take(&mut self.is_open) {
            match self.on_gap {
                OnGap::Reconnect => node.send_subscribers_away(None),
                OnGap::Event => self.next_shard = Some(0),
            }
        }
    }

    /// Handles that a hand-over was not complete. It disconnects nobody.
    pub(super) fn end_hand_over(&mut self) {
        self.is_open = false;
        self.next_shard = Some(0);
    }

    /// Notifies the subscribers of one shard, if any are left.
    pub(super) fn proceed<S: OutputSink>(&mut self, node: &Node<S>, now: Duration) {
        if let Some(shard) = self.next_shard {
            node.step_in(shard, now, |shard, step| shard.announce_gap(step));
            self.next_shard = Some(shard + 1).filter(|next| *next < SHARDS);
        }
    }

    /// Handles that another node had events on this channel that may not have reached this one.
    pub(super) fn announce<S: OutputSink>(
        &self,
        channel: &ChannelKey,
        node: &Node<S>,
        now: Duration,
    ) {
        match self.on_gap {
            OnGap::Reconnect => node.send_subscribers_away(Some(channel)),
            OnGap::Event => node.step(channel, now, |shard, step| {
                let found = shard.channels.get(channel);
                found.into_iter().for_each(|found| found.announce_gap(channel, step));
            }),
        }
    }
}
