//! What subscribers have received, compared with what was published.

use std::collections::BTreeSet;
use std::fmt;

/// What one subscriber has received, exactly. A count and a sum would not detect that 3 and 5 are lost if 4
/// arrives three times.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// All events below this one have arrived.
    next: u64,
    /// Events that arrived beyond `next`. Empty while nothing is missing.
    ahead: BTreeSet<u64>,
    doubled: u64,
    disordered: u64,
}

impl Ledger {
    pub(crate) fn note(&mut self, sequence: u64) {
        if sequence == self.next && self.ahead.is_empty() {
            self.next += 1;
        } else {
            self.note_unexpected(sequence);
        }
    }

    #[cold]
    fn note_unexpected(&mut self, sequence: u64) {
        if sequence < self.next || !self.ahead.insert(sequence) {
            self.doubled += 1;
            return;
        }
        self.disordered += u64::from(self.ahead.last() != Some(&sequence));
        while self.ahead.remove(&self.next) {
            self.next += 1;
        }
    }

    /// Notes an event from before the first one of this ledger.
    pub(crate) fn note_before_first(&mut self) {
        self.disordered += 1;
    }

    /// The number after the highest one that arrived.
    pub(crate) fn end(&self) -> u64 {
        self.ahead.last().map_or(self.next, |last| last + 1)
    }

    /// Compares with the events 0, 1, … `published` - 1.
    pub(crate) fn verdict(&self, published: u64) -> Verdict {
        let received = self.next.min(published) + self.ahead.range(..published).count() as u64;
        let foreign =
            self.next.saturating_sub(published) + self.ahead.range(published..).count() as u64;
        Verdict {
            lost: published - received,
            doubled: self.doubled,
            disordered: self.disordered,
            foreign,
        }
    }
}

/// Numbers of wrong deliveries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) disordered: u64,
    /// Events that were never published.
    pub(crate) foreign: u64,
}

impl Verdict {
    pub(crate) fn is_clean(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.disordered += other.disordered;
        self.foreign += other.foreign;
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lost, doubled, disordered, foreign } = self;
        write!(
            f,
            "{lost} deliveries lost, {doubled} duplicated, {disordered} out of order, \
             {foreign} never published"
        )
    }
}
