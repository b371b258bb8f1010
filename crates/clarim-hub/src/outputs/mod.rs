//! Outputs: what follows from an input, as values.
//!
//! A step on a channel collects its outputs in order. The [`Node`](crate::Node) hands them to its
//! [`OutputSink`] before it releases the channel's lock. So workers, bus and webhooks all see the changes
//! of a channel in the order in which they happened.

mod ack;
mod events;
mod messages;

use std::vec::Drain;

pub use ack::{Delivery, DeliveryAck, DeliveryAcks, Placed};
pub use events::{ChannelEvent, ConnectionEvent, Migration, Occupant};
pub use messages::{BusCommand, Replayed, SyncKind, WorkerMessage};

use crate::address::WorkerId;

/// Above this capacity, a buffer gives its memory back after a step.
const MAX_IDLE_CAPACITY: usize = 64;

/// One thing for the server to do.
#[derive(Debug)]
pub enum Output {
    /// Append a message to a worker's inbox.
    Worker(WorkerId, WorkerMessage),
    /// Hand a command to the cluster's bus. Never on a node without a cluster.
    Bus(BusCommand),
    /// Report a lifecycle event of a channel, if the app's [hooks](crate::app::Hooks) ask for it.
    ChannelEvent(ChannelEvent),
    /// Report a lifecycle event of a connection, if the app's [hooks](crate::app::Hooks) ask for it.
    ConnectionEvent(ConnectionEvent),
    /// Suppress webhooks about a user or channel that moves between nodes. Only in a cluster.
    Migration(Migration),
}

/// Executes outputs. This is the hub's only way to the outside.
pub trait OutputSink {
    /// Executes one output. Called under a channel's lock, in the channel's order: it must only queue.
    fn execute(&self, output: Output);
}

/// The outputs of one step, in order. Each shard reuses its buffer, so a step allocates nothing here.
#[derive(Debug, Default)]
pub(crate) struct Outputs(Vec<Output>);

impl Outputs {
    pub(crate) fn push(&mut self, output: Output) {
        self.0.push(output);
    }

    pub(crate) fn drain(&mut self) -> Drain<'_, Output> {
        self.0.drain(..)
    }

    /// Gives back the memory that a large step needed.
    pub(crate) fn shrink(&mut self) {
        if self.0.capacity() > MAX_IDLE_CAPACITY {
            self.0.shrink_to(0);
        }
    }
}
