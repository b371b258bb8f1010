//! A queue that holds so many bytes and no more, whoever does not take from it.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{
    UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes in a queue. A small event takes about 300 of them.
pub(crate) const BYTES: usize = 16 << 20;

/// What is counted of each thing besides its own bytes: its place in the queue, and allocations.
const OVERHEAD: usize = 200;

/// What has been put into a queue, and its share of the room there, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) value: T,
    _room: OwnedSemaphorePermit,
}

/// The way in. Cloning is cheap.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    sender: UnboundedSender<Queued<T>>,
    room: Arc<Semaphore>,
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), room: self.room.clone() }
    }
}

/// A way in that does not keep the queue open. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct WeakQueue<T> {
    sender: WeakUnboundedSender<Queued<T>>,
    room: Arc<Semaphore>,
}

impl<T> WeakQueue<T> {
    pub(crate) fn upgrade(&self) -> Option<Queue<T>> {
        Some(Queue { sender: self.sender.upgrade()?, room: self.room.clone() })
    }
}

/// The way out.
#[derive(Debug)]
pub(crate) struct Waiting<T>(UnboundedReceiver<Queued<T>>);

/// A queue for `bytes`.
pub(crate) fn queue<T>(bytes: usize) -> (Queue<T>, Waiting<T>) {
    let (sender, receiver) = unbounded_channel();
    (Queue { sender, room: Arc::new(Semaphore::new(bytes)) }, Waiting(receiver))
}

impl<T> Queue<T> {
    /// Puts something of so many bytes in, if there is room. Never waits.
    pub(crate) fn put(&self, value: T, bytes: usize) -> bool {
        self.room_for(value, bytes).is_some_and(|queued| self.sender.send(queued).is_ok())
    }

    /// Puts all in, or nothing.
    pub(crate) fn put_all(&self, all: impl IntoIterator<Item = (T, usize)>) -> bool {
        let all = all.into_iter().map(|(value, bytes)| self.room_for(value, bytes));
        let Some(all) = all.collect::<Option<Vec<_>>>() else { return false };
        all.into_iter().all(|queued| self.sender.send(queued).is_ok())
    }

    fn room_for(&self, value: T, bytes: usize) -> Option<Queued<T>> {
        let bytes = u32::try_from(bytes.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(bytes).ok()?;
        Some(Queued { value, _room: room })
    }

    /// Whether nobody takes anything out any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(crate) fn downgrade(&self) -> WeakQueue<T> {
        WeakQueue { sender: self.sender.downgrade(), room: self.room.clone() }
    }
}

impl<T> Waiting<T> {
    /// The next; `None`: the queue is empty, and nobody can put anything in any more.
    pub(crate) async fn take(&mut self) -> Option<Queued<T>> {
        self.0.recv().await
    }

    /// Whether there is nothing to take now.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As [`take`](Self::take), for who is polled.
    pub(crate) fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Option<Queued<T>>> {
        self.0.poll_recv(context)
    }

    /// The next so many that are there, at least one. `false`: as `None` of [`take`](Self::take).
    pub(crate) async fn take_many(&mut self, taken: &mut Vec<Queued<T>>, most: usize) -> bool {
        self.0.recv_many(taken, most).await > 0
    }

    /// The next, if there is one now.
    pub(crate) fn take_now(&mut self) -> Result<Queued<T>, TryRecvError> {
        self.0.try_recv()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_free_again_when_what_took_it_is_done_with() {
        let (queue, mut waiting) = queue(3 * (OVERHEAD + 100));
        for n in 0..3 {
            assert!(queue.put(n, 100));
        }
        assert!(!queue.put(3, 0), "it is full");
        let first = waiting.take().await.unwrap();
        assert!(!queue.put(3, 0), "the first one is still at work");
        drop(first);
        assert!(queue.put(3, 100));
        let mut rest = Vec::new();
        assert!(waiting.take_many(&mut rest, 10).await);
        assert_eq!(rest.iter().map(|queued| queued.value).collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn all_go_in_or_none() {
        let (queue, mut waiting) = queue(2 * OVERHEAD);
        assert!(!queue.put_all([(1, 0), (2, 0), (3, 0)]));
        assert!(waiting.take_now().is_err());
        assert!(queue.put_all([(1, 0), (2, 0)]), "what was refused holds no room");
        assert_eq!(waiting.take_now().unwrap().value, 1);
    }

    #[test]
    fn a_queue_ends_with_its_last_way_in() {
        let (queue, _waiting) = queue::<()>(BYTES);
        let weak = queue.downgrade();
        assert!(weak.upgrade().is_some());
        drop(queue);
        assert!(weak.upgrade().is_none());
    }
}
