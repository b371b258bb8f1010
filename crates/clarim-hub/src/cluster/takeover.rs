//! Channels that only one node had, and that node has gone: this node is their backup. It opens them to learn
//! who is on other nodes now, before it reports who has left.

use std::time::Duration;

use super::channel_sync::backups;
use crate::node::{Node, SHARDS};
use crate::outputs::OutputSink;

/// Maximum number of channels that begin to open in one tick. Each costs the bus a subscription, and all
/// nodes on the channel a reply.
const MAX_PER_TICK: usize = 64;

/// Opens the channels bit by bit.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    is_due: bool,
}

impl Takeover {
    /// Looks for channels from now on.
    pub(super) fn begin(&mut self) {
        self.is_due = true;
    }

    /// Opens some of them. Call it in each tick.
    pub(super) fn proceed<S: OutputSink>(&mut self, node: &Node<S>, now: Duration) {
        if !self.is_due {
            return;
        }
        let mut room = MAX_PER_TICK;
        for shard in 0..SHARDS {
            room -=
                node.step_in(shard, now, |shard, step| backups::open_departed(shard, room, step));
        }
        self.is_due = room == 0;
    }
}
