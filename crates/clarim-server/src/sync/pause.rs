//! The pause before a hand-over, in which nothing new begins.

use std::sync::Arc;

use tokio::sync::watch;

/// Begins and ends the pause. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct PauseHandle(Arc<watch::Sender<bool>>);

impl PauseHandle {
    pub(crate) fn new() -> (Self, PauseSignal) {
        let (sender, receiver) = watch::channel(false);
        (Self(Arc::new(sender)), PauseSignal(receiver))
    }

    pub(crate) fn set(&self, is_on: bool) {
        self.0.send_replace(is_on);
    }
}

/// Follows the pause. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct PauseSignal(watch::Receiver<bool>);

impl PauseSignal {
    pub(crate) fn is_on(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once the pause is on.
    pub(crate) async fn begun(&mut self) {
        self.becomes(true).await;
    }

    /// Returns once the pause is over.
    pub(crate) async fn ended(&mut self) {
        self.becomes(false).await;
    }

    async fn becomes(&mut self, wanted: bool) {
        if self.0.wait_for(|is_on| *is_on == wanted).await.is_err() {
            // The server has ended, so the pause does not change any more.
            std::future::pending().await
        }
    }
}
