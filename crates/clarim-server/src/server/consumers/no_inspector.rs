//! Stands in for the inspector in a build without the feature `inspector`.

#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_async,
    clippy::unused_self,
    reason = "the signatures are those of the module that this one replaces"
)]

use std::sync::Arc;

use hyper::Request;
use tokio::sync::mpsc;

use super::webhooks::WebhookHandle;
use crate::config::ServerConfig;
use crate::http::response::{ApiError, ApiResponse};
use crate::http::{Client, Http, RequestBody};
use crate::runtime::{Observer, Origins, WorkerQuery};

#[derive(Debug, Clone)]
pub(crate) struct InspectorHandle;

impl InspectorHandle {
    pub(crate) fn new(
        _config: &ServerConfig,
        _is_development: bool,
        _webhooks: &WebhookHandle,
        _queries: Vec<mpsc::Sender<WorkerQuery>>,
    ) -> Self {
        Self
    }

    pub(crate) fn observer(&self) -> Option<Arc<dyn Observer>> {
        None
    }

    pub(crate) fn origins(&self) -> Option<Arc<Origins>> {
        None
    }

    pub(crate) async fn serve(
        &self,
        _http: &Http,
        _request: Request<impl RequestBody>,
        _client: &Client,
        _path: &[&str],
    ) -> Result<ApiResponse, ApiError> {
        Err(ApiError::not_found())
    }
}
