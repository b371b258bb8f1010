//! A channel that counts its bytes, so that its producers can be slowed down.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;

/// The sending half. Cloning is cheap.
#[derive(Debug)]
pub(crate) struct BacklogSender<T> {
    sender: mpsc::UnboundedSender<Weighed<T>>,
    bytes: Arc<AtomicUsize>,
    max_bytes: usize,
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct BacklogReceiver<T> {
    receiver: mpsc::UnboundedReceiver<Weighed<T>>,
    bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Weighed<T> {
    value: T,
    bytes: usize,
}

/// Makes a channel whose producers should wait while it holds `max_bytes` or more.
pub(crate) fn backlog<T>(max_bytes: usize) -> (BacklogSender<T>, BacklogReceiver<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let bytes = Arc::<AtomicUsize>::default();
    (BacklogSender { sender, bytes: bytes.clone(), max_bytes }, BacklogReceiver { receiver, bytes })
}

impl<T> Clone for BacklogSender<T> {
    fn clone(&self) -> Self {
        let Self { sender, bytes, max_bytes } = self;
        Self { sender: sender.clone(), bytes: bytes.clone(), max_bytes: *max_bytes }
    }
}

impl<T> BacklogSender<T> {
    /// Sends a value of this many bytes. Never waits and never refuses, see [`has_room`](Self::has_room).
    pub(crate) fn send(&self, value: T, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.sender.send(Weighed { value, bytes }).is_err() {
            // The receiver has ended with the server.
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// Whether the channel holds less than its limit.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < self.max_bytes
    }
}

impl<T> BacklogReceiver<T> {
    pub(crate) async fn recv(&mut self) -> Option<T> {
        let weighed = self.receiver.recv().await?;
        Some(self.taken(weighed))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    pub(crate) fn try_recv(&mut self) -> Option<T> {
        let weighed = self.receiver.try_recv().ok()?;
        Some(self.taken(weighed))
    }

    fn taken(&self, weighed: Weighed<T>) -> T {
        self.bytes.fetch_sub(weighed.bytes, Ordering::Relaxed);
        weighed.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_has_room_again_once_it_is_received() {
        let (sender, mut receiver) = backlog(10);
        sender.send('a', 6);
        assert!(sender.has_room());
        sender.send('b', 6);
        assert!(!sender.has_room());
        assert_eq!(receiver.try_recv(), Some('a'));
        assert!(sender.has_room());
        drop(receiver);
        sender.send('c', 100);
        assert!(sender.has_room(), "a value that is not sent does not count");
    }
}
