//! The requests of one endpoint, on disk.
//!
//! A request is a job of `clarim-queue` from the moment its events are taken until the endpoint accepts it.
//! Requests are sent one after the other, in order. A request that was accepted just before a crash may be
//! sent again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clarim_queue::{Error, NewJob, ReservedJob, Storage};
use sha1::{Digest, Sha1};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::clock::now_ms;
use crate::config::Webhook;
use crate::sync::DropCounter;
use crate::webhooks::WebhookEvent;
use crate::webhooks::payload::{self, StoredRequest};
use crate::webhooks::sender::{BATCH, REQUEST_TIMEOUT, Sender, delays};
use crate::webhooks::waiting::Waiting;

/// Age after which a request that its endpoint does not accept is dropped.
const GIVE_UP: Duration = Duration::from_secs(3 * 86_400);

/// Maximum number of requests that wait for one endpoint.
const MAX_WAITING: u64 = 100_000;

/// Time for which events are gathered into one request while other requests wait.
const GATHER: Duration = Duration::from_secs(1);

/// Lease of a request that is being sent. After a crash, it is sent again once this is over.
const LEASE: Duration = Duration::from_secs(30);
const _: () = assert!(LEASE.as_secs() > 2 * REQUEST_TIMEOUT.as_secs());

/// Interval of looking for a request whose lease is over.
const POLL: Duration = Duration::from_secs(5);

/// Pause after an error of the storage.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The queue of one endpoint.
#[derive(Debug)]
pub(in crate::webhooks) struct DurableQueue {
    storage: Arc<dyn Storage>,
    name: String,
    /// Number of stored requests.
    waiting: Cell<u64>,
    /// Time when this run began, in milliseconds since 1970. Older requests are those of an earlier run.
    opened_ms: u64,
    /// Set once no further event comes.
    is_closed: Cell<bool>,
    /// A request was stored, or no further event comes.
    changed: Notify,
    /// A failed request, and its id in the log of deliveries.
    failed: Cell<Option<(u64, u64)>>,
    /// Events dropped because too many requests wait.
    overflows: DropCounter,
    /// Errors of the storage.
    errors: DropCounter,
}

