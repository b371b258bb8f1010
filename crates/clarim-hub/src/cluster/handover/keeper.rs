//! Messages that are kept for nodes while they are handed over.

use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::HAND_OVER_TIME;
use clarim_cluster::{ClusterMessage, KeptEvent, NodeId};
use hashbrown::HashMap;

use crate::address::ChannelKey;

/// Maximum size of the messages that are kept for a node, in bytes, and of those that wait until it has got
/// them.
pub(super) const MAX_KEPT: usize = 8 << 20;

/// Bytes of a message beside its content.
pub(super) const EVENT_BYTES: usize = 64;

/// A message that this node keeps for another one.
#[derive(Debug)]
struct Kept {
    channel: ChannelKey,
    at: u64,
    message: Bytes,
}

/// The messages that are kept for a node, in the order in which they were published.
#[derive(Debug)]
pub(in crate::cluster) struct Keeper {
    events: Vec<Kept>,
    bytes: usize,
    is_complete: bool,
    until: Duration,
}

/// The nodes that are being handed over.
#[derive(Debug, Default)]
pub(in crate::cluster) struct Keepers(HashMap<NodeId, Keeper, foldhash::fast::RandomState>);

impl Keepers {
    /// Begins to keep messages for a node.
    pub(in crate::cluster) fn begin(&mut self, node: NodeId, now: Duration) {
        let until = now + HAND_OVER_TIME;
        let keeper = Keeper { events: Vec::new(), bytes: 0, is_complete: true, until };
        self.0.insert(node, keeper);
    }

    pub(in crate::cluster) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Keeps a message on a channel. `at` is the reading of the logical clock.
    pub(in crate::cluster) fn keep(&mut self, channel: &ChannelKey, message: &Bytes, at: u64) {
        self.0.values_mut().for_each(|keeper| keeper.keep(channel, message, at));
    }

    /// Returns what is kept for a node, if it is being handed over.
    pub(in crate::cluster) fn of(&mut self, node: NodeId) -> Option<&mut Keeper> {
        self.0.get_mut(&node)
    }

    /// Handles a message that cannot be kept.
    pub(in crate::cluster) fn give_up(&mut self) {
        self.0.values_mut().for_each(Keeper::give_up);
    }

    /// Takes what was kept for a node that is back.
    pub(in crate::cluster) fn take(&mut self, node: NodeId) -> Option<Keeper> {
        self.0.remove(&node)
    }

    /// Forgets nodes that have not come back in time. Returns whether there were any.
    pub(in crate::cluster) fn expire(&mut self, now: Duration) -> bool {
        let count = self.0.len();
        self.0.retain(|_, keeper| now < keeper.until);
        self.0.len() < count
    }
}

impl Keeper {
    /// Keeps a message about a channel. `at` is the reading of the logical clock.
    pub(in crate::cluster) fn keep(&mut self, channel: &ChannelKey, message: &Bytes, at: u64) {
        self.bytes += message.len() + EVENT_BYTES;
        if self.bytes > MAX_KEPT {
            self.give_up();
        }
        if self.is_complete {
            self.events.push(Kept { channel: channel.clone(), at, message: message.clone() });
        }
    }

    fn give_up(&mut self) {
        self.is_complete = false;
        self.events = Vec::new();
    }

    /// Makes everything into messages of about `part_bytes`. `app_id` returns the id of a channel's app.
    pub(in crate::cluster) fn messages<'a>(
        &'a self,
        part_bytes: usize,
        app_id: impl Fn(&'a ChannelKey) -> &'a str,
        mut send: impl FnMut(ClusterMessage<'a>),
    ) {
        let mut size = 0;
        let parts = self.events.chunk_by(|event, _| {
            size += event.message.len() + EVENT_BYTES;
            let fits = size <= part_bytes;
            size = if fits { size } else { 0 };
            fits
        });
        let mut count = 0;
        for part in parts {
            let events = part.iter().map(|Kept { channel, at, message }| KeptEvent {
                app: app_id(channel),
                channel: channel.name.as_str(),
                at: *at,
                message,
            });
            count += part.len() as u32;
            send(ClusterMessage::KeptEvents(events.collect()));
        }
        send(ClusterMessage::KeptEnd { count, is_complete: self.is_complete });
    }
}
