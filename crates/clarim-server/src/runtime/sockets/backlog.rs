//! Slow clients: how long their send queues have been waiting, and which of them are closed.
//!
//! A burst says nothing about a client: a queue may be long because much was published at once. A client is
//! slow if it takes nothing, or if the oldest byte in its queue has waited too long. How long is too long
//! depends on how much memory waits with it.

use std::collections::HashMap;
use std::time::Duration;

use clarim_hub::{AppIndex, ConnectionId};
use serde::{Deserialize, Serialize};

use super::Socket;
use crate::net::Outbox;

/// Maximum time for which a client may take nothing while its send queue exceeds its limit.
const STALL_OVER_LIMIT: Duration = Duration::from_secs(5);

/// Maximum age of the oldest byte while the app's queues exceed their budget.
const TIMEOUT_OVER_BUDGET: Duration = Duration::from_secs(1);

/// Memory for the waiting bytes of one app's clients on one worker.
const APP_BUDGET: usize = 64 << 20;

/// The limits of a send queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueLimits {
    /// Size that a queue may exceed only for a short time.
    pub(crate) bytes: usize,
    /// Maximum age of the oldest unsent byte.
    pub(crate) timeout: Duration,
}

/// The progress of a socket that the kernel takes no more bytes for.
///
/// Bytes carry no times. Instead, all bytes that wait at one moment are marked, and once they are sent, those
/// that wait then. So the age is that of the oldest byte, or a little less.
#[derive(Debug)]
struct Backlog {
    /// The time of the mark.
    since: Duration,
    /// The marked bytes that are still unsent.
    marked: usize,
    /// The time at which the kernel last took a byte.
    progressed: Duration,
}

impl Backlog {
    fn new(unsent: usize, now: Duration) -> Self {
        Self { since: now, marked: unsent, progressed: now }
    }

    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.since)
    }

    /// Whether the client is too slow, with so many bytes in its queue.
    fn is_slow(&self, bytes: usize, limits: QueueLimits, now: Duration) -> bool {
        let stalled = now.saturating_sub(self.progressed);
        self.age(now) >= limits.timeout
            || (bytes > limits.bytes && stalled >= limits.timeout.min(STALL_OVER_LIMIT))
    }
}

/// The progress of a blocked socket in a snapshot. Times are the node's, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SavedBacklog {
    since: u64,
    marked: u64,
    progressed: u64,
}

/// The sockets that are blocked, or were when they were last written to. There are few of them, so the other
/// sockets need no room for a time.
#[derive(Debug, Default)]
pub(super) struct Backlogs(HashMap<ConnectionId, Backlog>);

impl Backlogs {
    /// Takes note of a write that left `unsent` bytes, because the kernel took only `sent`.
    pub(super) fn blocked(&mut self, id: ConnectionId, sent: usize, unsent: usize, now: Duration) {
        let backlog = self.0.entry(id).or_insert_with(|| Backlog::new(sent + unsent, now));
        backlog.marked = backlog.marked.saturating_sub(sent);
        if backlog.marked == 0 {
            *backlog = Backlog::new(unsent, now);
        } else if sent > 0 {
            backlog.progressed = now;
        }
    }

    pub(super) fn save(&self, id: ConnectionId) -> Option<SavedBacklog> {
        let Backlog { since, marked, progressed } = self.0.get(&id)?;
        Some(SavedBacklog {
            since: millis(*since),
            marked: *marked as u64,
            progressed: millis(*progressed),
        })
    }

    pub(super) fn restore(&mut self, id: ConnectionId, saved: SavedBacklog) {
        let SavedBacklog { since, marked, progressed } = saved;
        let backlog = Backlog {
            since: Duration::from_millis(since),
            marked: usize::try_from(marked).unwrap_or(usize::MAX),
            progressed: Duration::from_millis(progressed),
        };
        self.0.insert(id, backlog);
    }

