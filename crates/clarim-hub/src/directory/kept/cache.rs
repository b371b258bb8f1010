//! The last event of a cache channel.

use std::time::Duration;

use clarim_protocol::Frame;

use crate::directory::clock::LogicalClock;
use crate::snapshot::{SavedEvent, SnapshotError};

/// How long a cache channel keeps its last event.
pub const CACHE_TTL: Duration = Duration::from_secs(30 * 60);

/// Bytes per cached event for entries of maps and queues.
const OVERHEAD: usize = 256;

/// The cached event of a channel.
#[derive(Debug)]
pub(crate) struct CachedEvent {
    pub(crate) frame: Frame,
    pub(crate) at: Duration,
    /// Of two events of a channel, the one with the greater number is the last, on all nodes.
    pub(crate) number: u64,
}

impl CachedEvent {
    pub(crate) fn expires_at(&self) -> Duration {
        self.at + CACHE_TTL
    }

    /// Returns what a snapshot keeps of it.
    pub(crate) fn save(&self) -> SavedEvent {
        let payload = self.frame.bytes().slice_ref(self.frame.payload());
        SavedEvent { payload, at: self.at.into(), number: self.number }
    }

    pub(crate) fn restored(saved: &SavedEvent) -> Result<Self, SnapshotError> {
        let &SavedEvent { ref payload, at, number } = saved;
        if !LogicalClock::is_credible(number) {
            return Err(SnapshotError::invalid("a cached event has an impossible number"));
        }
        Ok(Self { frame: Frame::text(payload), at: at.get(), number })
    }

    /// Returns the bytes that it takes.
    pub(crate) fn bytes(&self) -> usize {
        OVERHEAD + self.frame.bytes().len()
    }
}
