//! Webhooks, as Pusher defines them: signed requests that report an app's channel events to its backend.
//!
//! Workers put events into a bounded queue and go on. A thread of its own does everything else. A slow or
//! dead endpoint fills its own queue; dropped events are counted, and logged now and then.

mod delivery_log;
#[cfg_attr(not(feature = "durable-webhooks"), path = "no_durable.rs")]
mod durable;
mod endpoint;
mod payload;
mod saved;
mod sender;
mod task;
mod waiting;

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, PoisonError};

use clarim_hub::{AppIndex, ChannelEvent, Migration};
use serde_json::value::RawValue;
use tokio::sync::{OwnedRwLockWriteGuard, RwLock, mpsc, oneshot, watch};

use crate::config::{ServerConfig, Webhook};
use crate::net::client::EgressPolicy;
use crate::runtime::Observer;
use crate::sync::{ByteQueue, Counter, DropCounter, byte_queue};
pub(crate) use delivery_log::{DeliveryLog, Replay};
use durable::WebhookDirectory;
pub(crate) use saved::SavedWebhooks;
pub(crate) use task::WebhookTask;

/// The endpoints of each app, by the app's id.
pub(crate) type EndpointsByApp = HashMap<String, Vec<Webhook>>;

/// An event for the webhook thread.
#[derive(Debug)]
enum Incoming {
    Channel(ChannelEvent),
    Migration(Migration),
}

/// The apps with endpoints, once they are known. Hub events of other apps are for event streams.
type HookedApps = Arc<std::sync::RwLock<Option<HashSet<AppIndex>>>>;

/// The way to the webhook thread.
#[derive(Debug)]
pub(crate) struct Webhooks {
    incoming: ByteQueue<Incoming>,
    endpoints: watch::Sender<EndpointsByApp>,
    hooked: HookedApps,
    pub(crate) counters: Arc<WebhookCounters>,
    requests: mpsc::UnboundedSender<oneshot::Sender<SavedWebhooks>>,
    /// Held for writing while nothing may be sent.
    sending: Arc<RwLock<()>>,
}

/// Counters of webhook events and requests, and the log of deliveries.
#[derive(Debug, Default)]
pub(crate) struct WebhookCounters {
    /// Events put into an endpoint's queue.
    queued: Counter,
    pub(crate) sent: Counter,
    /// Failed requests, before a retry or for good.
    pub(crate) failed: Counter,
    /// Events dropped since a queue was full.
    overflowed: Counter,
    /// Events dropped since all retries failed.
    given_up: Counter,
    /// Drops of the incoming queue.
    drops: DropCounter,
    pub(crate) log: DeliveryLog,
}

impl WebhookCounters {
    /// Events that no endpoint will receive.
    pub(crate) fn dropped(&self) -> u64 {
        self.overflowed.get() + self.given_up.get()
    }

    /// Events in the queues of endpoints, and in requests in progress.
    pub(crate) fn waiting(&self) -> u64 {
        // Each number is read by itself, so one may be a moment ahead of another.
        self.queued.get().saturating_sub(self.sent.get() + self.given_up.get())
    }

    fn log_drops(&self) {
        if let Some(count) = self.drops.take_unlogged() {
            warn_overflow(count);
        }
    }

    /// Puts the events of a delivery into its endpoint's queue again.
    pub(crate) fn replay(&self, id: u64) -> Replay {
        let replay = self.log.replay(id);
        if let Replay::Queued(events) = replay {
            self.queued.add(events as u64);
        }
        replay
    }
}

fn warn_overflow(count: u64) {
    tracing::warn!(count, "webhook events dropped: the webhook thread can't keep up");
}

impl Webhooks {
    /// Makes the way to the webhook thread, and the task to run there. Fails if the directory of the
    /// webhooks can't be used.
    pub(crate) fn new(config: &ServerConfig) -> io::Result<(Arc<Self>, WebhookTask)> {
        let policy = match config.webhook_private_addresses {
            true => EgressPolicy::Anywhere,
            false => EgressPolicy::Public,
        };
        let (incoming, receiver) = byte_queue(ByteQueue::<Incoming>::DEFAULT_BYTES);
        let (endpoints, wanted) = watch::channel(config.webhooks.clone());
        let counters = Arc::<WebhookCounters>::default();
        let hooked = HookedApps::default();
        let (requests, saves) = mpsc::unbounded_channel();
        let sending = Arc::<RwLock<()>>::default();
        let webhooks = Self {
            incoming,
            endpoints,
            hooked: hooked.clone(),
            counters: counters.clone(),
            requests,
            sending: sending.clone(),
        };
        let is_clustered = config.scaling.is_some();
        let directory = config.webhook_dir.as_deref();
        let directory =
            directory.map(|path| WebhookDirectory::open(path, is_clustered)).transpose()?;
        let task = WebhookTask {
            incoming: receiver,
            saves,
            wanted,
            policy,
            counters,
            hooked,
            directory,
            sending,
        };
        Ok((Arc::new(webhooks), task))
    }

    /// Replaces the endpoints.
    pub(crate) fn set(&self, endpoints: EndpointsByApp) {
        self.endpoints.send_replace(endpoints);
    }

    /// Waits until no request is being sent. None is sent while the returned value is held.
    pub(crate) async fn rest(&self) -> OwnedRwLockWriteGuard<()> {
        self.sending.clone().write_owned().await
    }

    /// Saves what is still to be sent; `None` if the webhook thread has ended.
    pub(crate) async fn save(&self) -> Option<SavedWebhooks> {
        let (reply, saved) = oneshot::channel();
        self.requests.send(reply).ok()?;
        saved.await.ok()
    }

    fn is_hooked(&self, app: AppIndex) -> bool {
        let hooked = self.hooked.read().unwrap_or_else(PoisonError::into_inner);
        hooked.as_ref().is_none_or(|apps| apps.contains(&app))
    }
}

impl Observer for Webhooks {
    fn channel_event(&self, event: &ChannelEvent) {
        if !self.is_hooked(event.channel().app) {
            return;
        }
        if self.incoming.put(Incoming::Channel(event.clone()), event.weight()) {
            return;
        }
        self.counters.overflowed.add(1);
        if let Some(count) = self.counters.drops.add() {
            warn_overflow(count);
        }
    }

    fn migrated(&self, migration: &Migration) {
        // If the queue is full, events are being dropped, and counted, anyway.
        let _ = self.incoming.put(Incoming::Migration(migration.clone()), 0);
    }
}

/// An event for the endpoints of an app.
#[derive(Debug)]
struct WebhookEvent {
    name: &'static str,
    channel: String,
    body: Box<RawValue>,
}

impl WebhookEvent {
    /// Memory that it takes, in bytes.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.channel.len() + self.body.get().len()
    }
}
