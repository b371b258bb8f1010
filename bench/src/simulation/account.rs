//! What a client that subscribes in mid-stream must receive: every event from then on, once.

use crate::wire::deliveries::{Ledger, Verdict};

/// Bits of a sequence number that count within a stream. The bits above them are the stream.
const BITS: u32 = 40;

/// A sequence of events whose order must be kept: those of one publisher to one channel.
pub(crate) type Stream = u32;

/// The sequence number of an event of a stream.
pub(crate) fn sequence(stream: Stream, number: u64) -> u64 {
    (u64::from(stream) << BITS) | number
}

/// The stream of a sequence number, and the event's number within it.
pub(crate) fn split(sequence: u64) -> (Stream, u64) {
    ((sequence >> BITS) as Stream, sequence & ((1 << BITS) - 1))
}

/// The events of one stream that one client has received.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Events before this one were published before the client subscribed: it must not receive them.
    from: u64,
    /// Events from this one on were published after its subscription succeeded: it must receive them.
    until: u64,
    /// The first event that it received, or else the first that it must receive: no gap may follow.
    first: Option<u64>,
    /// Numbered from `first`.
    ledger: Ledger,
}

impl Account {
    /// For a client that sends its subscription.
    pub(crate) fn asking(from: u64) -> Self {
        Self { from, until: u64::MAX, ..Self::default() }
    }

    /// For a client that was away, and names a position before the stream: it must receive everything.
    pub(crate) fn returning() -> Self {
        Self::default()
    }

    /// The subscription has succeeded.
    pub(crate) fn admitted(&mut self, until: u64) {
        self.until = self.until.min(until);
    }

    pub(crate) fn note(&mut self, number: u64) {
        let begins = number.min(self.until);
        let first = *self.first.get_or_insert(begins);
        match number.checked_sub(first) {
            Some(n) => self.ledger.note(n),
            None => self.ledger.note_before_first(),
        }
    }

    /// Whether all events before `due` that the client must receive have arrived.
    pub(crate) fn has_reached(&self, due: u64) -> bool {
        due <= self.until.min(self.first.unwrap_or(u64::MAX)) || self.reached() >= due
    }

    /// The number after the last event that arrived, or the first one that must arrive.
    fn reached(&self) -> u64 {
        self.first.map_or(self.until, |first| first + self.ledger.end())
    }

    /// Compares. Events before `due` must have arrived, those before `published` may have.
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
    fn a_late_subscriber_receives_everything_from_its_subscription_on() {
        let clean = Verdict::default();
        // Ten were published when it subscribed, twelve when that succeeded, fifteen in all.
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
    fn a_leaving_client_may_receive_more_than_is_due_but_without_a_gap() {
        let verdict = |numbers: &[u64]| account(0, 0, numbers).verdict(3, 9);
        assert_eq!(verdict(&[0, 1, 2]), Verdict::default());
        assert_eq!(verdict(&[0, 1, 2, 3, 4]), Verdict::default());
        assert_eq!(verdict(&[0, 1, 2, 4]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(verdict(&[0, 1]), Verdict { lost: 1, ..Verdict::default() });
    }

    #[test]
    fn a_client_that_was_away_receives_what_it_missed() {
        let verdict = |numbers: &[u64]| {
            let mut account = Account::returning();
            account.admitted(2);
            numbers.iter().for_each(|number| account.note(*number));
            account.verdict(3, 3)
        };
        assert_eq!(verdict(&[0, 1, 2]), Verdict::default());
        assert_eq!(verdict(&[1, 2]), Verdict { lost: 1, ..Verdict::default() });
        assert_eq!(verdict(&[]), Verdict { lost: 3, ..Verdict::default() });
    }

    #[test]
    fn it_detects_that_nothing_is_missing() {
        assert!(account(0, 5, &[]).has_reached(5));
        assert!(!account(0, 5, &[]).has_reached(6));
        assert!(account(0, 5, &[5]).has_reached(6));
        assert!(!account(0, 5, &[5]).has_reached(7));
        assert!(account(0, 5, &[3, 4]).has_reached(5));
        assert!(!account(0, 5, &[3]).has_reached(5), "it received 3, so 4 is missing");
    }

    #[test]
    fn a_sequence_number_contains_its_stream() {
        assert_eq!(split(sequence(99_999, 1 << 39)), (99_999, 1 << 39));
        assert_eq!(split(u64::MAX).0, (1 << 24) - 1);
    }
}
