//! Resynchronization: publishing the states of all channels, one shard per tick.

use std::time::Duration;

use hashbrown::HashSet;

use super::{OnGap, channel_sync};
use crate::address::ChannelKey;
use crate::node::{Node, SHARDS};
use crate::outputs::OutputSink;
use crate::snapshot::SavedCluster;

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
    /// Whether this node knew no others when it lost the bus. Others may have come since.
    was_alone: bool,
    /// Whether external publishers have used the bus.
    has_publishers: bool,
    /// The shard whose subscribers are notified next.
    next_shard: Option<usize>,
}

impl Gap {
    /// Adds what a snapshot keeps of it.
    pub(super) fn save(&self, saved: &mut SavedCluster) {
        saved.is_gap_open = self.is_open;
        saved.was_alone = self.was_alone;
        saved.has_publishers = self.has_publishers;
    }

    pub(super) fn restored(saved: &SavedCluster) -> Self {
        let &SavedCluster { is_gap_open: is_open, was_alone, has_publishers, .. } = saved;
        Self { is_open, was_alone, has_publishers, next_shard: None }
    }

    /// Notes that an external publisher uses the bus.
    pub(super) fn meet_publisher(&mut self) {
        self.has_publishers = true;
    }

    /// Whether external publishers have used the bus.
    pub(super) fn has_publishers(&self) -> bool {
        self.has_publishers
    }

    /// Handles the loss of the bus, which connected this node with this many others.
    pub(super) fn begin(&mut self, others: usize) {
        self.is_open |= others > 0 || self.has_publishers;
        self.was_alone = !self.is_open;
    }

    /// Handles a sign of life of a node. `is_older`: it was there before the bus came back.
    pub(super) fn hear_node<S: OutputSink>(
        &mut self,
        is_older: bool,
        on_gap: OnGap,
        node: &Node<S>,
    ) {
        if is_older && std::mem::take(&mut self.was_alone) {
            self.begin_elsewhere(on_gap, node);
        }
    }

    /// Handles that another node had events that may not have reached this one, on any channel.
    pub(super) fn begin_elsewhere<S: OutputSink>(&mut self, on_gap: OnGap, node: &Node<S>) {
        self.is_open = true;
        self.end(on_gap, node);
    }

    /// Handles the return of the bus.
    pub(super) fn end<S: OutputSink>(&mut self, on_gap: OnGap, node: &Node<S>) {
        if std::mem::take(&mut self.is_open) {
            match on_gap {
                OnGap::Reconnect => node.send_subscribers_away(None),
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

/// Tells the subscribers of a channel on this node that they may have missed events of another node.
pub(super) fn announce_gap<S: OutputSink>(
    on_gap: OnGap,
    node: &Node<S>,
    channel: &ChannelKey,
    now: Duration,
) {
    match on_gap {
        OnGap::Reconnect => node.send_subscribers_away(Some(channel)),
        OnGap::Event => node.step(channel, now, |shard, step| {
            let found = shard.channels.get(channel);
            found.into_iter().for_each(|found| found.announce_gap(channel, step));
        }),
    }
}

/// Maximum number of channels that are remembered. With more of them, the other nodes announce a gap on all.
const MAX_UNSENT: usize = 10_000;

/// Channels with events of this node that may not have reached the others.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    channels: HashSet<ChannelKey, foldhash::fast::RandomState>,
    /// Whether there are more.
    is_incomplete: bool,
}

impl Unsent {
    /// Whether there are any.
    pub(super) fn has_some(&self) -> bool {
        self.is_incomplete || !self.channels.is_empty()
    }

    /// Makes them as they were saved. The other nodes announce a gap on all channels.
    pub(super) fn restored(saved: &SavedCluster) -> Self {
        Self { is_incomplete: saved.has_unsent, ..Self::default() }
    }

    /// Records that the bus did not accept an event on this channel, or a message about it. `None`: on any
    /// channel.
    pub(super) fn add(&mut self, channel: Option<ChannelKey>) {
        let channel = channel.filter(|_| self.channels.len() < MAX_UNSENT);
        self.is_incomplete |= channel.is_none();
        self.channels.extend(channel);
    }

    /// Takes the channels of which the other nodes get a notice, up to a number of them. `None` means all
    /// channels.
    pub(super) fn take(&mut self, max: usize) -> Vec<Option<ChannelKey>> {
        if std::mem::take(&mut self.is_incomplete) {
            self.channels = HashSet::default();
            return vec![None];
        }
        let channels = self.channels.extract_if(|_| true).take(max).map(Some).collect();
        if self.channels.is_empty() && self.channels.capacity() > 0 {
            self.channels = HashSet::default();
        }
        channels
    }
}
