//! The inspector, in a build with the feature `inspector`.

use std::sync::Arc;

use hyper::Request;
use serde_json::Value;
use tokio::sync::mpsc;

use super::webhooks::WebhookHandle;
use crate::config::ServerConfig;
use crate::http::response::{ApiError, ApiResponse};
use crate::http::{Client, Http, RequestBody};
use crate::inspector::{Inspector, Replay, WebhookInspection, WebhookSummary};
use crate::runtime::{Observer, Origins, WorkerQuery};

/// The inspector of a server, if it is served. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct InspectorHandle(Option<Arc<Inspector>>);

impl InspectorHandle {
    pub(crate) fn new(
        config: &ServerConfig,
        is_development: bool,
        webhooks: &WebhookHandle,
        queries: Vec<mpsc::Sender<WorkerQuery>>,
    ) -> Self {
        let token = config.inspector_token.clone();
        let webhooks = Arc::new(webhooks.clone());
        Self(Inspector::new(token, is_development, webhooks, queries).map(Arc::new))
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        Some(self.0.as_ref()?.log())
    }

    pub(crate) fn origins(&self) -> Option<Arc<Origins>> {
        Some(self.0.as_ref()?.origins())
    }

    pub(crate) async fn serve(
        &self,
        http: &Http,
        request: Request<impl RequestBody>,
        client: &Client,
        path: &[&str],
    ) -> Result<ApiResponse, ApiError> {
        match &self.0 {
            Some(inspector) => inspector.serve(http, request, client, path).await,
            None => Err(ApiError::not_found()),
        }
    }
}

impl WebhookInspection for WebhookHandle {
    fn summary(&self) -> WebhookSummary {
        let numbers = self.numbers();
        WebhookSummary { sent: numbers.sent, failed: numbers.failed, dropped: numbers.dropped }
    }

    #[cfg(feature = "webhooks")]
    fn deliveries(&self) -> Vec<Value> {
        self.deliveries()
    }

    #[cfg(feature = "webhooks")]
    fn replay(&self, id: u64) -> Replay {
        match self.replay(id) {
            crate::webhooks::Replay::Queued(_) => Replay::Queued,
            crate::webhooks::Replay::Gone => Replay::Gone,
            crate::webhooks::Replay::Full => Replay::Full,
        }
    }

    #[cfg(not(feature = "webhooks"))]
    fn deliveries(&self) -> Vec<Value> {
        Vec::new()
    }

    #[cfg(not(feature = "webhooks"))]
    fn replay(&self, _id: u64) -> Replay {
        Replay::Gone
    }
}
