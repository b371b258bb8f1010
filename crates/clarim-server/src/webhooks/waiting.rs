//! The events that an endpoint has still to be sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use super::WebhookEvent;
use crate::sync::{ByteQueueReceiver, Queued};

/// The receiving half of an endpoint's queue, and the events taken from it that are not accepted, or stored,
/// yet. All of them can be saved at any time.
#[derive(Debug)]
pub(super) struct Waiting {
    queue: RefCell<ByteQueueReceiver<Arc<WebhookEvent>>>,
    /// Events that were taken from the queue to be saved.
    held: RefCell<VecDeque<Queued<Arc<WebhookEvent>>>>,
    batch: RefCell<Vec<Queued<Arc<WebhookEvent>>>>,
}

impl Waiting {
    pub(super) fn new(queue: ByteQueueReceiver<Arc<WebhookEvent>>) -> Self {
        Self { queue: RefCell::new(queue), held: RefCell::default(), batch: RefCell::default() }
    }

    /// Moves the next events to the batch, at least one and at most so many that the batch has `limit`.
    /// Returns `false` once no further event comes.
    pub(super) async fn take(&self, limit: usize) -> bool {
        let first = poll_fn(|cx| match self.held.borrow_mut().pop_front() {
            Some(event) => Poll::Ready(Some(event)),
            None => self.queue.borrow_mut().poll_take(cx),
        });
        let Some(first) = first.await else { return false };
        let mut batch = self.batch.borrow_mut();
        batch.push(first);
        while batch.len() < limit {
            let next = self.held.borrow_mut().pop_front();
            let Some(next) = next.or_else(|| self.queue.borrow_mut().take_now()) else { break };
            batch.push(next);
        }
        true
    }

    /// The events of the batch.
    pub(super) fn batch(&self) -> Vec<Arc<WebhookEvent>> {
        self.batch.borrow().iter().map(|queued| queued.value.clone()).collect()
    }

    /// Forgets the batch, whose events need nothing more.
    pub(super) fn forget_batch(&self) {
        self.batch.borrow_mut().clear();
    }

    /// Returns all events in their order.
    pub(super) fn save(&self) -> Vec<Arc<WebhookEvent>> {
        let mut held = self.held.borrow_mut();
        let mut queue = self.queue.borrow_mut();
        held.extend(std::iter::from_fn(|| queue.take_now()));
        let batch = self.batch.borrow();
        batch.iter().chain(&*held).map(|queued| queued.value.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::sync::byte_queue;

    #[tokio::test]
    async fn saved_events_are_still_there() {
        let (queue, receiver) = byte_queue(100_000);
        let waiting = Waiting::new(receiver);
        let put = |n: usize| {
            let body = to_raw_value(&n).unwrap();
            let channel = n.to_string();
            assert!(queue.put(Arc::new(WebhookEvent { name: "x", channel, body }), 1));
        };
        let channels = |events: Vec<Arc<WebhookEvent>>| {
            events.iter().map(|event| event.channel.clone()).collect::<Vec<_>>().concat()
        };
        (0..3).for_each(put);
        assert!(waiting.take(2).await);
        assert_eq!(channels(waiting.save()), "012");
        put(3);
        assert_eq!(channels(waiting.save()), "0123");
        waiting.forget_batch();
        assert!(waiting.take(2).await);
        assert_eq!(channels(waiting.batch()), "23");
        waiting.forget_batch();
        drop(queue);
        assert!(!waiting.take(2).await);
    }
}
