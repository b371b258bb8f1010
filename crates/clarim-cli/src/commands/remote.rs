//! Requests of a command to a running server.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper::http::request::Builder;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::CommandError;
use crate::http_client::{HttpClient, cause, client};

/// A server somewhere, and the way to it.
pub(super) struct Remote {
    pub(super) url: String,
    limits: Limits,
    client: HttpClient,
    runtime: Runtime,
}

/// What one answer may take.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) time: Duration,
    pub(super) bytes: usize,
}

impl Remote {
    pub(super) fn new(url: &str, limits: Limits) -> Result<Self, CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = client(url.starts_with("https:"), limits.time)?;
        Ok(Self { url: url.to_owned(), limits, client, runtime })
    }

    /// The answer to a request.
    pub(super) fn ask(
        &self,
        request: Builder,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), CommandError> {
        let Limits { time, bytes } = self.limits;
        let asking = async {
            let request = request.body(Full::new(body)).map_err(|error| self.failed(error))?;
            let answer =
                self.client.request(request).await.map_err(|error| self.failed(cause(&error)))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), bytes).collect().await;
            Ok((status, body.map_err(|error| self.failed(error))?.to_bytes()))
        };
        // Within the runtime, whose clock it needs.
        let asking = async { tokio::time::timeout(time, asking).await };
        self.runtime
            .block_on(asking)
            .unwrap_or_else(|_| Err(self.failed(format!("no answer within {time:?}"))))
    }

    /// What is in an answer, unless it is a refusal.
    pub(super) fn accept(&self, status: StatusCode, body: &[u8]) -> Result<Value, CommandError> {
        if status.is_success() { self.read(body) } else { Err(self.refused(status, body)) }
    }

    /// What is in an answer that is as it should be.
    pub(super) fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, CommandError> {
        serde_json::from_slice(body).map_err(|error| self.failed(error))
    }

    /// An answer that is not.
    pub(super) fn refused(&self, status: StatusCode, body: &[u8]) -> CommandError {
        let sentence = String::from_utf8_lossy(body);
        self.failed(format!("it answered {status}: {}", sentence.trim()))
    }

    pub(super) fn failed(&self, why: impl std::fmt::Display) -> CommandError {
        CommandError::Api(format!("{}: {why}", self.url))
    }
}
