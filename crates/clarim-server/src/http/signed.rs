//! Authentication of the HTTP API: reads requests and checks the signature of their app.

use std::time::Duration;

use bytes::Bytes;
use clarim_hub::{AppIndex, Apps};
use clarim_protocol::rest::{Params, SignedRequest};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, StatusCode};
use serde::de::DeserializeOwned;

use super::RequestBody;
use super::response::ApiError;
use crate::clock::since_1970;

/// A request whose signature has been checked.
#[derive(Debug)]
pub(crate) struct ApiRequest {
    pub(crate) app: AppIndex,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    params: Params<'static>,
}

/// Limits and keys for reading requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestRules<'a> {
    pub(crate) apps: &'a Apps,
    pub(crate) prefix: &'a str,
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Duration,
}

impl ApiRequest {
    /// Reads the body of a request to an app's API and checks its signature.
    pub(crate) async fn read(
        request: Request<impl RequestBody>,
        app_id: &str,
        rules: RequestRules<'_>,
    ) -> Result<Self, ApiError> {
        let app = rules.apps.find_by_id(app_id).ok_or_else(|| {
            let shown: String = app_id.chars().take(64).collect();
            let message = format!("No matching application for ID [{shown}].");
            ApiError::new(StatusCode::NOT_FOUND, message)
        })?;
        let (head, body) = request.into_parts();
        let body = read_body(&head, body, rules.max_body, rules.body_timeout).await?;
        let query = head.uri.query().unwrap_or_default();
        let signed = SignedRequest {
            method: head.method.as_str(),
            path: head.uri.path(),
            query,
            body: &body,
        };
        let params = signed
            .verify(&rules.apps.get(app).key, rules.prefix, since_1970().as_secs())
            .map_err(|error| ApiError::new(StatusCode::UNAUTHORIZED, error.to_string()))?
            .into_owned();
        Ok(Self { app, body, headers: head.headers, params })
    }

    /// A request of a built-in page, for which another check replaces the signature.
    pub(crate) fn of_page(app: AppIndex, body: Bytes) -> Self {
        Self { app, body, headers: HeaderMap::new(), params: Params::default() }
    }

    /// Returns a parameter of the query.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name)
    }
}

/// Reads a body of at most `max` bytes.
pub(crate) async fn read_body(
    head: &Parts,
    body: impl RequestBody,
    max: usize,
    timeout: Duration,
) -> Result<Bytes, ApiError> {
    let too_large = |size: Option<u64>| {
        let size = size.map_or_else(String::new, |size| format!(" of {size} bytes"));
        ApiError::too_large(format!(
            "Payload too large: the request body{size} exceeds the maximum of {max} bytes (MAX_REQUEST_SIZE)."
        ))
    };
    // Checked before the body is read, if the client announces its size.
    if let Some(size) = body.size_hint().exact()
        && size > max as u64
    {
        return Err(too_large(Some(size)));
    }
    let collected = tokio::time::timeout(timeout, Limited::new(body, max).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(None)),
        Ok(Err(error)) => Err(ApiError::malformed(format!("The request body ended early: {error}."))),
        Err(_) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("The body of {} did not arrive within {timeout:?}.", head.uri.path()),
        )),
    }
}

/// Reads a JSON body.
pub(crate) fn parse<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            ApiError::invalid(format!("Invalid field in the body: {error}."))
        } else {
            ApiError::malformed(format!("The body is not valid JSON: {error}."))
        }
    })
}

/// Reads a JSON body into a value that borrows nothing.
pub(crate) fn parse_owned<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    parse(body)
}
