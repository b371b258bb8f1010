//! A server at a URL, and requests to it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::StatusCode;
use hyper::http::request::Builder;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::http_client::{self, HttpClient, cause};

/// A server at a URL. It runs requests on a runtime of its own.
pub(crate) struct Remote {
    pub(crate) url: String,
    limits: Limits,
    client: HttpClient,
    runtime: Runtime,
}

/// Limits of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) timeout: Duration,
    pub(crate) bytes: usize,
}

/// A complete response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// A request that failed.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {kind}")]
pub(crate) struct RemoteError {
    url: String,
    #[source]
    kind: RemoteErrorKind,
}

#[derive(Debug, thiserror::Error)]
enum RemoteErrorKind {
    #[error("not a valid request: {0}")]
    Request(#[source] hyper::http::Error),
    #[error("{}", cause(.0))]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("no response within {0:?}")]
    Timeout(Duration),
    #[error("incomplete response: {0}")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("it answered {status}: {body}")]
    Refused { status: StatusCode, body: String },
    #[error("unexpected response: {0}")]
    Unexpected(#[source] serde_json::Error),
    #[error("{0}")]
    Hint(&'static str),
}

impl RemoteError {
    /// Whether the server refused the request for what is in it.
    pub(crate) fn is_refused(&self) -> bool {
        let RemoteErrorKind::Refused { status, .. } = &self.kind else { return false };
        [StatusCode::BAD_REQUEST, StatusCode::FORBIDDEN, StatusCode::UNPROCESSABLE_ENTITY]
            .contains(status)
    }
}

impl Remote {
    pub(crate) fn new(url: &str, limits: Limits) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = http_client::client(url.starts_with("https:"), limits.timeout)?;
        Ok(Self { url: url.to_owned(), limits, client, runtime })
    }

    /// Sends a request and returns the response, whatever its status.
    pub(crate) fn send(&self, request: Builder, body: Bytes) -> Result<Response, RemoteError> {
        let Limits { timeout, bytes } = self.limits;
        let sending = async {
            let request = request.body(Full::new(body)).map_err(RemoteErrorKind::Request)?;
            let response =
                self.client.request(request).await.map_err(RemoteErrorKind::Unreachable)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), bytes).collect().await;
            let body = body.map_err(RemoteErrorKind::Body)?.to_bytes();
            Ok(Response { status, body })
        };
        // The timeout is created within the runtime, whose clock it needs.
        let sent = self.runtime.block_on(async { tokio::time::timeout(timeout, sending).await });
        sent.unwrap_or(Err(RemoteErrorKind::Timeout(timeout))).map_err(|kind| self.error(kind))
    }

    /// Returns the JSON of a successful response.
    pub(crate) fn accept(&self, response: &Response) -> Result<Value, RemoteError> {
        if response.status.is_success() { self.read(response) } else { Err(self.refused(response)) }
    }

    /// Parses the JSON of a response.
    pub(crate) fn read<T: DeserializeOwned>(&self, response: &Response) -> Result<T, RemoteError> {
        serde_json::from_slice(&response.body)
            .map_err(|error| self.error(RemoteErrorKind::Unexpected(error)))
    }

    /// The error of a response with a status that is not successful.
    pub(crate) fn refused(&self, response: &Response) -> RemoteError {
        let body = String::from_utf8_lossy(&response.body).trim().to_owned();
        self.error(RemoteErrorKind::Refused { status: response.status, body })
    }

    /// An error with a cause and a remedy that the caller knows.
    pub(crate) fn hint(&self, hint: &'static str) -> RemoteError {
        self.error(RemoteErrorKind::Hint(hint))
    }

    fn error(&self, kind: RemoteErrorKind) -> RemoteError {
        RemoteError { url: self.url.clone(), kind }
    }
}
