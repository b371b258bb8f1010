//! Over HTTP, signed, to any server of the protocol.

use std::error::Error as _;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{SocketId, rest};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Request, StatusCode};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde::Serialize;
use tokio::time::Instant;

use super::{BoxFuture, Publication, Publisher};
use crate::{Error, Settings};

/// Requests for one publication.
const ATTEMPTS: u32 = 3;

/// Pause before a server is asked again that refused the connection: it may be starting anew.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);

/// Servers close idle connections too; by ourselves we never meet one that is just being closed.
const IDLE: Duration = Duration::from_secs(30);

/// As much of an answer is read, and as much of it is told.
const MAX_ANSWER: usize = 64 << 10;
const MAX_TOLD: usize = 500;

/// Publishes to a server over HTTP, with connections that are kept.
///
/// A server that refuses the connection is asked twice more, and one that answers 503 with `Retry-After`
/// after that time, within the timeout. Nothing else is tried again, since it may have been published.
#[derive(Debug)]
pub struct HttpPublisher {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    app_key: AppKey,
    /// Scheme, host, port and prefix.
    base: String,
    /// What is signed.
    path: String,
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
}

/// A request that failed, and when it may be made again.
struct Failure {
    error: Error,
    again_after: Option<Duration>,
}

impl HttpPublisher {
    /// For the server of the settings.
    ///
    /// # Errors
    /// Without an app; with https, when the system's certificates can't be read.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
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
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(connector);
        let Settings { host, port, app_id, .. } = settings;
        let scheme = if settings.https { "https" } else { "http" };
        let shown = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        Ok(Self {
            client,
            app_key: settings.key()?.clone(),
            base: format!("{scheme}://{shown}:{port}{}", settings.path),
            path: format!("/apps/{app_id}/events"),
            host: host.clone(),
            port: *port,
            timeout: settings.timeout,
        })
    }

    async fn send(&self, publication: &Publication) -> Result<(), Error> {
        let Publication { channels, name, data, socket_id } = publication;
        let (channel, channels) = match channels.as_slice() {
            [channel] => (Some(channel.as_str()), None),
            channels => (None, Some(channels)),
        };
        let body = Body { name, data, channel, channels, socket_id: *socket_id };
        let body = serde_json::to_vec(&body)
            .map_err(|cause| Error::Payload { event: name.clone(), cause })?;
        let sent = tokio::time::timeout(self.timeout, self.attempts(Bytes::from(body))).await;
        sent.unwrap_or_else(|_| {
            Err(Error::TimedOut { host: self.host.clone(), port: self.port, after: self.timeout })
        })
    }

    async fn attempts(&self, body: Bytes) -> Result<(), Error> {
        let deadline = Instant::now() + self.timeout;
        let mut attempt = 1;
        loop {
            let Err(failure) = self.attempt(body.clone()).await else { return Ok(()) };
            match failure.again_after {
                Some(wait) if attempt < ATTEMPTS && Instant::now() + wait < deadline => {
                    tracing::debug!(error = %failure.error, attempt, "publishing again");
                    tokio::time::sleep(wait).await;
                    attempt += 1;
                }
                _ => return Err(failure.error),
            }
        }
    }

    async fn attempt(&self, body: Bytes) -> Result<(), Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let query = rest::sign(&self.app_key, "POST", &self.path, &[], &body, now);
        let request = Request::post(format!("{}{}?{query}", self.base, self.path))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.unreachable(error.to_string()))?;
        let answer = match self.client.request(request).await {
            Ok(answer) => answer,
            Err(error) => {
                let refused = was_refused(&error);
                let failure = self.unreachable(innermost(&error));
                return Err(Failure { again_after: refused.then_some(REFUSED_PAUSE), ..failure });
            }
        };
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        if head.status == StatusCode::OK {
            return Ok(());
        }
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        let text: String = String::from_utf8_lossy(&text).trim().chars().take(MAX_TOLD).collect();
        let busy = head.status == StatusCode::SERVICE_UNAVAILABLE;
        Err(Failure {
            error: Error::Refused {
                host: self.host.clone(),
                port: self.port,
                status: head.status.as_u16(),
                answer: text,
            },
            again_after: if busy { retry_after(&head.headers) } else { None },
        })
    }

    fn unreachable(&self, cause: String) -> Failure {
        let (host, port) = (self.host.clone(), self.port);
        Failure { error: Error::Unreachable { host, port, cause }, again_after: None }
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
}

fn tls(https: bool) -> Result<ClientConfig, Error> {
    let config =
        ClientConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(|error| tls_error(&error))?;
    // Certificates are read only where they are needed: a small container may have none.
    let config = if https {
        config.with_native_roots().map_err(|error| tls_error(&error))?
    } else {
        config.with_root_certificates(RootCertStore::empty())
    };
    Ok(config.with_no_client_auth())
}

fn tls_error(error: &dyn std::error::Error) -> Error {
    let what = format!("https cannot be used: {error}; install the system's CA certificates");
    Error::Setting { name: "REVERB_SCHEME".to_owned(), what }
}

/// Whether nothing has been sent, since nobody listens.
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

/// The cause of the cause: what is around it only says that it was about HTTP.
fn innermost(error: &legacy::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
