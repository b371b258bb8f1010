//! The signed HTTP API of a server, as a backend uses it.

use std::time::{Duration, UNIX_EPOCH};

use clarim_config::Config;
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde_json::Value;

use super::connection::{Limits, Remote, RemoteError, Response};

const LIMITS: Limits = Limits { timeout: Duration::from_secs(10), bytes: 64 << 20 };

/// The HTTP API of an app.
pub(crate) struct SignedApi {
    pub(crate) url: String,
    pub(crate) key: AppKey,
    path: String,
}

impl SignedApi {
    /// The API of the app `id` at `url`.
    pub(crate) fn new(url: &str, id: &str, key: AppKey) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Self { url, key, path: format!("/apps/{}/", rest::encode_segment(id)) }
    }

    pub(crate) fn connect(&self) -> std::io::Result<Remote> {
        Remote::new(&self.url, LIMITS)
    }

    /// Posts JSON.
    pub(crate) fn post(
        &self,
        remote: &Remote,
        resource: &str,
        body: String,
    ) -> Result<Value, RemoteError> {
        remote.accept(&self.send(remote, Method::POST, resource, &[], body)?)
    }

    /// Gets a resource.
    pub(crate) fn get(
        &self,
        remote: &Remote,
        resource: &str,
        params: &[(&str, &str)],
    ) -> Result<Value, RemoteError> {
        remote.accept(&self.send(remote, Method::GET, resource, params, String::new())?)
    }

    /// Gets a resource that not every server of the protocol has.
    pub(crate) fn get_if_supported(
        &self,
        remote: &Remote,
        resource: &str,
    ) -> Result<Option<Value>, RemoteError> {
        let response = self.send(remote, Method::GET, resource, &[], String::new())?;
        if response.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        remote.accept(&response).map(Some)
    }

    fn send(
        &self,
        remote: &Remote,
        method: Method,
        resource: &str,
        params: &[(&str, &str)],
        body: String,
    ) -> Result<Response, RemoteError> {
        let path = format!("{}{resource}", self.path);
        let now = unix_seconds();
        let query = rest::sign(&self.key, method.as_str(), &path, params, body.as_bytes(), now);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}?{query}", self.url))
            .header(CONTENT_TYPE, "application/json");
        remote.send(request, body.into())
    }
}

/// Seconds since 1970. A clock before that is reported by the server.
pub(crate) fn unix_seconds() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// URL of the server with these settings, for requests from its own machine.
pub(crate) fn local_url(settings: &Config) -> String {
    let server = &settings.server;
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let host = match server.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{scheme}://{host}:{}{}", server.port, server.path)
}
