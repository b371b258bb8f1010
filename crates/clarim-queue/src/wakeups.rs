//! Wake-ups of workers.

use std::fmt;
use std::future::pending;

use tokio::sync::watch;

/// The wake-ups of a worker: hints that a job may have been stored. Without them, a worker polls its storage.
pub struct Wakeups(Option<watch::Receiver<()>>);

/// The source of [`Wakeups`]; for implementations of [`Storage`](crate::Storage).
pub struct WakeupSender(watch::Sender<()>);

impl Wakeups {
    /// No wake-ups.
    #[must_use]
    pub fn never() -> Self {
        Self(None)
    }

    /// Wake-ups and their source.
    #[must_use]
    pub fn channel() -> (WakeupSender, Self) {
        let sender = watch::Sender::new(());
        let receiver = sender.subscribe();
        (WakeupSender(sender), Self(Some(receiver)))
    }

    /// Ignores the wake-ups until now. Called before the storage is asked for a job, it loses none that comes
    /// in the meantime.
    pub(crate) fn mark_seen(&mut self) {
        if let Some(receiver) = &mut self.0 {
            receiver.mark_unchanged();
        }
    }

    /// Waits for the next wake-up.
    pub(crate) async fn next(&mut self) {
        if let Some(receiver) = &mut self.0
            && receiver.changed().await.is_ok()
        {
            return;
        }
        pending().await
    }
}

impl WakeupSender {
    /// Wakes the worker.
    pub fn wake(&self) {
        self.0.send_replace(());
    }

    /// Waits until the worker has ended.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

impl fmt::Debug for Wakeups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wakeups").finish_non_exhaustive()
    }
}

impl fmt::Debug for WakeupSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeupSender").finish_non_exhaustive()
    }
}
