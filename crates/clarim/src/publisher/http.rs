//! The publisher to any server of the protocol, over HTTP with signed requests.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, io};

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest::{self, History, HistoryRequest};
use clarim_protocol::{Position, SocketId};
use clarim_queue::BoxFuture;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::publication::{Publication, Publisher};
use crate::error::Error;

/// Maximum number of requests for one publication.
const ATTEMPTS: u32 = 3;

/// Delay before a retry after a refused connection: the server may be restarting.
const REFUSED_DELAY: Duration = Duration::from_millis(100);

/// Timeout for idle connections. Shorter than that of servers, so that a request never meets a connection
/// that the server is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum size of an answer's body, in bytes.
const MAX_BODY: usize = 64 << 10;

/// Maximum size of a page of a history, in bytes. Servers limit pages to about 1 MiB, or one event.
const MAX_HISTORY: usize = 16 << 20;

/// Maximum length of an answer in an error, in characters.
const MAX_QUOTED: usize = 500;

/// Address and credentials of an app on a server of the protocol.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpPublisherSettings {
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Whether to use TLS.
    pub https: bool,
    /// Prefix of the server's paths: empty, or like `/x`.
    pub path: String,
    /// The app's id.
    pub app_id: String,
    /// The app's key and secret, which sign the requests.
    pub app_key: AppKey,
    /// Timeout for connecting.
    pub connect_timeout: Duration,
    /// Timeout for one publication, all attempts included.
    pub timeout: Duration,
}

/// Publishes to a server over HTTP, with persistent connections.
///
/// It retries twice after a refused connection, and after the time in `Retry-After` when the server answers
/// 503, within the timeout. It retries nothing else, since the event may have been published, and only
/// Clarim's servers recognize the [idempotency key](Publication::idempotency_key) of a repeated event.
#[derive(Debug)]
pub struct HttpPublisher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    app_key: AppKey,
    /// Scheme, host, port and prefix of the server's URLs.
    base: String,
    /// The path of the app's API, which is signed.
    app_path: String,
    host: String,
    port: u16,
    timeout: Duration,
}

/// The body of `POST /apps/{id}/events`.
#[derive(Serialize)]
struct Body<'a> {
    name: &'a str,
    data: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<SocketId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
}

/// A request to the app's API.
struct Call<'a> {
    method: Method,
    path: String,
    params: &'a [(&'a str, &'a str)],
    body: Bytes,
    /// Maximum size of the answer's body, in bytes.
    max_answer: usize,
}

/// A failed request, and the delay after which it may be retried.
struct Failure {
    error: Error,
    retry_after: Option<Duration>,
}

