//! The webhook thread: debounces events and hands them to the endpoints.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use clarim_hub::snapshot::SavedDelay;
use clarim_hub::{AppIndex, Apps, ChannelEvent, Debounce, DebounceAction, Node};
use clarim_protocol::auth::AppKey;
use tokio::sync::{RwLock, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::durable::WebhookDirectory;
use super::endpoint::Endpoint;
use super::saved::{SavedQueue, SavedWebhookCounters, SavedWebhookEvent, SavedWebhooks};
use super::{EndpointsByApp, HookedApps, Incoming, WebhookCounters, payload};
use crate::config::Webhook;
use crate::net::client::EgressPolicy;
use crate::runtime::Sink;
use crate::sync::{BETWEEN_WARNINGS, ByteQueueReceiver, Phase, ShutdownSignal};

/// Time that a server that shuts down spends on sending the remaining events.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// The work of the webhook thread. Made on another thread than it runs on.
#[derive(Debug)]
pub(crate) struct WebhookTask {
    pub(super) incoming: ByteQueueReceiver<Incoming>,
    pub(super) saves: mpsc::UnboundedReceiver<oneshot::Sender<SavedWebhooks>>,
    pub(super) wanted: watch::Receiver<EndpointsByApp>,
    pub(super) policy: EgressPolicy,
    pub(super) counters: Arc<WebhookCounters>,
    pub(super) hooked: HookedApps,
    /// Present if webhooks are kept on disk.
    pub(super) directory: Option<WebhookDirectory>,
    pub(super) sending: Arc<RwLock<()>>,
}

/// The endpoints of one app, and the configuration they were made of.
struct AppEndpoints {
    endpoints: Vec<Endpoint>,
    webhooks: Vec<Webhook>,
    key: AppKey,
}

#[derive(Default)]
struct Endpoints(HashMap<AppIndex, AppEndpoints>);

impl Endpoints {
    fn log_drops(&self) {
        self.0.values().flat_map(|app| &app.endpoints).for_each(Endpoint::log_drops);
    }
}

/// Waits for the end of a delay, and for the end of a hand-over: its snapshot has what is still delayed.
async fn due(at: Option<Duration>, begun: Instant, sending: &RwLock<()>) {
    sleep(at.unwrap_or_default().saturating_sub(begun.elapsed())).await;
    drop(sending.read().await);
}

impl WebhookTask {
    /// Sends until the server has closed. `cluster`: present on a node of a cluster, which stays connected
    /// until this is dropped.
    pub(crate) async fn run(
        mut self,
        node: Arc<Node<Sink>>,
        mut shutdown: ShutdownSignal,
        cluster: Option<oneshot::Sender<()>>,
        saved: Option<SavedWebhooks>,
    ) -> io::Result<()> {
        let apps = node.apps();
        let mut sending = JoinSet::new();
        let mut endpoints = self.endpoints(apps, Endpoints::default(), &mut sending)?;
        let begun = Instant::now();
        let mut debounce = Debounce::new(cluster.is_some());
        match saved {
            Some(saved) => {
                for delay in &saved.delays {
                    if let Err(error) = debounce.resume(delay, apps, begun.elapsed()) {
                        tracing::error!(%error, "a delayed webhook event is lost");
                    }
                }
                self.restore(saved, apps, &endpoints);
            }
            None => {
                let leaves = self.directory.iter_mut().flat_map(|it| it.leaves(apps));
                leaves.for_each(|leave| debounce.restore(&leave, begun.elapsed()));
            }
        }
        let mut warnings = interval(BETWEEN_WARNINGS);
        warnings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_closed = false;
        let sending_lock = self.sending.clone();
        // The clients of a node that shuts down reconnect to another one. The node waits for that, as it
        // would while it serves.
        while !is_closed || (cluster.is_some() && !debounce.is_empty()) {
            tokio::select! {
                Some(queued) = self.incoming.take() => {
                    let now = begun.elapsed();
                    self.take(queued.value, &node, &endpoints, &mut debounce, now);
                }
                Some(reply) = self.saves.recv() => {
                    while let Some(queued) = self.incoming.take_now() {
                        let now = begun.elapsed();
                        self.take(queued.value, &node, &endpoints, &mut debounce, now);
                    }
                    let delays = debounce.save(apps, begun.elapsed());
                    // Without a receiver, the hand-over was given up.
                    let _ = reply.send(self.save(apps, &endpoints, delays));
                }
                () = due(debounce.next_due(), begun, &sending_lock), if !debounce.is_empty() => {
                    for event in debounce.take_due(begun.elapsed()) {
                        self.send(apps, &endpoints, event);
                    }
                }
                _ = warnings.tick() => {
                    self.counters.log_drops();
                    endpoints.log_drops();
                }
                Ok(()) = self.wanted.changed() => {
                    endpoints.log_drops();
                    endpoints = self.endpoints(apps, endpoints, &mut sending)?;
                }
                () = shutdown.reached(Phase::Closed), if !is_closed => is_closed = true,
            }
        }
        drop(cluster);
        while let Some(queued) = self.incoming.take_now() {
            if let Incoming::Channel(event) = queued.value
                && let DebounceAction::Send(event) = debounce.take(event, begun.elapsed())
            {
                self.send(apps, &endpoints, event);
            }
        }
        for event in debounce.take_due(Duration::MAX) {
            self.send(apps, &endpoints, event);
        }
        self.counters.log_drops();
        endpoints.log_drops();
        self.finish(endpoints, sending).await;
        Ok(())
    }

    fn take(
        &mut self,
        incoming: Incoming,
        node: &Node<Sink>,
        endpoints: &Endpoints,
        debounce: &mut Debounce,
        now: Duration,
    ) {
        let action = match incoming {
            Incoming::Channel(event) => debounce.take(event, now),
            Incoming::Migration(migration) => debounce.migrated(migration),
        };
        match action {
            DebounceAction::Send(event) => self.send(node.apps(), endpoints, event),
            DebounceAction::Suppress { occupant, to } => {
                node.publish_leave_suppressed(&occupant, to);
            }
            DebounceAction::Nothing => {}
        }
    }

    fn save(&self, apps: &Apps, endpoints: &Endpoints, delays: Vec<SavedDelay>) -> SavedWebhooks {
        let mut queues = Vec::new();
        for (&index, app) in &endpoints.0 {
            for (at, endpoint) in app.endpoints.iter().enumerate() {
                let url = endpoint.url();
                let twins = app.endpoints[..at].iter().filter(|it| it.url() == url).count();
                let app = apps.get(index).id.clone();
                queues.push(SavedQueue { app, url, twins, events: endpoint.save() });
            }
        }
        SavedWebhooks { queues, delays, counters: SavedWebhookCounters::of(&self.counters) }
    }

    /// Takes over the queues of a predecessor.
    fn restore(&self, saved: SavedWebhooks, apps: &Apps, endpoints: &Endpoints) {
        saved.counters.restore(&self.counters);
        for SavedQueue { app, url, twins, events } in saved.queues {
            let endpoints = apps.find_by_id(&app).and_then(|index| endpoints.0.get(&index));
            let endpoints = endpoints.map_or(&[][..], |app| &app.endpoints);
            let endpoint = endpoints.iter().filter(|it| it.url() == url).nth(twins);
            let count = events.len() as u64;
            match endpoint {
                Some(endpoint) => {
                    let events = events.into_iter().filter_map(SavedWebhookEvent::restore);
                    events.for_each(|event| endpoint.take(&event));
                }
                None if count > 0 => {
                    self.counters.queued.add(count);
                    self.counters.given_up.add(count);
                    tracing::warn!(
                        app,
                        count,
                        "webhook events dropped: their endpoint was removed"
                    );
                }
                None => {}
            }
        }
    }

    fn send(&mut self, apps: &Apps, endpoints: &Endpoints, event: ChannelEvent) {
        if let Some(directory) = &mut self.directory {
            directory.record(apps, &event);
        }
        let app = event.channel().app;
        let event = Arc::new(payload::event(event));
        for endpoint in endpoints.0.get(&app).iter().flat_map(|app| &app.endpoints) {
            endpoint.take(&event);
        }
    }

    /// Waits until the remaining events are sent, for a limited time.
    async fn finish(&self, endpoints: Endpoints, mut sending: JoinSet<()>) {
        // Without their queues, the senders end once these are empty.
        drop(endpoints);
        let all = async { while sending.join_next().await.is_some() {} };
        let _ = timeout(SHUTDOWN_TIMEOUT, all).await;
        let count = self.counters.waiting();
        if count == 0 {
            return;
        }
        if self.directory.is_some() {
            tracing::info!(count, "webhook events wait on disk for the next start");
        } else {
            self.counters.given_up.add(count);
            tracing::warn!(count, "webhook events dropped: not accepted before the shutdown");
        }
    }

    /// Makes the configured endpoints, and keeps the old ones that have not changed. An old endpoint still
    /// sends what is in its queue.
    fn endpoints(
        &mut self,
        apps: &Apps,
        Endpoints(mut old): Endpoints,
        sending: &mut JoinSet<()>,
    ) -> io::Result<Endpoints> {
        let mut all = HashMap::new();
        for (id, webhooks) in &*self.wanted.borrow_and_update() {
            let Some(index) = apps.find_by_id(id) else { continue };
            let key = &apps.get(index).key;
            let same = old.remove(&index).filter(|it| it.webhooks == *webhooks && it.key == *key);
            if let Some(same) = same {
                all.insert(index, same);
                continue;
            }
            let mut endpoints = Vec::new();
            for (at, webhook) in webhooks.iter().enumerate() {
                let counters = self.counters.clone();
                let sending_lock = self.sending.clone();
                let app = apps.get(index);
                let twins = webhooks[..at].iter().filter(|it| it.url == webhook.url).count();
                let durable = self.directory.as_ref().map(|it| it.queue(&app.id, webhook, twins));
                let (endpoint, sender) = Endpoint::new(
                    webhook.clone(),
                    app,
                    counters,
                    self.policy,
                    sending_lock,
                    durable,
                )?;
                endpoints.push(endpoint);
                sending.spawn_local(sender);
            }
            let webhooks = webhooks.clone();
            all.insert(index, AppEndpoints { endpoints, webhooks, key: key.clone() });
        }
        let mut hooked = self.hooked.write().unwrap_or_else(PoisonError::into_inner);
        *hooked = Some(all.keys().copied().collect());
        drop(hooked);
        Ok(Endpoints(all))
    }
}
