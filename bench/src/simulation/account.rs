//! What a client that came in the middle must have received: from its arrival on, all, each once.

use crate::wire::deliveries::{Ledger, Verdict};

/// Bits of a sequence number that count within a stream; those above name the stream.
const BITS: u32 = 40;

/// A line of events with one order: those of one publisher to one channel.
pub(crate) type Stream = u32;

/// The number of an event among all streams.
pub(crate) fn sequence(stream: Stream, number: u64) -> u64 {
    (u64::from(stream) << BITS) | number
}

/// The stream of an event, and its number within it.
pub(crate) fn split(sequence: u64) -> (Stream, u64) {
    ((sequence >> BITS) as Stream, sequence & ((1 << BITS) - 1))
}

/// What one client has received of one stream.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// All before were answered before the client asked to be let in: none of them is for it.
    from: u64,
    /// All from here on were published after it was told that it is in: each of them is for it.
    until: u64,
    /// The first that came or, at the latest, that had to come: from it on no gap may be.
    first: Option<u64>,
    /// Counts from the first.
    ledger: Ledger,
}

impl Account {
    /// For a client that asks to be let in.
    pub(crate) fn asking(from: u64) -> Self {
        Self { from, until: u64::MAX, ..Self::default() }
    }

    /// The client has been let in.
    pub(crate) fn admitted(&mut self, until: u64) {
        self.until = until;
    }

    pub(crate) fn note(&mut self, number: u64) {
        let begins = number.min(self.until);
        let first = *self.first.get_or_insert(begins);
        match number.checked_sub(first) {
            Some(n) => self.ledger.note(n),
            None => self.ledger.note_before_first(),
        }
    }

    /// Whether all before `due` that are for the client have come.
    pub(crate) fn has_reached(&self, due: u64) -> bool {
        due <= self.until.min(self.first.unwrap_or(u64::MAX)) || self.reached() >= due
    }

    /// One more than the last that came, or where it begins.
    fn reached(&self) -> u64 {
        self.first.map_or(self.until, |first| first + self.ledger.end())
    }

    /// Compares. All before `due` had to come; those before `published` were allowed to.
    pub(crate) fn verdict(&self, due: u64, published: u64) -> Verdict {
        let Some(first) = self.first else {
            return Verdict { lost: due.saturating_sub(self.until), ..Verdict::default() };
        };
        let end = self.reached().min(published).max(due);
        let mut verdict = self.ledger.verdict(end.saturating_sub(first));
        verdict.foreign += self.from.saturating_sub(first);
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, Verdict, sequence, split};

    fn account(from: u64, until: u64, numbers: &[u64]) -> Account {
        let mut account = Account::asking(from);
        account.admitted(until);
        numbers.iter().for_each(|number| account.note(*number));
        account
    }

    #[test]
    fn a_late_comer_gets_all_from_its_arrival_on() {
        let clean = Verdict::default();
        // Ten were answered when it asked, twelve published when it was in, and fifteen in all.
        let verdict = |numbers: &[u64]| account(10, 12, numbers).verdict(15, 15);
        assert_eq!(verdict(&[12, 13, 14]), clean);
        assert_eq!(verdict(&[10, 11, 12, 13, 14]), clean);
        assert_eq!(verdict(&[13, 14]), Verdict { lost: 1, ..clean });
        assert_eq!(verdict(&[10, 12, 13, 14]), Verdict { lost: 1, ..clean });
        assert_eq!(verdict(&[9, 10, 11, 12, 13, 14]), Verdict { foreign: 1, ..clean });
        assert_eq!(verdict(&[12, 13]), Verdict { lost: 1, ..clean });
        assert_eq!(verdict(&[]), Verdict { lost: 3, ..clean });
        assert_eq!(verdict(&[12, 13, 14, 15]), Verdict { foreign: 1, ..clean });
        assert_eq!(verdict(&[12, 11, 13, 14]), Verdict { disordered: 1, ..clean });
        assert_eq!(verdict(&[12, 12, 13, 14]), Verdict { doubled: 1, ..clean });
    }

    #[test]
    fn one_that_leaves_may_get_more_than_was_due_but_without_a_gap() {
        let verdict = |numbers: &[u64]| account(0, 0, numbers).verdict(3, 9);
        assert_eq!(verdict(&[0, 1, 2]), Verdict::default());
        assert_eq!(verdict(&[0, 1, 2, 3, 4]), Verdict::default());
        assert_eq!(verdict(&[0, 1, 2, 4]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(verdict(&[0, 1]), Verdict { lost: 1, ..Verdict::default() });
    }

    #[test]
    fn it_knows_when_nothing_is_missing_any_more() {
        assert!(account(0, 5, &[]).has_reached(5));
        assert!(!account(0, 5, &[]).has_reached(6));
        assert!(account(0, 5, &[5]).has_reached(6));
        assert!(!account(0, 5, &[5]).has_reached(7));
        assert!(account(0, 5, &[3, 4]).has_reached(5));
        assert!(!account(0, 5, &[3]).has_reached(5), "it has begun, and waits for the next");
    }

    #[test]
    fn a_number_keeps_its_stream() {
        assert_eq!(split(sequence(99_999, 1 << 39)), (99_999, 1 << 39));
        assert_eq!(split(u64::MAX).0, (1 << 24) - 1);
    }
}
