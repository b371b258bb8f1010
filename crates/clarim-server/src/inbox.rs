//! The workers' inboxes: what one thread has for another to deliver.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_hub::{
    Apps, BusCommand, ChannelEvent, ChannelKey, ConnectionEvent, DeliveryAck, Migration, Outputs,
    WorkerId, WorkerMessage,
};
use clarim_protocol::cluster::{NodeId, Trace};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::cluster::Outgoing;
use crate::events::Audience;
use crate::inspector::Tap;
use crate::traces::Traces;
use crate::webhooks::Webhooks;

/// Publishers wait while an inbox holds more than this many bytes.
const MAX_BYTES: usize = 64 << 20;

/// How long publishers wait for room before they are told to come again.
const PATIENCE: Duration = Duration::from_secs(2);

/// One worker's inbox.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    entries: Mutex<Entries>,
    bytes: AtomicUsize,
    /// The worker is running and will look here again before it sleeps: it needs no wake-up.
    awake: AtomicBool,
    wake: Notify,
    closed: AtomicBool,
    /// Inboxes of the node that hold too much. One number for all, so that publishing looks at one place and
    /// not at as many as there are workers.
    full: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Entries {
    waiting: Vec<WorkerMessage>,
    /// When the first of them came.
    since: Option<std::time::Instant>,
}

impl Inbox {
    /// Moves all entries to the end of `taken`; when the first of them came.
    pub(crate) fn take(&self, taken: &mut Vec<WorkerMessage>) -> Option<std::time::Instant> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        taken.append(&mut entries.waiting);
        // A burst must not keep its memory for ever.
        if entries.waiting.capacity() > 4096 {
            entries.waiting = Vec::new();
        }
        // Under the lock, as in `push`: the two never miss each other's count.
        if self.bytes.swap(0, Ordering::Relaxed) > MAX_BYTES {
            self.full.fetch_sub(1, Ordering::Relaxed);
        }
        entries.since.take()
    }

    /// Says that from now on a wake-up is needed. `false`: something has come in the meantime.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.awake.store(false, Ordering::SeqCst);
        let empty = self.entries.lock().unwrap_or_else(PoisonError::into_inner).waiting.is_empty();
        if !empty {
            self.awake.store(true, Ordering::SeqCst);
        }
        empty
    }

    pub(crate) fn wake_up(&self) {
        self.awake.store(true, Ordering::SeqCst);
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Returns when something has come since [`fall_asleep`](Self::fall_asleep).
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The worker has ended: what is here, and what still comes, is dropped.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.take(&mut Vec::new());
    }

    fn push(&self, entry: WorkerMessage) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at under the lock that `close` takes after setting it: nothing slips in behind.
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let weight = entry.weight();
        let before = self.bytes.fetch_add(weight, Ordering::Relaxed);
        if before <= MAX_BYTES && before + weight > MAX_BYTES {
            self.full.fetch_add(1, Ordering::Relaxed);
        }
        // So the clock is asked once for all that comes while nothing is taken.
        if entries.waiting.is_empty() {
            entries.since = Some(std::time::Instant::now());
        }
        entries.waiting.push(entry);
        drop(entries);
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }
}

/// Where besides the workers something is to go.
pub(crate) struct Ways {
    /// In a cluster.
    pub(crate) outgoing: Option<Outgoing>,
    pub(crate) webhooks: Webhooks,
    pub(crate) audience: Option<Arc<Audience>>,
    pub(crate) traces: Option<Arc<Traces>>,
}

/// All inboxes of a node.
#[derive(Debug, Clone)]
pub(crate) struct Inboxes {
    inboxes: Arc<[Arc<Inbox>]>,
    full: Arc<AtomicUsize>,
    compression: bool,
    /// In a cluster, the way to its bus.
    outgoing: Option<Outgoing>,
    /// The way to the webhooks.
    webhooks: Webhooks,
    /// Where events go while somebody watches them.
    pub(crate) tap: Arc<Tap>,
    /// Who is told of all that happens, if anybody wants to be: see `ServerConfig::events`.
    pub(crate) audience: Option<Arc<Audience>>,
    /// If the way of events is traced.
    pub(crate) traces: Option<Arc<Traces>>,
}

impl Inboxes {
    /// `compression`: whether connections may agree on it.
    pub(crate) fn new(workers: u16, compression: bool, ways: Ways) -> Self {
        let Ways { outgoing, webhooks, audience, traces } = ways;
        let full = Arc::<AtomicUsize>::default();
        let inbox = |_| Arc::new(Inbox { full: full.clone(), ..Inbox::default() });
        let inboxes = (0..workers).map(inbox).collect();
        Self {
            inboxes,
            full,
            compression,
            outgoing,
            webhooks,
            tap: Arc::default(),
            audience,
            traces,
        }
    }