impl DurableQueue {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        app: &str,
        webhook: &Webhook,
        twins: usize,
        opened_ms: u64,
    ) -> Self {
        // A digest, because URLs may contain secrets.
        let digest = Sha1::digest(format!("{app}\n{}\n{twins}", webhook.url));
        Self {
            storage,
            name: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            waiting: Cell::new(0),
            opened_ms,
            is_closed: Cell::new(false),
            changed: Notify::new(),
            failed: Cell::new(None),
            overflows: DropCounter::default(),
            errors: DropCounter::default(),
        }
    }

    /// Stores events, and sends what is stored. Ends when no further event comes and everything that the
    /// endpoint accepts is sent.
    pub(in crate::webhooks) async fn run(&self, sender: &Sender, waiting: &Waiting) {
        self.count().await;
        if self.waiting.get() > 0 {
            let url = sender.webhook.redacted_url();
            tracing::info!(url, requests = self.waiting.get(), "webhooks of an earlier run wait");
        }
        tokio::join!(self.store_all(sender, waiting), self.send_all(sender));
    }

    async fn store_all(&self, sender: &Sender, waiting: &Waiting) {
        while waiting.take(BATCH).await {
            if self.waiting.get() > 0 {
                gather(waiting).await;
            }
            self.store(sender, waiting).await;
        }
        self.is_closed.set(true);
        self.changed.notify_one();
    }

    /// Stores the batch, and forgets it. Until then, its events wait in memory.
    async fn store(&self, sender: &Sender, waiting: &Waiting) {
        loop {
            // Stored events must not be saved in a snapshot as well.
            let sending = sender.sending.read().await;
            match self.push(sender, &waiting.batch()).await {
                Ok(()) => return waiting.forget_batch(),
                Err(error) => self.report(&error),
            }
            // A hand-over need not wait for the disk.
            drop(sending);
            sleep(AFTER_ERROR).await;
        }
    }

    async fn push(&self, sender: &Sender, batch: &[Arc<WebhookEvent>]) -> Result<(), Error> {
        if self.waiting.get() >= MAX_WAITING {
            sender.counters.given_up.add(batch.len() as u64);
            if let Some(requests) = self.overflows.add() {
                let url = sender.webhook.redacted_url();
                tracing::warn!(
                    url,
                    requests,
                    "webhook requests dropped: {MAX_WAITING} are already waiting"
                );
            }
            return Ok(());
        }
        let payload = payload::request(batch.iter().map(Arc::as_ref));
        let mut job = NewJob::new(&self.name, payload);
        job.order_keys = vec![self.name.clone()];
        self.storage.push(&job).await?;
        self.waiting.set(self.waiting.get() + 1);
        self.changed.notify_one();
        Ok(())
    }

    async fn send_all(&self, sender: &Sender) {
        loop {
            let sending = sender.sending.read().await;
            match self.storage.reserve(&self.name, LEASE).await {
                Ok(Some(job)) => {
                    let Some(delay) = self.send(sender, &job).await else { continue };
                    drop(sending);
                    if self.is_closed.get() {
                        return;
                    }
                    sleep(delay).await;
                }
                Ok(None) if self.is_closed.get() => return,
                Ok(None) => {
                    drop(sending);
                    let _ = timeout(POLL, self.changed.notified()).await;
                    self.count().await;
                }
                Err(error) => {
                    drop(sending);
                    self.report(&error);
                    if self.is_closed.get() {
                        return;
                    }
                    sleep(AFTER_ERROR).await;
                }
            }
        }
    }

    /// Makes an attempt. Returns the delay before the next one if it fails.
    async fn send(&self, sender: &Sender, job: &ReservedJob) -> Option<Duration> {
        let Some(StoredRequest { time_ms, events }) = StoredRequest::parse(&job.payload) else {
            tracing::error!(
                "dropping a stored webhook request that is not in the format of this version"
            );
            self.complete(job).await;
            return None;
        };
        let count = events.len() as u64;
        let id = match self.failed.take() {
            Some((failed, id)) if failed == job.id => id,
            _ => sender.begin(events, job.payload.len()),
        };
        let counters = &sender.counters;
        // Its events were counted as queued by the run that stored it.
        let inherited = if time_ms < self.opened_ms { count } else { 0 };
        let Err(reason) = sender.attempt(id, &Bytes::from(job.payload.clone())).await else {
            self.complete(job).await;
            counters.queued.add(inherited);
            counters.sent.add(count);
            return None;
        };
        if now_ms().saturating_sub(time_ms) > GIVE_UP.as_millis() as u64 {
            self.complete(job).await;
            counters.queued.add(inherited);
            sender.give_up(id, count, &reason);
            return None;
        }
        let delay = delays().nth(job.attempt as usize - 1).unwrap_or_default();
        if let Err(error) = self.storage.release(job, &job.payload, delay).await {
            self.report(&error);
        }
        self.failed.set(Some((job.id, id)));
        Some(delay)
    }

    /// Deletes a request.
    async fn complete(&self, job: &ReservedJob) {
        // If this fails, the request is sent again after its lease.
        if let Err(error) = self.storage.complete(job).await {
            self.report(&error);
        }
        self.waiting.set(self.waiting.get().saturating_sub(1));
    }

    /// Counts the stored requests.
    async fn count(&self) {
        match self.storage.sizes().await {
            Ok(sizes) => {
                let size = sizes.iter().find(|size| size.queue == self.name);
                self.waiting.set(size.map_or(0, |size| size.waiting + size.later + size.running));
            }
            Err(error) => self.report(&error),
        }
    }

    fn report(&self, error: &Error) {
        if let Some(count) = self.errors.add() {
            tracing::error!(%error, count, "cannot store webhooks; they wait in memory");
        }
    }
}

/// Fills a batch with what comes within [`GATHER`].
async fn gather(waiting: &Waiting) {
    let end = Instant::now() + GATHER;
    while waiting.batch().len() < BATCH {
        let Ok(true) = timeout_at(end, waiting.take(BATCH)).await else { return };
    }
}
