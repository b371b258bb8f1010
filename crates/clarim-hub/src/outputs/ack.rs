//! Acknowledgements: when a published event has been handed to all its receivers.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use clarim_cluster::Trace;
use clarim_protocol::Position;

use crate::address::ChannelKey;

/// Shared by every message that one publish creates. When the last copy is dropped, each worker concerned
/// has handed the event to its subscribers and the bus has accepted it.
#[derive(Clone)]
pub struct DeliveryAck(Arc<dyn Pending>);

impl DeliveryAck {
    /// Calls `completed` when the last copy is dropped.
    pub fn new(completed: impl FnOnce(Delivery) + Send + Sync + 'static) -> Self {
        Self::make(None, completed)
    }

    /// As [`new`](Self::new) for a traced event: the trace is passed on to the other nodes.
    pub fn traced(trace: Trace, completed: impl FnOnce(Delivery) + Send + Sync + 'static) -> Self {
        Self::make(Some(trace), completed)
    }

    fn make(
        trace: Option<Trace>,
        completed: impl FnOnce(Delivery) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Completion {
            is_partial: AtomicBool::new(false),
            is_unstored: AtomicBool::new(false),
            placed: Mutex::default(),
            trace,
            completed: Some(completed),
        }))
    }

    pub(crate) fn trace(&self) -> Option<Trace> {
        self.0.trace()
    }

    /// Records that the event did not leave this node.
    pub fn missed_the_bus(&self) {
        self.0.set_partial();
    }

    /// Records that the event is not in the history of a channel, and was not delivered.
    pub(crate) fn not_stored(&self) {
        self.0.set_unstored();
    }

    /// Records the event's place in the history of a channel.
    pub(crate) fn place(&self, channel: &ChannelKey, position: Position) {
        self.0.place(Placed { channel: channel.clone(), position });
    }

    /// Records the result of an acknowledgement that stands for a part of this one.
    pub fn pass_on(&self, delivery: Delivery) {
        if !delivery.is_complete {
            self.missed_the_bus();
        }
        if !delivery.is_stored {
            self.not_stored();
        }
        delivery.placed.into_iter().for_each(|placed| self.0.place(placed));
    }
}

/// The result of a publish.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whether the bus has accepted the events for the other nodes.
    pub is_complete: bool,
    /// Whether all events on channels with history were stored. The others were not delivered.
    pub is_stored: bool,
    /// The places of the events on channels with history; those on one channel in their order.
    pub placed: Vec<Placed>,
}

/// The place of an event in the history of its channel.
#[derive(Debug, PartialEq, Eq)]
pub struct Placed {
    /// The channel.
    pub channel: ChannelKey,
    /// The position behind the event.
    pub position: Position,
}

impl fmt::Debug for DeliveryAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeliveryAck({})", Arc::strong_count(&self.0))
    }
}

/// The acknowledgements of one event.
#[derive(Debug, Clone, Copy, Default)]
pub struct DeliveryAcks<'a> {
    /// Held by this node's workers.
    pub here: Option<&'a DeliveryAck>,
    /// Held until the bus has accepted the event.
    pub bus: Option<&'a DeliveryAck>,
}

impl<'a> DeliveryAcks<'a> {
    /// Uses one acknowledgement for both.
    #[must_use]
    pub fn of(ack: &'a DeliveryAck) -> Self {
        Self { here: Some(ack), bus: Some(ack) }
    }
}

trait Pending: Send + Sync {
    fn set_partial(&self);
    fn set_unstored(&self);
    fn place(&self, placed: Placed);
    fn trace(&self) -> Option<Trace>;
}

struct Completion<F: FnOnce(Delivery)> {
    is_partial: AtomicBool,
    is_unstored: AtomicBool,
    placed: Mutex<Vec<Placed>>,
    trace: Option<Trace>,
    completed: Option<F>,
}

impl<F: FnOnce(Delivery) + Send + Sync> Pending for Completion<F> {
    fn set_partial(&self) {
        self.is_partial.store(true, Ordering::Relaxed);
    }

    fn set_unstored(&self) {
        self.is_unstored.store(true, Ordering::Relaxed);
    }

    fn place(&self, placed: Placed) {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).push(placed);
    }

    fn trace(&self) -> Option<Trace> {
        self.trace
    }
}

impl<F: FnOnce(Delivery)> Drop for Completion<F> {
    fn drop(&mut self) {
        if let Some(completed) = self.completed.take() {
            // The reference count orders this after everything that was done with the copies.
            let is_complete = !*self.is_partial.get_mut();
            let placed = self.placed.get_mut().unwrap_or_else(PoisonError::into_inner);
            let is_stored = !*self.is_unstored.get_mut();
            completed(Delivery { is_complete, is_stored, placed: std::mem::take(placed) });
        }
    }
}