impl HttpPublisher {
    /// A publisher to this server.
    ///
    /// # Errors
    /// Returns an error if TLS is used and the system's CA certificates can't be read.
    pub fn new(settings: HttpPublisherSettings) -> Result<Self, Error> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.connect_timeout));
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(settings.https)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        let HttpPublisherSettings { host, port, path, app_id, app_key, timeout, .. } = settings;
        let scheme = if settings.https { "https" } else { "http" };
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let authority =
            if is_bare_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(Self {
            client,
            app_key,
            base: format!("{scheme}://{authority}{path}"),
            app_path: format!("/apps/{}", rest::encode_segment(&app_id)),
            host,
            port,
            timeout,
        })
    }

    async fn send(&self, publication: &Publication) -> Result<(), Error> {
        let Publication { channels, name, data, socket_id, idempotency_key } = publication;
        let (channel, channels) = match channels.as_slice() {
            [channel] => (Some(channel.as_str()), None),
            channels => (None, Some(channels)),
        };
        let idempotency_key = idempotency_key.as_deref();
        let body = Body { name, data, channel, channels, socket_id: *socket_id, idempotency_key };
        let body = serde_json::to_vec(&body)
            .map_err(|source| Error::Payload { event: name.clone(), source })?;
        let path = format!("{}/events", self.app_path);
        let body = Bytes::from(body);
        let method = Method::POST;
        self.call(&Call { method, path, params: &[], body, max_answer: MAX_BODY }).await?;
        Ok(())
    }

    /// Reads from the app's API.
    async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, &str)],
    ) -> Result<T, Error> {
        let path = format!("{}{path}", self.app_path);
        let body = Bytes::new();
        let call = Call { method: Method::GET, path, params, body, max_answer: MAX_HISTORY };
        let answer = self.call(&call).await?;
        serde_json::from_slice(&answer).map_err(|error| Error::Refused {
            host: self.host.clone(),
            port: self.port,
            status: StatusCode::OK.as_u16(),
            answer: format!("unreadable: {error}"),
        })
    }

    async fn call(&self, call: &Call<'_>) -> Result<Bytes, Error> {
        let answered = tokio::time::timeout(self.timeout, self.attempts(call)).await;
        answered.unwrap_or_else(|_| {
            Err(Error::TimedOut { host: self.host.clone(), port: self.port, after: self.timeout })
        })
    }

    async fn attempts(&self, call: &Call<'_>) -> Result<Bytes, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut attempt = 1;
        loop {
            let failure = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            match failure.retry_after {
                Some(wait) if attempt < ATTEMPTS && Instant::now() + wait < deadline => {
                    tracing::debug!(error = %failure.error, attempt, "request failed; retrying");
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                _ => return Err(failure.error),
            }
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Bytes, Failure> {
        let Call { method, path, params, body, max_answer } = call;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let query = rest::sign(&self.app_key, method.as_str(), path, params, body, now);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}?{query}", self.base))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))
            .map_err(|error| self.unreachable(Box::new(error)))?;
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let refused = was_refused(&error);
                let failure = self.unreachable(Box::new(RequestError(error)));
                return Err(Failure { retry_after: refused.then_some(REFUSED_DELAY), ..failure });
            }
        };
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, *max_answer).collect().await;
        if head.status == StatusCode::OK {
            return match body {
                Ok(body) => Ok(body.to_bytes()),
                // It is published; nothing of the answer is needed.
                Err(_) if *method == Method::POST => Ok(Bytes::new()),
                Err(error) => Err(self.unreachable(error)),
            };
        }
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&text).trim().chars().take(MAX_QUOTED).collect();
        let busy = head.status == StatusCode::SERVICE_UNAVAILABLE;
        Err(Failure {
            error: Error::Refused {
                host: self.host.clone(),
                port: self.port,
                status: head.status.as_u16(),
                answer: text,
            },
            retry_after: if busy { retry_after(&head.headers) } else { None },
        })
    }

    fn unreachable(&self, source: Box<dyn StdError + Send + Sync>) -> Failure {
        let error = Error::Unreachable { host: self.host.clone(), port: self.port, source };
        Failure { error, retry_after: None }
    }
}

impl Publisher for HttpPublisher {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for publication in batch {
                self.send(publication).await?;
            }
            Ok(())
        })
    }

    fn history<'a>(
        &'a self,
        channel: &'a str,
        request: HistoryRequest,
    ) -> BoxFuture<'a, Result<History, Error>> {
        Box::pin(async move {
            let params = request.params();
            let params: Vec<(&str, &str)> =
                params.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.get(&format!("{}/history", channel_path(channel)), &params).await
        })
    }

    fn position<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<Position, Error>> {
        Box::pin(async move { self.get(&format!("{}/position", channel_path(channel)), &[]).await })
    }
}

/// The path of a channel. Of the characters of a name, only `#` needs an escape.
fn channel_path(channel: &str) -> String {
    format!("/channels/{}", channel.replace('#', "%23"))
}

fn tls(https: bool) -> Result<ClientConfig, Error> {
    let config =
        ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error(&error))?;
    // Certificates are read only if they are needed: a small container may have none.
    let config = if https {
        config.with_native_roots().map_err(|error| tls_error(&error))?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    Ok(config.with_no_client_auth())
}

fn tls_error(error: &dyn StdError) -> Error {
    let problem = format!("cannot use https: {error}; install the system's CA certificates");
    Error::setting("REVERB_SCHEME", problem)
}

/// Whether the connection was refused, so that nothing has been sent.
fn was_refused(error: &legacy::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>()
            && cause.kind() == io::ErrorKind::ConnectionRefused
        {
            return error.is_connect();
        }
        source = cause.source();
    }
    false
}

/// A request's error, shown as its innermost cause: the outer ones only say that it was about HTTP.
#[derive(Debug)]
struct RequestError(legacy::Error);

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut innermost: &dyn StdError = &self.0;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        fmt::Display::fmt(innermost, f)
    }
}

impl StdError for RequestError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
