//! Webhooks in a snapshot.

use std::sync::Arc;

use clarim_hub::snapshot::SavedDelay;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{WebhookCounters, WebhookEvent};
use crate::config::Webhook;

/// The webhooks of a server.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct SavedWebhooks {
    pub(super) queues: Vec<SavedQueue>,
    /// Events that the debounce holds back.
    #[serde(default)]
    pub(super) delays: Vec<SavedDelay>,
    pub(super) counters: SavedWebhookCounters,
}

/// The queue of an endpoint.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedQueue {
    /// The id of the app.
    pub(super) app: String,
    pub(super) url: String,
    /// Number of endpoints of the app before it with the same URL.
    pub(super) twins: usize,
    pub(super) events: Vec<SavedWebhookEvent>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedWebhookEvent {
    name: String,
    channel: String,
    /// JSON.
    body: String,
}

/// Webhook events counted so far.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedWebhookCounters {
    sent: u64,
    failed: u64,
    overflowed: u64,
    given_up: u64,
}

impl SavedWebhookEvent {
    pub(super) fn of(event: &WebhookEvent) -> Self {
        let WebhookEvent { name, channel, body } = event;
        Self { name: (*name).to_owned(), channel: channel.clone(), body: body.get().to_owned() }
    }

    /// The event; `None` if this release does not know its kind.
    pub(super) fn restore(self) -> Option<Arc<WebhookEvent>> {
        let Self { name, channel, body } = self;
        let name = Webhook::EVENTS.into_iter().find(|known| *known == name)?;
        let body = RawValue::from_string(body).ok()?;
        Some(Arc::new(WebhookEvent { name, channel, body }))
    }
}

impl SavedWebhookCounters {
    pub(super) fn of(counters: &WebhookCounters) -> Self {
        Self {
            sent: counters.sent.get(),
            failed: counters.failed.get(),
            overflowed: counters.overflowed.get(),
            given_up: counters.given_up.get(),
        }
    }

    pub(super) fn restore(&self, counters: &WebhookCounters) {
        // Those that wait are counted when they are put into their queues.
        counters.queued.add(self.sent + self.given_up);
        counters.sent.add(self.sent);
        counters.failed.add(self.failed);
        counters.overflowed.add(self.overflowed);
        counters.given_up.add(self.given_up);
    }
}
