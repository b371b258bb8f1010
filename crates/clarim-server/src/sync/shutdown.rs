//! The phases of a server's shutdown, which only go forward.

use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::Code;
use tokio::sync::watch;

/// How far the server has shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Connections are accepted and served.
    Serving,
    /// Clients are disconnected. The server still listens, so that clients that reconnect at once get a
    /// code that makes them wait: pusher-js retries a second after close code 4100, but fifteen seconds
    /// after a refused connection.
    Draining,
    /// The server no longer listens. Requests in progress are finished.
    Closed,
}

/// How the clients of a server that shuts down are disconnected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// Time over which they are disconnected.
    pub(crate) time: Duration,
    /// The code that they get.
    pub(crate) code: Code,
    /// Time that the server still listens after the last client was disconnected.
    pub(crate) grace: Duration,
    /// Time for a client that is closed to close its side, and for a request in progress to be answered once
    /// everything else is done.
    pub(crate) patience: Duration,
}

impl Drain {
    /// Clients reconnect at once, to another node or to this one, which still listens and makes them wait for
    /// a second. By then a successor should listen, so the grace must be well below a second.
    pub(crate) fn over(time: Duration) -> Self {
        let grace = Duration::from_millis(500);
        Self { time, code: Code::GENERIC, grace, patience: Duration::from_secs(5) }
    }

    /// All clients reconnect a second later. The next process has to listen by then, so nothing may delay the
    /// end of this one: a client that finds nobody listening waits for fifteen seconds.
    pub(crate) fn in_place() -> Self {
        let patience = Duration::from_millis(100);
        Self {
            time: Duration::from_millis(200),
            code: Code::OVER_CAPACITY,
            grace: Duration::ZERO,
            patience,
        }
    }
}

/// Moves the server to its later phases. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct ShutdownHandle(Arc<watch::Sender<Phase>>);

impl ShutdownHandle {
    pub(crate) fn new() -> (Self, ShutdownSignal) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Self(Arc::new(sender)), ShutdownSignal(receiver))
    }

    /// Moves forward to `phase`, unless the server is there already.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let is_later = *current < phase;
            *current = phase.max(*current);
            is_later
        });
    }

    pub(crate) fn signal(&self) -> ShutdownSignal {
        ShutdownSignal(self.0.subscribe())
    }

    /// Returns a guard that advances to `phase` when dropped.
    pub(crate) fn on_drop(&self, phase: Phase) -> AdvanceOnDrop {
        AdvanceOnDrop { handle: self.clone(), phase }
    }
}

/// The guard of [`ShutdownHandle::on_drop`].
pub(crate) struct AdvanceOnDrop {
    handle: ShutdownHandle,
    phase: Phase,
}

impl Drop for AdvanceOnDrop {
    fn drop(&mut self) {
        self.handle.advance(self.phase);
    }
}

/// Follows the server's phase. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct ShutdownSignal(watch::Receiver<Phase>);

impl ShutdownSignal {
    pub(crate) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns once `phase` has been reached.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        // The sender is dropped with the server, which is later than any phase.
        let _ = self.0.wait_for(|current| *current >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let (handle, mut signal) = ShutdownHandle::new();
        drop(handle.on_drop(Phase::Closed));
        handle.advance(Phase::Draining);
        assert_eq!(signal.now(), Phase::Closed);
        signal.reached(Phase::Draining).await;
    }
}
