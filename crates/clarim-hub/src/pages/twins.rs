//! Connections of one page id that are open at the same time.
//!
//! Mostly, the older one is dead, and the server has not noticed. But a duplicated tab may have the id of its
//! original. Two tabs acknowledge different events, so the positions of one are useless to the other. They
//! stay where they were until it is known that the older connection is dead.

use std::time::Duration;

use smallvec::{SmallVec, smallvec};

use super::positions::Positions;
use crate::address::ConnectionAddr;
use crate::snapshot::{SavedTwins, SnapshotError};

/// Time for which a client whose connection was replaced may still come back. Clients come back at once.
const RETURN_TIME: Duration = Duration::from_secs(5);

/// Older connections of a page, of which it is not known whether they are of another tab.
#[derive(Debug)]
pub(super) struct Twins {
    /// Those that are open.
    open: SmallVec<[ConnectionAddr; 2]>,
    /// When the last one was replaced.
    replaced_at: Duration,
    /// The oldest positions that any of them may need.
    pub(super) positions: Positions,
}

impl Twins {
    pub(super) fn new(addr: ConnectionAddr, positions: Positions, now: Duration) -> Self {
        Self { open: smallvec![addr], replaced_at: now, positions }
    }

    /// Returns what a snapshot keeps of them, without the connections.
    pub(super) fn save(&self) -> SavedTwins {
        SavedTwins { replaced_at: self.replaced_at.into(), positions: self.positions.save() }
    }

    pub(super) fn restored(saved: &SavedTwins) -> Result<Self, SnapshotError> {
        let positions = Positions::restored(&saved.positions)?;
        Ok(Self { open: SmallVec::new(), replaced_at: saved.replaced_at.get(), positions })
    }

    /// Adds a restored connection.
    pub(super) fn restore(&mut self, addr: ConnectionAddr) {
        self.open.push(addr);
    }

    pub(super) fn add(&mut self, addr: ConnectionAddr, positions: &Positions, now: Duration) {
        self.open.push(addr);
        self.replaced_at = now;
        self.positions.lower(positions);
    }

    pub(super) fn contains(&self, addr: ConnectionAddr) -> bool {
        self.open.contains(&addr)
    }

    pub(super) fn closed(&mut self, addr: ConnectionAddr) {
        self.open.retain(|open| *open != addr);
    }

    /// Whether one of them may still be there.
    pub(super) fn may_return(&self, now: Duration) -> bool {
        !self.open.is_empty() || now < self.replaced_at + RETURN_TIME
    }
}
