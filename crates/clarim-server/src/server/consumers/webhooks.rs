//! Webhooks, in a build with the feature `webhooks`.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use clarim_hub::Node;
use serde_json::Value;
use tokio::sync::{OwnedRwLockWriteGuard, oneshot};

use super::StartError;
use crate::config::{ServerConfig, Webhook};
use crate::observability::WebhookNumbers;
use crate::runtime::{Observer, Sink};
use crate::sync::ShutdownSignal;
pub(crate) use crate::webhooks::SavedWebhooks;
use crate::webhooks::{Replay, WebhookTask, Webhooks};

/// While it is held, no request is sent.
pub(crate) type WebhooksAtRest = OwnedRwLockWriteGuard<()>;

/// The webhooks of a server. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct WebhookHandle(Arc<Webhooks>);

/// The work of the webhook thread.
#[derive(Debug)]
pub(crate) struct WebhookThread(WebhookTask);

impl WebhookHandle {
    pub(crate) fn new(config: &ServerConfig) -> Result<(Self, Option<WebhookThread>), StartError> {
        let (webhooks, task) =
            Webhooks::new(config).map_err(|source| StartError::webhook_dir(config, source))?;
        Ok((Self(webhooks), Some(WebhookThread(task))))
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        Some(self.0.clone())
    }

    /// Waits until no request is being sent. None is sent while the returned value is held.
    pub(crate) async fn rest(&self) -> WebhooksAtRest {
        self.0.rest().await
    }

    /// Saves what is still to be sent.
    pub(crate) async fn save(&self) -> Option<SavedWebhooks> {
        self.0.save().await
    }

    /// Replaces the endpoints of all apps.
    pub(crate) fn set(&self, endpoints: HashMap<String, Vec<Webhook>>) {
        self.0.set(endpoints);
    }

    pub(crate) fn numbers(&self) -> WebhookNumbers {
        let counters = &self.0.counters;
        WebhookNumbers {
            sent: counters.sent.get(),
            dropped: counters.dropped(),
            waiting: counters.waiting(),
            failed: counters.failed.get(),
        }
    }

    /// Describes the last requests, the newest first.
    #[cfg_attr(not(feature = "inspector"), expect(dead_code, reason = "for the inspector"))]
    pub(crate) fn deliveries(&self) -> Vec<Value> {
        self.0.counters.log.describe()
    }

    /// Sends the events of a request again.
    #[cfg_attr(not(feature = "inspector"), expect(dead_code, reason = "for the inspector"))]
    pub(crate) fn replay(&self, id: u64) -> Replay {
        self.0.counters.replay(id)
    }
}

impl WebhookThread {
    pub(crate) async fn run(
        self,
        node: Arc<Node<Sink>>,
        shutdown: ShutdownSignal,
        cluster: Option<oneshot::Sender<()>>,
        saved: Option<SavedWebhooks>,
    ) -> io::Result<()> {
        self.0.run(node, shutdown, cluster, saved).await
    }
}
