//! Acknowledgements: when a published event has been handed to all its receivers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clarim_cluster::Trace;

/// Shared by every message that one publish creates. When the last copy is dropped, each worker concerned
/// has handed the event to its subscribers and the bus has accepted it.
#[derive(Clone)]
pub struct DeliveryAck(Arc<dyn Pending>);

impl DeliveryAck {
    /// Calls `completed` when the last copy is dropped. Its argument is `false` if the bus did not accept the
    /// event.
    pub fn new(completed: impl FnOnce(bool) + Send + Sync + 'static) -> Self {
        Self::make(None, completed)
    }

    /// As [`new`](Self::new) for a traced event: the trace is passed on to the other nodes.
    pub fn traced(trace: Trace, completed: impl FnOnce(bool) + Send + Sync + 'static) -> Self {
        Self::make(Some(trace), completed)
    }

    fn make(trace: Option<Trace>, completed: impl FnOnce(bool) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Completion {
            is_partial: AtomicBool::new(false),
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
    fn trace(&self) -> Option<Trace>;
}

struct Completion<F: FnOnce(bool)> {
    is_partial: AtomicBool,
    trace: Option<Trace>,
    completed: Option<F>,
}

impl<F: FnOnce(bool) + Send + Sync> Pending for Completion<F> {
    fn set_partial(&self) {
        self.is_partial.store(true, Ordering::Relaxed);
    }

    fn trace(&self) -> Option<Trace> {
        self.trace
    }
}

impl<F: FnOnce(bool)> Drop for Completion<F> {
    fn drop(&mut self) {
        if let Some(completed) = self.completed.take() {
            // The reference count orders this after everything that was done with the copies.
            completed(!*self.is_partial.get_mut());
        }
    }
}
