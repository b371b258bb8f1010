//! The events of a connection, for its owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use crate::error::BusError;
use crate::log::{LogEntry, LogPage, Position};

/// The caller's own number for a message that it publishes, an entry that it appends, or a log that it reads.
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
    /// The server has not accepted a message, or the connection was lost before it could confirm it. Also of
    /// an entry, which the log may have nevertheless: append it again with the same [`IdempotencyKey`]. Also
    /// of a read.
    ///
    /// [`IdempotencyKey`]: crate::IdempotencyKey
    Lost {
        /// The number that it was published with.
        id: PublishId,
    },
    /// The server has confirmed that this connection follows a log: every later entry is received.
    Following {
        /// The log's name.
        log: Arc<str>,
    },
    /// An entry was appended to a log that this connection follows. Entries of a log arrive in its order.
    Entry {
        /// The log's name.
        log: Arc<str>,
        /// The entry.
        entry: LogEntry,
    },
    /// A log has an entry.
    Appended {
        /// The number that it was appended with.
        id: PublishId,
        /// Its position.
        position: Position,
        /// Whether the log had an entry with the same key before. Then nothing was appended, and `position`
        /// is the one of that entry.
        is_duplicate: bool,
    },
    /// The entries of a log that were asked for.
    Page {
        /// The number of the request.
        id: PublishId,
        /// The entries, and what the log has.
        page: LogPage,
    },
    /// The server has refused an entry and has not stored it, or cannot read a log.
    Refused {
        /// The number of the command.
        id: PublishId,
        /// Why.
        error: BusError,
    },
}

impl BusEvent {
    /// Bytes that the event counts with until the owner has taken it.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Message { payload, .. } => payload.len() + MESSAGE_OVERHEAD,
            Self::Entry { entry, .. } => entry.payload.len() + MESSAGE_OVERHEAD,
            Self::Page { page, .. } => {
                page.entries.iter().map(|entry| entry.payload.len() + MESSAGE_OVERHEAD).sum()
            }
            _ => 0,
        }
    }
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
        self.send_weighed(BusEvent::Message { subject, payload })
    }

    /// Reports an entry of a log that the connection follows.
    ///
    /// # Errors
    /// [`BusError::SlowConsumer`] if too many bytes wait to be read. The session should end with it.
    pub fn entry(&self, log: Arc<str>, entry: LogEntry) -> Result<(), BusError> {
        self.send_weighed(BusEvent::Entry { log, entry })
    }

    /// Reports that the connection follows a log; see [`BusEvent::Following`].
    pub fn following(&self, log: Arc<str>) {
        self.send(BusEvent::Following { log });
    }

    /// Reports a confirmed subscription; see [`BusEvent::Subscribed`].
    pub fn subscribed(&self, subject: Arc<str>, is_first: bool) {
        self.send(BusEvent::Subscribed { subject, is_first });
    }

    fn send_weighed(&self, event: BusEvent) -> Result<(), BusError> {
        self.reserve(&event)?;
        self.send(event);
        Ok(())
    }

    /// Counts an event that will be sent as unread.
    pub(crate) fn reserve(&self, event: &BusEvent) -> Result<(), BusError> {
        let weight = event.weight();
        if self.unread.fetch_add(weight, Ordering::Relaxed) > MAX_UNREAD {
            self.unread.fetch_sub(weight, Ordering::Relaxed);
            return Err(BusError::SlowConsumer { limit: MAX_UNREAD });
        }
        Ok(())
    }

    pub(crate) fn send(&self, event: BusEvent) {
        // The owner drops its end just before the connection's task ends.
        let _ = self.events.send(event);
    }
}
