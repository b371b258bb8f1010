//! When each connection must be checked again.

use std::time::Duration;

use crate::connection::seconds;

/// The seconds from which connections may have to be pinged or closed, by slot. Most of the time, this is all
/// that a sweep reads: to look at each connection would bring all of them into the CPU's cache.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// Slots beyond its end are due.
    due: Vec<u32>,
    /// The number of changes of the apps up to now. Times that have been found before the last one mean
    /// nothing.
    changes: u64,
}

impl Checks {
    /// Makes all connections due if the apps have changed.
    pub(super) fn follow(&mut self, changes: u64) {
        if self.changes != changes {
            self.changes = changes;
            self.due.clear();
        }
    }

    pub(super) fn is_due(&self, slot: usize, now: Duration) -> bool {
        self.due.get(slot).is_none_or(|due| *due <= seconds(now))
    }

    /// Makes a slot due, because it gets a new connection.
    pub(super) fn open(&mut self, slot: usize) {
        if let Some(due) = self.due.get_mut(slot) {
            *due = 0;
        }
    }

    /// Sets the second of the next check.
    pub(super) fn set(&mut self, slot: usize, due: u32) {
        if self.due.len() <= slot {
            self.due.resize(slot + 1, 0);
        }
        self.due[slot] = due;
    }

    /// Gives back the memory of slots that are gone.
    pub(super) fn shrink(&mut self, slots: usize) {
        self.due.truncate(slots);
        if self.due.len() < self.due.capacity() / 4 {
            self.due.shrink_to_fit();
        }
    }
}
