//! A queue that is bounded in bytes. Putting into it never waits.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::{
    UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes counted for each item besides its own: its place in the queue, and allocations.
const OVERHEAD: usize = 200;

/// An item that was put into a queue. Dropping it frees its share of the queue's bytes.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) value: T,
    _bytes: OwnedSemaphorePermit,
}

/// The sending half. Cloning is cheap.
#[derive(Debug)]
pub(crate) struct ByteQueue<T> {
    sender: UnboundedSender<Queued<T>>,
    room: Arc<Semaphore>,
}

impl<T> Clone for ByteQueue<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), room: self.room.clone() }
    }
}

/// A sending half that does not keep the queue open. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct WeakByteQueue<T> {
    sender: WeakUnboundedSender<Queued<T>>,
    room: Arc<Semaphore>,
}

impl<T> WeakByteQueue<T> {
    pub(crate) fn upgrade(&self) -> Option<ByteQueue<T>> {
        Some(ByteQueue { sender: self.sender.upgrade()?, room: self.room.clone() })
    }
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct ByteQueueReceiver<T>(UnboundedReceiver<Queued<T>>);

impl<T> ByteQueue<T> {
    /// Bytes in a queue of usual size. A small event takes about 300 of them.
    pub(crate) const DEFAULT_BYTES: usize = 16 << 20;

    /// Puts in an item of this many bytes. Returns `false` if there is no room.
    pub(crate) fn put(&self, value: T, bytes: usize) -> bool {
        self.reserve(value, bytes).is_some_and(|queued| self.sender.send(queued).is_ok())
    }

    /// Puts in all items, or none of them.
    pub(crate) fn put_all(&self, all: impl IntoIterator<Item = (T, usize)>) -> bool {
        let all = all.into_iter().map(|(value, bytes)| self.reserve(value, bytes));
        let Some(all) = all.collect::<Option<Vec<_>>>() else { return false };
        all.into_iter().all(|queued| self.sender.send(queued).is_ok())
    }

    fn reserve(&self, value: T, bytes: usize) -> Option<Queued<T>> {
        let bytes = u32::try_from(bytes.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        let permit = self.room.clone().try_acquire_many_owned(bytes).ok()?;
        Some(Queued { value, _bytes: permit })
    }

    /// Whether the receiving half is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn downgrade(&self) -> WeakByteQueue<T> {
        WeakByteQueue { sender: self.sender.downgrade(), room: self.room.clone() }
    }
}

impl<T> ByteQueueReceiver<T> {
    /// Takes the next item. Returns `None` once the queue is empty and all its senders are gone.
    pub(crate) async fn take(&mut self) -> Option<Queued<T>> {
        self.0.recv().await
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The poll form of [`take`](Self::take).
    pub(crate) fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Option<Queued<T>>> {
        self.0.poll_recv(context)
    }

    /// Takes the next item if there is one now.
    pub(crate) fn take_now(&mut self) -> Option<Queued<T>> {
        self.0.try_recv().ok()
    }
}

/// Makes a queue that holds at most `bytes`.
pub(crate) fn byte_queue<T>(bytes: usize) -> (ByteQueue<T>, ByteQueueReceiver<T>) {
    let (sender, receiver) = unbounded_channel();
    let room = Arc::new(Semaphore::new(bytes));
    (ByteQueue { sender, room }, ByteQueueReceiver(receiver))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_are_free_again_once_the_item_is_dropped() {
        let (queue, mut receiver) = byte_queue(3 * (OVERHEAD + 100));
        for n in 0..3 {
            assert!(queue.put(n, 100));
        }
        assert!(!queue.put(3, 0), "the queue is full");
        let first = receiver.take().await.unwrap();
        assert!(!queue.put(3, 0), "the first item is still in use");
        drop(first);
        assert!(queue.put(3, 100));
        let rest = std::iter::from_fn(|| receiver.take_now());
        assert_eq!(rest.map(|queued| queued.value).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn put_all_puts_in_all_items_or_none() {
        let (queue, mut receiver) = byte_queue(2 * OVERHEAD);
        assert!(!queue.put_all([(1, 0), (2, 0), (3, 0)]));
        assert!(receiver.take_now().is_none());
        assert!(queue.put_all([(1, 0), (2, 0)]), "refused items hold no room");
        assert_eq!(receiver.take_now().unwrap().value, 1);
    }

    #[test]
    fn a_queue_ends_with_its_last_sender() {
        let (queue, _receiver) = byte_queue::<()>(1_000);
        let weak = queue.downgrade();
        assert!(weak.upgrade().is_some());
        drop(queue);
        assert!(weak.upgrade().is_none());
    }
}
