//! The events of a connection, for its owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::error::BusError;

/// The caller's own number for a message that it publishes.
pub type PublishId = u64;

/// Maximum bytes of received messages that wait to be read by the owner of a connection.
const MAX_UNREAD: usize = 64 << 20;

/// Bytes that a waiting message is counted with beside its payload.
pub(crate) const MESSAGE_OVERHEAD: usize = 128;

/// An event of a connection to a bus.
#[derive(Debug)]
#[non_exhaustive]
pub enum BusEvent {
    /// The connection is up, and every subscription so far is in place. After a [`BusEvent::Disconnected`],
    /// messages may have been missed.
    Connected,
    /// The connection could not be made, or was lost. It is made again until that succeeds.
    Disconnected(BusError),
    /// The server has confirmed a subscription.
    Subscribed {
        /// The subject.
        subject: Arc<str>,
        /// Whether the subject had no subscriber before. `false` also if the bus cannot tell.
        is_first: bool,
    },
    /// A message was received.
    Message {
        /// The subject it was published on.
        subject: Arc<str>,
        /// The message itself.
        payload: Bytes,
    },
    /// The server has accepted a message.
    Published {
        /// The number that it was published with.
        id: PublishId,
        /// Number of connections that received it, if the bus counts them.
        receivers: Option<u32>,
    },
    /// The server has not accepted a message, or the connection was lost before it could confirm it.
    Lost {
        /// The number that it was published with.
        id: PublishId,
    },
}

/// Reports a session's events to the owner of the connection.
#[derive(Debug, Clone)]
pub struct EventSender {
    events: UnboundedSender<BusEvent>,
    unread: Arc<AtomicUsize>,
}

impl EventSender {
    /// A sender whose messages count against `unread` until the owner has read them.
    pub(crate) fn new(events: UnboundedSender<BusEvent>, unread: Arc<AtomicUsize>) -> Self {
        Self { events, unread }
    }

    /// Reports a received message.
    ///
    /// # Errors
    /// [`BusError::SlowConsumer`] if too many messages wait to be read. The session should end with it.
    pub fn message(&self, subject: Arc<str>, payload: Bytes) -> Result<(), BusError> {
        let weight = payload.len() + MESSAGE_OVERHEAD;
        if self.unread.fetch_add(weight, Ordering::Relaxed) > MAX_UNREAD {
            self.unread.fetch_sub(weight, Ordering::Relaxed);
            return Err(BusError::SlowConsumer { limit: MAX_UNREAD });
        }
        self.send(BusEvent::Message { subject, payload });
        Ok(())
    }

    /// Reports a confirmed subscription; see [`BusEvent::Subscribed`].
    pub fn subscribed(&self, subject: Arc<str>, is_first: bool) {
        self.send(BusEvent::Subscribed { subject, is_first });
    }

    pub(crate) fn send(&self, event: BusEvent) {
        // The owner drops its end just before the connection's task ends.
        let _ = self.events.send(event);
    }
}
