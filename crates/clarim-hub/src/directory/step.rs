//! One step on a channel: its surroundings, and the outputs that it collects.

use std::time::Duration;

use clarim_cluster::{ClusterMessage, NodeId, PART_BYTES, encode};
use clarim_protocol::Frame;

use super::clock::LogicalClock;
use crate::address::{ChannelKey, WorkerId};
use crate::app::{App, Apps};
use crate::outputs::{BusCommand, ChannelEvent, Output, Outputs, SyncKind, WorkerMessage};

/// The configuration of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeConfig {
    /// Number of workers.
    pub workers: u16,
    /// Time of day at the node's start, since 1970. The logical clock, which orders cached events, begins
    /// with it.
    pub epoch: Duration,
    /// The node's id in its cluster; `None` without a cluster.
    pub node_id: Option<NodeId>,
    /// Whether clients can negotiate compression. If so, frames for many connections have room for their
    /// compressed form, which the first worker that needs it fills in for all.
    pub compression: bool,
    /// Bytes of members or names in one part of a long message to other nodes.
    pub part_bytes: usize,
}

impl NodeConfig {
    /// A node without cluster and compression, whose time begins in 1970.
    #[must_use]
    pub const fn new(workers: u16) -> Self {
        let epoch = Duration::ZERO;
        Self { workers, epoch, node_id: None, compression: false, part_bytes: PART_BYTES }
    }
}

/// The surroundings of one step.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) apps: &'a Apps,
    pub(crate) config: NodeConfig,
    pub(crate) clock: &'a LogicalClock,
    pub(crate) now: Duration,
    pub(crate) outputs: &'a mut Outputs,
}

impl<'a> Step<'a> {
    /// Returns the channel's app.
    pub(crate) fn app(&self, key: &ChannelKey) -> &'a App {
        self.apps.get(key.app)
    }

    pub(crate) fn is_clustered(&self) -> bool {
        self.config.node_id.is_some()
    }

    /// Prepares a frame for delivery to many connections.
    pub(crate) fn shared(&self, frame: &Frame) -> Frame {
        if self.config.compression { frame.compressible() } else { frame.clone() }
    }

    pub(crate) fn send(&mut self, worker: WorkerId, message: WorkerMessage) {
        self.outputs.push(Output::Worker(worker, message));
    }

    pub(crate) fn bus(&mut self, command: BusCommand) {
        self.outputs.push(Output::Bus(command));
    }

    pub(crate) fn report(&mut self, event: ChannelEvent) {
        self.outputs.push(Output::ChannelEvent(event));
    }

    /// Sends a message about the channel to the other nodes.
    pub(crate) fn publish_sync(&mut self, key: &ChannelKey, message: &ClusterMessage<'_>) {
        if let Some(node) = self.config.node_id {
            let kind = match message {
                ClusterMessage::SyncRequest(_) => SyncKind::Request,
                &ClusterMessage::StateChange { number, .. } => SyncKind::Change { number },
                ClusterMessage::VersionDigest(_) => SyncKind::Version,
                _ => SyncKind::Other,
            };
            let message = encode(node, message);
            self.bus(BusCommand::Sync { channel: key.clone(), message, kind });
        }
    }
}
