//! The optional consumers of a server: which features are built in, and how the parts get what they need.
//!
//! Without its feature, a consumer is a handle that does nothing. [`check_features`] refuses a configuration
//! that needs it.

#[cfg_attr(not(feature = "inspector"), path = "no_inspector.rs")]
mod inspector;
#[cfg_attr(not(feature = "otel"), path = "no_traces.rs")]
mod traces;
#[cfg_attr(not(feature = "webhooks"), path = "no_webhooks.rs")]
mod webhooks;

use std::sync::Arc;

use clarim_cluster::NodeId;
use tokio::sync::mpsc;

use super::StartError;
use crate::config::ServerConfig;
use crate::events::EventSubscribers;
use crate::observability::DebugOutput;
use crate::runtime::{Observer, Observers, WorkerQuery};
pub(super) use inspector::InspectorHandle;
pub(super) use traces::{TraceHandle, TraceThread};
pub(super) use webhooks::{SavedWebhooks, WebhookHandle, WebhookThread, WebhooksAtRest};

/// Refuses a configuration that needs a feature which is not built in.
pub(super) fn check_features(config: &ServerConfig) -> Result<(), StartError> {
    let has_webhooks = config.webhooks.values().any(|endpoints| !endpoints.is_empty());
    let needed = [
        ("tls", config.tls.is_some(), cfg!(feature = "tls")),
        ("webhooks", has_webhooks, cfg!(feature = "webhooks")),
        ("durable-webhooks", config.webhook_dir.is_some(), cfg!(feature = "durable-webhooks")),
        ("durable-history", config.history_path.is_some(), cfg!(feature = "durable-history")),
        ("otel", config.traces.is_some(), cfg!(feature = "otel")),
        ("inspector", config.inspector_token.is_some(), cfg!(feature = "inspector")),
    ];
    let missing = needed.into_iter().find(|(_, is_needed, is_there)| *is_needed && !is_there);
    missing.map_or(Ok(()), |(feature, ..)| Err(StartError::MissingFeature { feature }))
}

/// All consumers of a server. Cloning is cheap.
#[derive(Debug, Clone)]
pub(super) struct Consumers {
    /// Present if the configuration asks for events.
    pub(super) subscribers: Option<Arc<EventSubscribers>>,
    pub(super) webhooks: WebhookHandle,
    pub(super) inspector: InspectorHandle,
    pub(super) traces: TraceHandle,
}

/// The work of the consumers that have threads of their own.
#[derive(Debug)]
pub(super) struct ConsumerThreads {
    pub(super) webhooks: Option<WebhookThread>,
    pub(super) traces: Option<TraceThread>,
}

impl Consumers {
    /// Makes the consumers of a server. `queries` reach the workers' connections.
    pub(super) fn new(
        config: &ServerConfig,
        node: Option<NodeId>,
        is_development: bool,
        queries: Vec<mpsc::Sender<WorkerQuery>>,
    ) -> Result<(Self, ConsumerThreads), StartError> {
        let (webhooks, webhook_thread) = WebhookHandle::new(config)?;
        let (traces, trace_thread) = TraceHandle::new(config, node)?;
        let inspector = InspectorHandle::new(config, is_development, &webhooks, queries);
        let subscribers = config.events.then(Arc::default);
        let threads = ConsumerThreads { webhooks: webhook_thread, traces: trace_thread };
        Ok((Self { subscribers, webhooks, inspector, traces }, threads))
    }

    pub(super) fn observers(&self) -> Observers {
        let debug_output: Option<Arc<dyn Observer>> = Some(Arc::new(DebugOutput));
        let subscribers = self.subscribers.clone().map(|subscribers| subscribers as _);
        let all = [debug_output, self.inspector.observer(), subscribers, self.webhooks.observer()];
        Observers::new(all.into_iter().flatten().collect())
    }
}
