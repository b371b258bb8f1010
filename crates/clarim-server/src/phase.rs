//! The phases of a server's life, which only go forward.

use std::sync::Arc;

use tokio::sync::watch;

/// Where the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Everybody is welcome.
    Serving,
    /// Clients are sent away. It is still listened, so that those who come back at once can be told to
    /// wait: pusher-js comes again a second after close code 4100, but fifteen seconds after it has found
    /// nobody there.
    Draining,
    /// Nobody listens any more; what has begun is ended.
    Closed,
}

/// Leads to the later phases.
#[derive(Debug, Clone)]
pub(crate) struct Lead(Arc<watch::Sender<Phase>>);

impl Lead {
    pub(crate) fn new() -> (Self, Follow) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Self(Arc::new(sender)), Follow(receiver))
    }

    /// Goes forward to `phase`, if the server isn't there yet.
    pub(crate) fn advance(&self, phase: Phase) {
        self.0.send_if_modified(|current| {
            let later = *current < phase;
            *current = phase.max(*current);
            later
        });
    }

    /// Goes to `phase` when dropped.
    pub(crate) fn at_end(&self, phase: Phase) -> AtEnd {
        AtEnd(self.clone(), phase)
    }
}

/// See [`Lead::at_end`].
pub(crate) struct AtEnd(Lead, Phase);

impl Drop for AtEnd {
    fn drop(&mut self) {
        self.0.advance(self.1);
    }
}

/// Hears of the phases.
#[derive(Debug, Clone)]
pub(crate) struct Follow(watch::Receiver<Phase>);

impl Follow {
    pub(crate) fn now(&self) -> Phase {
        *self.0.borrow()
    }

    /// Returns when `phase` has been reached.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        // The sender is gone only with the server itself: that is later than any phase.
        let _ = self.0.wait_for(|current| *current >= phase).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_only_go_forward() {
        let (lead, mut follow) = Lead::new();
        drop(lead.at_end(Phase::Closed));
        lead.advance(Phase::Draining);
        assert_eq!(follow.now(), Phase::Closed);
        follow.reached(Phase::Draining).await;
    }
}
