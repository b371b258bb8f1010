//! The order of a page's messages, whose requests may overtake each other.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Timeout for a missing request. pusher-js numbers the requests of all its sessions together, so one may be
/// missing forever.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of requests that wait for a missing one, and of their bytes. Beyond it they are not
/// ordered.
const MAX_EARLY: usize = 64;
const MAX_EARLY_BYTES: usize = 128 << 10;

/// The messages of a page, in the order of its requests.
#[derive(Debug, Default)]
pub(super) struct Order {
    next: Option<u64>,
    early: BTreeMap<u64, Vec<String>>,
    /// Bytes of the early messages.
    bytes: usize,
    /// Time when the early messages stop waiting.
    due: Option<Instant>,
}

impl Order {
    /// Takes the messages of request `n`, and returns those that are next.
    pub(super) fn take(&mut self, n: Option<u64>, messages: Vec<String>) -> Vec<String> {
        let Some(n) = n else { return messages };
        let next = *self.next.get_or_insert(n);
        let bytes = self.bytes + size(&messages);
        if n > next && self.early.len() < MAX_EARLY && bytes <= MAX_EARLY_BYTES {
            self.bytes = bytes;
            self.early.insert(n, messages);
            self.due.get_or_insert_with(|| Instant::now() + TIMEOUT);
            return Vec::new();
        }
        if n < next {
            // It arrives after its timeout.
            return messages;
        }
        self.next = Some(n.saturating_add(1));
        let mut ready = if n > next { self.take_early(n) } else { Vec::new() };
        ready.extend(messages);
        self.follow(&mut ready);
        ready
    }

    fn count(&mut self) {
        self.bytes = self.early.values().map(|messages| size(messages)).sum();
    }

    /// Takes the early messages before `n`, without waiting for the missing ones among them.
    fn take_early(&mut self, n: u64) -> Vec<String> {
        let later = self.early.split_off(&n);
        std::mem::replace(&mut self.early, later).into_values().flatten().collect()
    }

    fn follow(&mut self, ready: &mut Vec<String>) {
        while let Some(next) = self.next
            && let Some(messages) = self.early.remove(&next)
        {
            ready.extend(messages);
            self.next = Some(next.saturating_add(1));
        }
        self.count();
        self.due = (!self.early.is_empty()).then(|| Instant::now() + TIMEOUT);
    }

    /// Time to call [`give_up`](Self::give_up).
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Stops waiting for the missing request, and returns the messages that are next.
    pub(super) fn give_up(&mut self) -> Vec<String> {
        let mut ready = Vec::new();
        self.next = self.early.keys().next().copied();
        self.follow(&mut ready);
        ready
    }
}

/// Memory of the messages, in bytes.
fn size(messages: &[String]) -> usize {
    messages.iter().map(|message| size_of::<String>() + message.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn a_request_that_overtakes_waits() {
        let mut order = Order::default();
        assert!(order.take(Some(5), Vec::new()).is_empty());
        assert!(order.take(Some(8), one("c")).is_empty());
        assert!(order.take(Some(7), one("b")).is_empty());
        assert!(order.due().is_some());
        assert_eq!(order.take(Some(6), one("a")), ["a", "b", "c"]);
        assert!(order.due().is_none());
        assert_eq!(order.take(None, one("d")), ["d"]);
    }

    #[test]
    fn a_missing_request_is_not_waited_for_forever() {
        let mut order = Order::default();
        order.take(Some(1), Vec::new());
        for (n, text) in [(3, "a"), (5, "b")] {
            assert!(order.take(Some(n), one(text)).is_empty());
        }
        assert_eq!(order.give_up(), ["a"]);
        assert_eq!(order.give_up(), ["b"]);
        assert!(order.due().is_none());
        assert_eq!(order.take(Some(4), one("late")), ["late"]);
        assert_eq!(order.take(Some(6), one("c")), ["c"]);
    }

    #[test]
    fn the_number_of_waiting_requests_is_limited() {
        let mut order = Order::default();
        order.take(Some(0), Vec::new());
        let count = |messages: Vec<String>| messages.len();
        let given: usize = (2..80).map(|n| count(order.take(Some(n), one("x")))).sum();
        assert_eq!(given, 78);
        assert!(order.take(Some(90), one("small")).is_empty());
        assert_eq!(order.take(Some(92), one(&"x".repeat(MAX_EARLY_BYTES))).len(), 2);
        assert_eq!((order.bytes, order.due()), (0, None));
    }
}
