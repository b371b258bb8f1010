//! The workers' inboxes: messages that one thread has for another to deliver.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

use clarim_hub::{ConnectionId, WorkerId, WorkerMessage};
use tokio::sync::Notify;

/// Publishers wait while an inbox holds more than this many bytes.
pub(super) const MAX_BYTES: usize = 64 << 20;

/// One worker's inbox.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<MessageQueue>,
    bytes: AtomicUsize,
    /// Whether the queue has connections in `ready`.
    has_ready: AtomicBool,
    /// The worker is running and looks here again before it sleeps, so it needs no wake-up.
    is_awake: AtomicBool,
    wake: Notify,
    is_closed: AtomicBool,
    /// Number of the node's inboxes that are over the limit. One number for all, so that a publisher reads
    /// one and not as many as there are workers.
    full_inboxes: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct MessageQueue {
    messages: VecDeque<WorkerMessage>,
    /// Arrival of the first message.
    first_arrived: Option<Instant>,
    /// Connections without a socket that can be read or written again.
    ready: Vec<ConnectionId>,
}

/// Reports that a connection without a socket can be read or written again.
struct Ready {
    inbox: Arc<Inbox>,
    id: ConnectionId,
}

impl Wake for Ready {
    fn wake(self: Arc<Self>) {
        let inbox = &self.inbox;
        let mut queue = inbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.ready.push(self.id);
        inbox.has_ready.store(true, Ordering::Relaxed);
        drop(queue);
        inbox.wake();
    }
}

impl Inbox {
    /// Returns a waker that puts a connection into the list of [`take_ready`](Self::take_ready).
    pub(crate) fn waker_of(self: &Arc<Self>, id: ConnectionId) -> Waker {
        Arc::new(Ready { inbox: self.clone(), id }).into()
    }

    /// Takes the connections without a socket that can be read or written again. An id may be that of a
    /// connection that has ended.
    pub(crate) fn take_ready(&self) -> Vec<ConnectionId> {
        if !self.has_ready.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        self.has_ready.store(false, Ordering::Relaxed);
        std::mem::take(&mut queue.ready)
    }

    fn wake(&self) {
        if !self.is_awake.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Moves all messages to `taken`, which must be empty. Returns when the first of them arrived. Their
    /// bytes count until they are [`processed`](Self::processed).
    pub(super) fn take(&self, taken: &mut VecDeque<WorkerMessage>) -> Option<Instant> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Both keep their memory for the next messages.
        std::mem::swap(taken, &mut queue.messages);
        queue.first_arrived.take()
    }

    /// Takes note that messages of this weight have been processed.
    pub(super) fn processed(&self, bytes: usize) {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if before > MAX_BYTES && before - bytes <= MAX_BYTES {
            // Under the lock, so that the push that filled the inbox has counted it by now.
            let _queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            self.full_inboxes.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Announces that a wake-up is needed from now on. Returns `false` if a message has arrived since.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.is_awake.store(false, Ordering::SeqCst);
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let is_empty = queue.messages.is_empty() && queue.ready.is_empty();
        drop(queue);
        if !is_empty {
            self.is_awake.store(true, Ordering::SeqCst);
        }
        is_empty
    }

    pub(crate) fn wake_up(&self) {
        self.is_awake.store(true, Ordering::SeqCst);
    }

    /// Returns once a message has arrived since [`fall_asleep`](Self::fall_asleep).
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Drops all messages, now and later, since the worker has ended.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.take(&mut VecDeque::new());
        self.processed(self.bytes.load(Ordering::Relaxed));
    }

    fn push(&self, message: WorkerMessage) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock that `close` takes after setting it, so that no message stays behind.
        if self.is_closed.load(Ordering::Relaxed) {
            return;
        }
        let weight = message.weight();
        let before = self.bytes.fetch_add(weight, Ordering::Relaxed);
        if before <= MAX_BYTES && before + weight > MAX_BYTES {
            self.full_inboxes.fetch_add(1, Ordering::Relaxed);
        }
        // Reads the clock once for all messages that are taken together.
        if queue.messages.is_empty() {
            queue.first_arrived = Some(Instant::now());
        }
        queue.messages.push_back(message);
        drop(queue);
        self.wake();
    }
}

/// All inboxes of a node. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Inboxes {
    inboxes: Arc<[Arc<Inbox>]>,
    full_inboxes: Arc<AtomicUsize>,
}

impl Inboxes {
    pub(crate) fn new(workers: u16) -> Self {
        let full_inboxes = Arc::<AtomicUsize>::default();
        let inbox = |_| Arc::new(Inbox { full_inboxes: full_inboxes.clone(), ..Inbox::default() });
        Self { inboxes: (0..workers).map(inbox).collect(), full_inboxes }
    }

    /// Appends a message to a worker's inbox.
    pub(crate) fn push(&self, worker: WorkerId, message: WorkerMessage) {
        self.inboxes[usize::from(worker.0)].push(message);
    }

    /// Whether every inbox is below its limit.
    pub(crate) fn have_room(&self) -> bool {
        self.full_inboxes.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn of(&self, worker: WorkerId) -> Arc<Inbox> {
        self.inboxes[usize::from(worker.0)].clone()
    }

    /// Bytes in the inbox of each worker.
    pub(crate) fn bytes(&self) -> Vec<usize> {
        self.inboxes.iter().map(|inbox| inbox.bytes.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clarim_hub::{Apps, DeliveryAck};

    use super::*;

    fn message(bytes: usize) -> WorkerMessage {
        let frame = clarim_protocol::Frame::text(&vec![b'x'; bytes]);
        let connection = ConnectionId(0);
        WorkerMessage::Send { connection, socket_id: "1.1".parse().unwrap(), frame }
    }

    #[test]
    fn an_inbox_over_its_limit_leaves_no_room_until_it_is_processed() {
        let inboxes = Inboxes::new(2);
        inboxes.push(WorkerId(1), message(MAX_BYTES));
        assert!(!inboxes.have_room());
        inboxes.push(WorkerId(1), message(1));
        let inbox = inboxes.of(WorkerId(1));
        let mut taken = VecDeque::new();
        inbox.take(&mut taken);
        assert!(!inboxes.have_room(), "they are not processed yet");
        inbox.processed(taken.iter().map(WorkerMessage::weight).sum());
        assert!(inboxes.have_room());
    }

    #[tokio::test]
    async fn the_inbox_of_an_ended_worker_drops_its_messages() {
        let inboxes = Inboxes::new(1);
        let terminate = || {
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            let apps = Apps::new([clarim_hub::app::App::new("1", "key", "secret")]);
            let app = apps.find_by_id("1").unwrap();
            let ack = Some(DeliveryAck::new(move |_| drop(sender)));
            inboxes.push(WorkerId(0), WorkerMessage::Terminate { app, user: "1".into(), ack });
            receiver
        };
        let before = terminate();
        inboxes.of(WorkerId(0)).close();
        for receiver in [before, terminate()] {
            tokio::time::timeout(Duration::from_secs(1), receiver).await.unwrap().unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_sleeping_worker_is_woken_by_a_message() {
        let inboxes = Inboxes::new(1);
        let inbox = inboxes.of(WorkerId(0));
        inboxes.push(WorkerId(0), message(1));
        assert!(!inbox.fall_asleep(), "a message is waiting");
        inbox.take(&mut VecDeque::new());
        assert!(inbox.fall_asleep());
        inboxes.push(WorkerId(0), message(1));
        tokio::time::timeout(Duration::from_secs(1), inbox.woken()).await.unwrap();
    }
}