    /// Whether no worker has too much to do. What waits for the bus doesn't count.
    pub(crate) fn workers_have_room(&self) -> bool {
        self.full.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn of(&self, worker: WorkerId) -> Arc<Inbox> {
        self.inboxes[usize::from(worker.0)].clone()
    }

    /// Bytes that wait for each worker.
    pub(crate) fn bytes(&self) -> Vec<usize> {
        self.inboxes.iter().map(|inbox| inbox.bytes()).collect()
    }

    /// Waits until every inbox has room. `false`: one hasn't, for too long.
    pub(crate) async fn room(&self) -> bool {
        if self.has_room() {
            return true;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.has_room() {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(5)).await;
        }
        true
    }
}

impl Outputs for Inboxes {
    fn post(&self, worker: WorkerId, entry: WorkerMessage) {
        self.inboxes[usize::from(worker.0)].push(entry);
    }

    fn has_room(&self) -> bool {
        self.workers_have_room() && self.outgoing.as_ref().is_none_or(Outgoing::has_room)
    }

    fn compresses(&self) -> bool {
        self.compression
    }

    fn fact(&self, fact: ChannelEvent) {
        if let Some(audience) = &self.audience {
            audience.fact(&fact);
        }
        self.webhooks.take(fact);
    }

    fn happened(&self, happening: ConnectionEvent) {
        if let Some(audience) = &self.audience {
            audience.happened(&happening);
        }
    }

    fn moved(&self, moved: Migration) {
        self.webhooks.take_moved(moved);
    }

    fn node_id(&self) -> Option<NodeId> {
        self.outgoing.as_ref().map(|outgoing| outgoing.id)
    }

    fn arrived(&self, apps: &Apps, channel: &ChannelKey, trace: Trace) -> Option<DeliveryAck> {
        self.traces.as_ref()?.arrived(apps, channel, trace)
    }

    fn tell(&self, told: BusCommand) {
        if let Some(outgoing) = &self.outgoing {
            outgoing.tell(told);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> WorkerMessage {
        let frame = clarim_protocol::Frame::text(&vec![b'x'; bytes]);
        let (connection, socket_id) = (clarim_hub::ConnectionId(0), "1.1".parse().unwrap());
        WorkerMessage::Tell { connection, socket_id, frame }
    }

    fn inboxes(workers: u16) -> Inboxes {
        let (webhooks, _) = crate::webhooks::channel(&crate::config::ServerConfig::default());
        let ways = Ways { outgoing: None, webhooks, audience: None, traces: None };
        Inboxes::new(workers, false, ways)
    }

    #[tokio::test(start_paused = true)]
    async fn publishers_wait_for_room_and_then_give_up() {
        let inboxes = inboxes(2);
        assert!(inboxes.room().await);
        inboxes.post(WorkerId(1), entry(MAX_BYTES));
        assert!(!inboxes.room().await);
        let waiting = tokio::spawn({
            let inboxes = inboxes.clone();
            async move { inboxes.room().await }
        });
        sleep(Duration::from_millis(20)).await;
        inboxes.of(WorkerId(1)).take(&mut Vec::new());
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_keeps_no_publisher_waiting() {
        let inboxes = inboxes(1);
        let wait = || {
            let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
            let apps = Apps::new([clarim_hub::app::App::new("1", "key", "secret")]);
            let app = apps.find_by_id("1").unwrap();
            let receipt = Some(DeliveryAck::new(move |_| drop(sender)));
            inboxes.post(WorkerId(0), WorkerMessage::Terminate { app, user: "1".into(), receipt });
            receiver
        };
        let before = wait();
        inboxes.of(WorkerId(0)).close();
        for receiver in [before, wait()] {
            tokio::time::timeout(Duration::from_secs(1), receiver).await.unwrap().unwrap_err();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_slept_through() {
        let inboxes = inboxes(1);
        let inbox = inboxes.of(WorkerId(0));
        inboxes.post(WorkerId(0), entry(1));
        assert!(!inbox.fall_asleep(), "an entry is waiting");
        inbox.take(&mut Vec::new());
        assert!(inbox.fall_asleep());
        inboxes.post(WorkerId(0), entry(1));
        tokio::time::timeout(Duration::from_secs(1), inbox.woken()).await.unwrap();
    }
}
