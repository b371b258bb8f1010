//! Commands on a log.

use bytes::Bytes;

use super::pending::Pending;
use crate::error::BusError;
use crate::event::BusEvent;
use crate::log::{IdempotencyKey, Log, LogPage, PageLimit, Position};

/// An entry to be appended to a log. Dropping it without an outcome reports it as [`BusEvent::Lost`].
#[derive(Debug)]
pub struct OutgoingEntry {
    log: Log,
    payload: Bytes,
    key: Option<IdempotencyKey>,
    pending: Pending,
}

impl OutgoingEntry {
    pub(crate) fn new(
        log: &Log,
        payload: Bytes,
        key: Option<IdempotencyKey>,
        pending: Pending,
    ) -> Self {
        Self { log: log.clone(), payload, key, pending }
    }

    /// The log to append to.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The entry itself.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The key that the log accepts only once.
    #[must_use]
    pub fn key(&self) -> Option<&IdempotencyKey> {
        self.key.as_ref()
    }

    /// Reports that the log has the entry, see [`BusEvent::Appended`].
    pub fn appended(self, position: Position, is_duplicate: bool) {
        let id = self.pending.id();
        self.pending.finish(BusEvent::Appended { id, position, is_duplicate });
    }

    /// Reports that the server has refused the entry.
    pub fn refused(self, error: BusError) {
        self.pending.refuse(error);
    }
}

/// A request for entries of a log. Dropping it without an outcome reports it as [`BusEvent::Lost`].
#[derive(Debug)]
pub struct LogRead {
    log: Log,
    after: u64,
    limit: PageLimit,
    pending: Pending,
}

impl LogRead {
    pub(crate) fn new(log: &Log, after: u64, limit: PageLimit, pending: Pending) -> Self {
        Self { log: log.clone(), after, limit, pending }
    }

    /// The log to read.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The offset after which entries are read.
    #[must_use]
    pub fn after(&self) -> u64 {
        self.after
    }

    /// The bounds of the page.
    #[must_use]
    pub fn limit(&self) -> PageLimit {
        self.limit
    }

    /// Reports the page.
    ///
    /// # Errors
    /// [`BusError::SlowConsumer`] if too many bytes wait to be read. The session should end with it.
    pub fn page(self, page: LogPage) -> Result<(), BusError> {
        let id = self.pending.id();
        self.pending.finish_weighed(BusEvent::Page { id, page })
    }

    /// Reports that the server has refused the request.
    pub fn refused(self, error: BusError) {
        self.pending.refuse(error);
    }
}
