//! One endpoint: its queue and its requests.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use clarim_hub::app::App;
use tokio::sync::RwLock;

use super::durable::DurableQueue;
use super::saved::SavedWebhookEvent;
use super::sender::Sender;
use super::waiting::Waiting;
use super::{WebhookCounters, WebhookEvent};
use crate::config::Webhook;
use crate::net::client::EgressPolicy;
use crate::sync::{ByteQueue, DropCounter, byte_queue};

/// The sending half of an endpoint's queue.
#[derive(Debug)]
pub(super) struct Endpoint {
    webhook: Webhook,
    queue: ByteQueue<Arc<WebhookEvent>>,
    waiting: Rc<Waiting>,
    counters: Arc<WebhookCounters>,
    drops: DropCounter,
}

impl Endpoint {
    /// Makes an endpoint, and the task that sends its requests.
    pub(super) fn new(
        webhook: Webhook,
        app: &App,
        counters: Arc<WebhookCounters>,
        policy: EgressPolicy,
        sending: Arc<RwLock<()>>,
        durable: Option<DurableQueue>,
    ) -> io::Result<(Self, impl Future<Output = ()> + use<>)> {
        let (queue, receiver) = byte_queue(ByteQueue::<Arc<WebhookEvent>>::DEFAULT_BYTES);
        let weak = queue.downgrade();
        let sender = Sender::new(webhook.clone(), app, counters.clone(), policy, weak, sending)?;
        let waiting = Rc::new(Waiting::new(receiver));
        let sent = waiting.clone();
        let task = async move {
            match durable {
                None => sender.send_all(&sent).await,
                Some(durable) => durable.run(&sender, &sent).await,
            }
        };
        let endpoint = Self { webhook, queue, waiting, counters, drops: DropCounter::default() };
        Ok((endpoint, task))
    }

    /// Saves the events that are still to be sent, or stored.
    pub(super) fn save(&self) -> Vec<SavedWebhookEvent> {
        self.waiting.save().iter().map(|event| SavedWebhookEvent::of(event)).collect()
    }

    pub(super) fn url(&self) -> String {
        self.webhook.url.to_string()
    }

    /// Queues an event that the endpoint wants, if there is room.
    pub(super) fn take(&self, event: &Arc<WebhookEvent>) {
        if !self.webhook.wants(event.name, &event.channel) {
            return;
        }
        if self.queue.put(event.clone(), event.weight()) {
            return self.counters.queued.add(1);
        }
        self.counters.overflowed.add(1);
        if let Some(count) = self.drops.add() {
            self.warn(count);
        }
    }

    /// Logs the number of events dropped since the last warning.
    pub(super) fn log_drops(&self) {
        if let Some(count) = self.drops.take_unlogged() {
            self.warn(count);
        }
    }

    fn warn(&self, count: u64) {
        let url = self.webhook.redacted_url();
        tracing::warn!(
            url,
            count,
            "webhook events dropped: the endpoint is slow or down and its queue is full"
        );
    }
}
