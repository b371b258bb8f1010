//! Stands in for webhooks in a build without the feature `webhooks`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use clarim_hub::Node;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::StartError;
use crate::config::{ServerConfig, Webhook};
use crate::observability::WebhookNumbers;
use crate::runtime::{Observer, Sink};
use crate::sync::ShutdownSignal;

#[derive(Debug, Clone)]
pub(crate) struct WebhookHandle;

/// Webhooks in a snapshot of another build.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SavedWebhooks {}

#[derive(Debug)]
pub(crate) struct WebhooksAtRest;

#[derive(Debug)]
pub(crate) enum WebhookThread {}

impl WebhookHandle {
    pub(crate) fn new(_config: &ServerConfig) -> Result<(Self, Option<WebhookThread>), StartError> {
        Ok((Self, None))
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        None
    }

    pub(crate) async fn rest(&self) -> WebhooksAtRest {
        WebhooksAtRest
    }

    pub(crate) async fn save(&self) -> Option<SavedWebhooks> {
        None
    }

    pub(crate) fn set(&self, endpoints: HashMap<String, Vec<Webhook>>) {
        if endpoints.values().any(|endpoints| !endpoints.is_empty()) {
            tracing::error!(
                "webhooks are configured, but clarim-server was built without the feature `webhooks`; \
                 nothing is sent"
            );
        }
    }

    pub(crate) fn numbers(&self) -> WebhookNumbers {
        WebhookNumbers::default()
    }
}

impl WebhookThread {
    pub(crate) async fn run(
        self,
        _node: Arc<Node<Sink>>,
        _shutdown: ShutdownSignal,
        _cluster: Option<oneshot::Sender<()>>,
        _saved: Option<SavedWebhooks>,
    ) -> io::Result<()> {
        match self {}
    }
}