    /// Takes note that the socket has nothing to send, or is gone.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.0.remove(&id);
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
    }

    /// Returns the clients that are too slow and, while an app's queues exceed their budget, those that have
    /// waited longest.
    pub(super) fn slow(
        &self,
        sockets: &[Option<Socket>],
        limits: QueueLimits,
        now: Duration,
        app_of: impl Fn(ConnectionId) -> Option<AppIndex>,
    ) -> Vec<ConnectionId> {
        let mut slow = Vec::new();
        let mut apps: HashMap<AppIndex, Vec<WaitingQueue<'_>>> = HashMap::new();
        for (&id, backlog) in &self.0 {
            let Some(Some(socket)) = sockets.get(id.0 as usize) else { continue };
            let outbox = &socket.outbox;
            if backlog.is_slow(outbox.weight(), limits, now) {
                slow.push(id);
            } else if let Some(app) = app_of(id) {
                let age = backlog.age(now);
                apps.entry(app).or_default().push(WaitingQueue { id, age, outbox });
            }
        }
        let min_age = limits.timeout.min(TIMEOUT_OVER_BUDGET);
        for queues in apps.into_values() {
            slow.extend(over_budget(queues, min_age));
        }
        slow
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

struct WaitingQueue<'a> {
    id: ConnectionId,
    age: Duration,
    outbox: &'a Outbox,
}

/// Returns the oldest queues of an app, without which the others fit into the budget.
fn over_budget(mut queues: Vec<WaitingQueue<'_>>, min_age: Duration) -> Vec<ConnectionId> {
    let mut oldest = Vec::new();
    // The shares take a look at each frame, which is not worth it for queues that are short.
    if queues.iter().map(|queue| queue.outbox.memory()).sum::<usize>() <= APP_BUDGET {
        return oldest;
    }
    let mut held: usize = queues.iter().map(|queue| queue.outbox.share()).sum();
    queues.sort_unstable_by_key(|queue| queue.age);
    while held > APP_BUDGET
        && let Some(queue) = queues.pop()
        && queue.age >= min_age
    {
        held = held.saturating_sub(queue.outbox.share());
        oldest.push(queue.id);
    }
    oldest
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { bytes: 1_000, timeout: Duration::from_secs(30) };

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn the_age_is_that_of_bytes_and_not_of_the_queue() {
        let mut backlogs = Backlogs::default();
        let id = ConnectionId(0);
        let mut age = |sent, unsent, second| {
            backlogs.blocked(id, sent, unsent, at(second));
            backlogs.0[&id].age(at(second)).as_secs()
        };
        assert_eq!(age(50, 100, 0), 0);
        // More is queued all the time. A byte of the first hundred is still waiting.
        assert_eq!(age(60, 500, 4), 4);
        assert_eq!(age(39, 900, 8), 8);
        // From here on the oldest byte is younger than the queue.
        assert_eq!(age(1, 900, 9), 0);
        assert_eq!(age(800, 900, 12), 3);
        backlogs.remove(id);
        assert!(backlogs.0.is_empty());
    }

    #[test]
    fn a_client_that_takes_something_is_not_closed_for_a_long_queue() {
        let mut backlogs = Backlogs::default();
        let id = ConnectionId(0);
        backlogs.blocked(id, 0, 50_000, at(0));
        assert!(!backlogs.0[&id].is_slow(50_000, LIMITS, at(4)));
        assert!(backlogs.0[&id].is_slow(50_000, LIMITS, at(5)));
        assert!(!backlogs.0[&id].is_slow(1_000, LIMITS, at(5)));
        for second in (4..29).step_by(4) {
            backlogs.blocked(id, 1_000, 50_000, at(second));
            assert!(!backlogs.0[&id].is_slow(50_000, LIMITS, at(second + 1)));
        }
        // It does not catch up.
        assert!(backlogs.0[&id].is_slow(500, LIMITS, at(30)));
    }
}
