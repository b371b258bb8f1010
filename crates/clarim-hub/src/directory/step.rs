//! One step on a channel: its surroundings, and the outputs that it collects.

use std::time::Duration;

use clarim_cluster::{ClusterMessage, NodeId, PART_BYTES, encode};
use clarim_protocol::Frame;

use super::clock::LogicalClock;
use crate::address::{ChannelKey, WorkerId};
use crate::app::{App, Apps};
use crate::outputs::{BusCommand, ChannelEvent, Output, Outputs, SyncKind, WorkerMessage};

/// The bus of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum NodeBus {
    /// There is none: histories are in memory.
    #[default]
    None,
    /// It keeps the histories of channels, and connects no other nodes. The node's id marks its own events.
    Logs(NodeId),
    /// It connects the nodes of a cluster, and keeps their histories. The node has this id.
    Cluster(NodeId),
}

impl NodeBus {
    /// The node's id on the bus.
    #[must_use]
    pub fn id(self) -> Option<NodeId> {
        match self {
            Self::None => None,
            Self::Logs(id) | Self::Cluster(id) => Some(id),
        }
    }
}

/// The configuration of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeConfig {
    /// Number of workers.
    pub workers: u16,
    /// Time of day at the node's start, since 1970. The logical clock, which orders cached events, begins
    /// with it.
    pub epoch: Duration,
    /// The node's bus.
    pub bus: NodeBus,
    /// Whether clients can negotiate compression. If so, frames for many connections have room for their
    /// compressed form, which the first worker that needs it fills in for all.
    pub compression: bool,
    /// Bytes of members or names in one part of a long message to other nodes.
    pub part_bytes: usize,
}

impl NodeConfig {
    /// A node without bus and compression, whose time begins in 1970.
    #[must_use]
    pub const fn new(workers: u16) -> Self {
        let epoch = Duration::ZERO;
        Self { workers, epoch, bus: NodeBus::None, compression: false, part_bytes: PART_BYTES }
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

    /// Whether there may be other nodes.
    pub(crate) fn is_clustered(&self) -> bool {
        matches!(self.config.bus, NodeBus::Cluster(_))
    }

    /// Whether the bus keeps the histories of channels.
    pub(crate) fn has_logs(&self) -> bool {
        self.config.bus != NodeBus::None
    }

    /// Whether a channel is on the bus: it may be on other nodes, or the bus keeps its history.
    pub(crate) fn is_on_bus(&self, key: &ChannelKey) -> bool {
        match self.config.bus {
            NodeBus::None => false,
            NodeBus::Logs(_) => self.app(key).history_of(&key.name).is_some(),
            NodeBus::Cluster(_) => true,
        }
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

    /// Reports an event of this node, unless there may be other nodes. Then it is reported when the bus
    /// returns this node's own message: see [`apply_own_change`](crate::cluster::Cluster).
    pub(crate) fn report_local(&mut self, is_wanted: bool, event: impl FnOnce() -> ChannelEvent) {
        if is_wanted && !self.is_clustered() {
            self.report(event());
        }
    }

    /// Sends a message about the channel to the other nodes.
    pub(crate) fn publish_sync(&mut self, key: &ChannelKey, message: &ClusterMessage<'_>) {
        if let NodeBus::Cluster(node) = self.config.bus {
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

    /// Sends a message about the channel to its backup, if it has one.
    pub(crate) fn back_up(
        &mut self,
        key: &ChannelKey,
        backup: Option<NodeId>,
        message: &ClusterMessage<'_>,
    ) {
        if let (Some(node), Some(backup)) = (self.config.bus.id(), backup) {
            let message = encode(node, message);
            self.bus(BusCommand::Backup { channel: key.clone(), backup, message });
        }
    }
}
