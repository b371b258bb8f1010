//! A message to be published.

use bytes::Bytes;

use super::pending::Pending;
use crate::event::BusEvent;

/// A message to be published. Dropping it unconfirmed reports it as [`BusEvent::Lost`].
#[derive(Debug)]
pub struct OutgoingMessage {
    subject: Box<str>,
    payload: Bytes,
    pending: Pending,
}

impl OutgoingMessage {
    pub(crate) fn new(subject: &str, payload: Bytes, pending: Pending) -> Self {
        Self { subject: subject.into(), payload, pending }
    }

    /// The subject to publish on.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The message itself.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Reports that the server has accepted the message, and how many connections received it if the server
    /// counts them.
    pub fn published(self, receivers: Option<u32>) {
        let id = self.pending.id();
        self.pending.finish(BusEvent::Published { id, receivers });
    }
}
