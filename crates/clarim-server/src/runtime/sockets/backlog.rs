//! Slow clients: how long their send queues have been waiting, and which of them are closed.
//!
//! A burst says nothing about a client: a queue may be long because much was published at once. A client is
//! slow if the kernel refuses to take its bytes and the oldest of them has waited too long. How long is too
//! long depends on how much memory waits with it.

use std::collections::HashMap;
use std::time::Duration;

use clarim_hub::{AppIndex, ConnectionId};

use super::Socket;
use crate::net::Outbox;

/// Maximum age of the oldest byte in a send queue that exceeds its limit.
const TIMEOUT_OVER_LIMIT: Duration = Duration::from_secs(5);

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

impl QueueLimits {
    fn timeout_of(&self, is_over_limit: bool) -> Duration {
        if is_over_limit { self.timeout.min(TIMEOUT_OVER_LIMIT) } else { self.timeout }
    }
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
}

/// The sockets that are blocked, or were when they were last written to. There are few of them, so the other
/// sockets need no room for a time.
#[derive(Debug, Default)]
pub(super) struct Backlogs(HashMap<ConnectionId, Backlog>);

impl Backlogs {
    /// Takes note of a write that left `unsent` bytes, because the kernel took only `sent`.
    pub(super) fn blocked(&mut self, id: ConnectionId, sent: usize, unsent: usize, now: Duration) {
        let backlog = self.0.entry(id).or_insert(Backlog { since: now, marked: sent + unsent });
        backlog.marked = backlog.marked.saturating_sub(sent);
        if backlog.marked == 0 {
            *backlog = Backlog { since: now, marked: unsent };
        }
    }

    /// Takes note that the socket has nothing to send, or is gone.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        self.0.remove(&id);
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
    }

    /// Returns the clients that are too slow: those whose oldest byte has waited too long and, while an app's
    /// queues exceed their budget, those that have waited longest.
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
            let age = now.saturating_sub(backlog.since);
            let outbox = &socket.outbox;
            if age >= limits.timeout_of(outbox.weight() > limits.bytes) {
                slow.push(id);
            } else if let Some(app) = app_of(id) {
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

    fn age(backlogs: &Backlogs, now: u64) -> u64 {
        let backlog = &backlogs.0[&ConnectionId(0)];
        (Duration::from_secs(now) - backlog.since).as_secs()
    }

    #[test]
    fn the_age_is_that_of_bytes_and_not_of_the_queue() {
        let mut backlogs = Backlogs::default();
        let mut wrote = |sent, unsent, now| {
            backlogs.blocked(ConnectionId(0), sent, unsent, Duration::from_secs(now));
            age(&backlogs, now)
        };
        assert_eq!(wrote(50, 100, 0), 0);
        // More is queued all the time. A byte of the first hundred is still waiting.
        assert_eq!(wrote(60, 500, 4), 4);
        assert_eq!(wrote(39, 900, 8), 8);
        // From here on the oldest byte is younger than the queue.
        assert_eq!(wrote(1, 900, 9), 0);
        assert_eq!(wrote(800, 900, 12), 3);
        backlogs.remove(ConnectionId(0));
        assert!(backlogs.0.is_empty());
    }

    #[test]
    fn a_queue_over_its_limit_may_wait_less_long() {
        let limits = QueueLimits { bytes: 1, timeout: Duration::from_secs(30) };
        assert!(limits.timeout_of(true) < limits.timeout_of(false));
        let limits = QueueLimits { bytes: 1, timeout: Duration::from_secs(1) };
        assert_eq!(limits.timeout_of(true), limits.timeout_of(false));
    }
}
