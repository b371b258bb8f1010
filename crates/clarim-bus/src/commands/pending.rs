//! The outcome that every command has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::BusError;
use crate::event::{BusEvent, EventSender, MESSAGE_OVERHEAD, PublishId};

/// The outcome that a command still has to report. Dropping it reports [`BusEvent::Lost`].
#[derive(Debug)]
pub(crate) struct Pending {
    id: PublishId,
    weight: usize,
    events: EventSender,
    /// Bytes of all commands of this connection without an outcome.
    unconfirmed: Arc<AtomicUsize>,
    /// The event to report when it is dropped.
    outcome: BusEvent,
}

impl Pending {
    /// A command of this many bytes, which count against `unconfirmed` until its outcome is known.
    pub(crate) fn new(
        id: PublishId,
        bytes: usize,
        events: EventSender,
        unconfirmed: Arc<AtomicUsize>,
    ) -> Self {
        let weight = bytes + MESSAGE_OVERHEAD;
        unconfirmed.fetch_add(weight, Ordering::Relaxed);
        Self { id, weight, events, unconfirmed, outcome: BusEvent::Lost { id } }
    }

    pub(crate) fn id(&self) -> PublishId {
        self.id
    }

    pub(crate) fn finish(mut self, outcome: BusEvent) {
        self.outcome = outcome;
    }

    /// Reports an outcome that counts as unread until the owner takes it.
    pub(crate) fn finish_weighed(self, outcome: BusEvent) -> Result<(), BusError> {
        self.events.reserve(&outcome)?;
        self.finish(outcome);
        Ok(())
    }

    pub(crate) fn refuse(self, error: BusError) {
        let id = self.id;
        self.finish(BusEvent::Refused { id, error });
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // Before the report, so that its receiver sees the room.
        self.unconfirmed.fetch_sub(self.weight, Ordering::Relaxed);
        let lost = BusEvent::Lost { id: self.id };
        self.events.send(std::mem::replace(&mut self.outcome, lost));
    }
}
