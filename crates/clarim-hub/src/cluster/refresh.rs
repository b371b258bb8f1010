//! The periodic publication of the versions of all states, one shard after the other.

use std::time::Duration;

use clarim_cluster::timing::{FORGET, REFRESH, TICK};
use clarim_cluster::{ClusterMessage, Membership, NodeId, Version};

use super::channel_sync::{self, Digests, Round};
use crate::node::{Node, SHARDS};
use crate::outputs::OutputSink;

/// Number of shards whose versions leave together.
const BATCH: usize = 16;

// Every shard is refreshed in time, and every batch leaves before the next one begins.
const _: () = assert!(REFRESH.as_millis() / SHARDS as u128 > TICK.as_millis());
const _: () = assert!(SHARDS.is_multiple_of(BATCH));

/// In one of this many rounds, the versions are published on the channels: nodes that do not know each other
/// on a channel send each other no digests of it.
const OPEN_ROUND: u64 = 10;

/// The shard that is refreshed next, and when.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    shard: usize,
    due: Duration,
    round: u64,
    digests: Digests,
}

impl Refresh {
    /// Refreshes a shard if it is due. `send` publishes a message to a node.
    pub(super) fn proceed<S: OutputSink>(
        &mut self,
        node: &Node<S>,
        members: &Membership,
        now: Duration,
        send: impl FnMut(NodeId, &ClusterMessage<'_>),
    ) {
        if now < self.due || members.count() == 0 {
            return;
        }
        // The versions were collected a while ago: the changes before them have left already.
        if self.shard.is_multiple_of(BATCH) {
            self.digests.send(node, send);
        }
        let spared = members.spared();
        let since = if now > spared + FORGET { now - FORGET } else { Duration::ZERO };
        let is_understood = members.version() >= Version::DIGESTS;
        let round = Round {
            since,
            digests: &mut self.digests,
            is_open: !is_understood || self.round % OPEN_ROUND == OPEN_ROUND - 1,
            has_shadows: members.version() >= Version::BACKUPS,
        };
        node.step_in(self.shard, now, |shard, step| channel_sync::refresh(shard, round, step));
        self.shard = (self.shard + 1) % SHARDS;
        self.round += u64::from(self.shard == 0);
        self.due = now + REFRESH / SHARDS as u32;
    }
}
