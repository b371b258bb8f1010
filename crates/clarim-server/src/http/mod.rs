//! The HTTP API, and the handshakes that turn connections into WebSockets.

mod body;
pub(crate) mod channels;
pub(crate) mod client;
mod connection;
pub(crate) mod design;
mod events;
mod extensions;
mod fallback;
mod handshake;
mod idempotency;
pub(crate) mod playground;
mod publish;
mod publisher;
pub(crate) mod response;
pub(crate) mod signed;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_cluster::Query;
use clarim_hub::{AppIndex, DeliveryAck, Node, Refusal};
use clarim_protocol::{Code, PageId};
use hyper::header::{AUTHORIZATION, HeaderMap, ORIGIN};
use hyper::{Method, Request, StatusCode, Version};
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::config::ServerConfig;
use crate::runtime::{
    Acceptor, Counters, HandshakeParams, OriginId, Origins, ServerCounters, Sink,
};
use crate::sync::{Drain, PauseSignal, Phase, ShutdownSignal};
pub(crate) use body::BodyBudget;
use body::BodyLimits;
pub(crate) use channels::Directory;
pub(crate) use channels::history;
pub use channels::history::HistoryError;
pub(crate) use client::Client;
use client::guesses::Guesses;
pub(crate) use connection::{
    BoxError, Http1End, RequestBody, RequestHandler, Upgraded, serve_http1, serve_http2,
};
pub(crate) use events::{Endpoint, publish_request};
pub(crate) use fallback::{AppPath, Sessions, serve as serve_fallback};
use handshake::Upgrade;
pub(crate) use idempotency::{IdempotencyKeys, SavedKeys};
pub use publish::PublishError;
pub use publisher::Publisher;
use response::{ApiError, ApiResponse, json};
use signed::RequestRules;

/// A header by which a proxy says that it passes a handshake on to another node if this one answers 503.
/// Clients of other proxies get a code that makes them wait a second: after a failed handshake they wait
/// longer.
const FAILOVER: &str = "clarim-failover";

/// The context in which requests are answered. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) node: Arc<Node<Sink>>,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) started: Instant,
    pub(crate) shutdown: ShutdownSignal,
    pub(crate) pause: PauseSignal,
    pub(crate) server_counters: Arc<ServerCounters>,
    /// Counters of the thread that answers.
    pub(crate) counters: Arc<Counters>,
    /// The other nodes, if there may be any.
    pub(crate) cluster: Option<Cluster>,
    /// The thread that keeps histories: that of the cluster, or of a file.
    pub(crate) logs: Option<Cluster>,
    /// HTTP fallback sessions of clients without a WebSocket.
    pub(crate) sessions: Sessions,
    /// Memory for the bodies of unknown senders.
    pub(crate) body_budget: Arc<BodyBudget>,
    /// The idempotency keys of published events.
    pub(crate) keys: Arc<IdempotencyKeys>,
    pub(crate) metrics_guesses: Arc<Guesses>,
    pub(crate) acceptor: Arc<Acceptor>,
    /// Present if the origins of connections are recorded.
    pub(crate) origins: Option<Arc<Origins>>,
}

impl Http {
    /// Closes all connections of a user.
    pub(crate) async fn terminate(
        &self,
        app: AppIndex,
        user: &str,
    ) -> Result<ApiResponse, ApiError> {
        // Nothing is sent: the sender is dropped with the last copy of the acknowledgement.
        let (closed, all_closed) = oneshot::channel::<()>();
        self.node.terminate(app, user, Some(&DeliveryAck::new(move |_| drop(closed))));
        let others = self.directory().query(app, Query::Terminate(user.to_owned().into())).await;
        let _ = all_closed.await;
        Ok(channels::partial(json("{}"), others.is_partial))
    }

    /// Answers a handshake: `GET /app/{key}`, or `GET /app/~{page}/app/{key}` of a page.
    pub(crate) fn upgrade<B>(
        &self,
        request: &Request<B>,
        client: &Client,
        key: &str,
        page: Option<PageId>,
    ) -> Result<Upgrade, ApiError> {
        if request.version() != Version::HTTP_11 {
            let message = "WebSockets need HTTP/1.1; a proxy may have sent another version.";
            return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, message));
        }
        let compression = self.config.compression;
        // Only origins of admitted connections are recorded.
        let origin = || self.origin_of(request.headers());
        let upgrade = handshake::handshake(request, key, self.node.apps(), origin, compression)?;
        if self.shutdown.now() > Phase::Serving
            && self.cluster.is_some()
            && request.headers().contains_key(FAILOVER)
        {
            return Err(ApiError::busy("This node is shutting down."));
        }
        let address = client.address(request.headers());
        let admission = self.unless_draining(upgrade.admission);
        let admission = admission.map(|params| HandshakeParams { address, page, ..params });
        Ok(Upgrade { admission, ..upgrade })
    }

    /// The origin of the page that connects, if origins are recorded.
    fn origin_of(&self, headers: &HeaderMap) -> OriginId {
        let Some(origins) = &self.origins else { return OriginId::default() };
        let text = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        origins.id(text.unwrap_or_default())
    }

    /// Refuses a connection while the server drains.
    fn unless_draining<T>(&self, admitted: Result<T, Refusal>) -> Result<T, Refusal> {
        if self.shutdown.now() == Phase::Serving {
            return admitted;
        }
        let message = "The server is shutting down".to_owned();
        Err(Refusal { code: Code::OVER_CAPACITY, message })
    }

    /// The liveness probe `/up`.
    pub(crate) fn liveness_probe(&self, method: &Method) -> Result<ApiResponse, ApiError> {
        match *method {
            Method::GET | Method::HEAD if self.shutdown.now() > Phase::Serving => {
                Err(ApiError::busy("The server is shutting down."))
            }
            Method::GET | Method::HEAD => Ok(json(r#"{"health":"OK"}"#)),
            _ => Err(ApiError::method("GET")),
        }
    }

    /// The readiness probe `/ready`, which also fails while the node joins the cluster and while the bus is
    /// down.
    pub(crate) fn readiness_probe(&self, method: &Method) -> Result<ApiResponse, ApiError> {
        let alive = self.liveness_probe(method)?;
        if self.cluster.as_ref().is_some_and(|cluster| !cluster.state().is_joined) {
            return Err(ApiError::busy("The node is joining the cluster."));
        }
        match self.cluster.as_ref().and_then(Cluster::down_for) {
            None => Ok(alive),
            Some(down_for) => Err(ApiError::busy(format!(
                "The connection to the bus has been down for {} s; this node serves only its own clients.",
                down_for.as_secs()
            ))),
        }
    }

    pub(crate) fn publisher(&self) -> publish::Publisher<'_> {
        publish::Publisher {
            node: &self.node,
            now: self.now(),
            counters: &self.counters,
            cluster: self.cluster.as_ref(),
            logs: self.logs.as_ref(),
        }
    }

    pub(crate) fn directory(&self) -> Directory<'_> {
        Directory { node: &self.node, now: self.now(), cluster: self.cluster.as_ref() }
    }

    pub(crate) fn request_rules(&self) -> RequestRules<'_> {
        RequestRules { apps: self.node.apps(), prefix: &self.config.path, body: self.body_limits() }
    }

    pub(crate) fn body_limits(&self) -> BodyLimits {
        let config = &self.config;
        BodyLimits { max: config.max_request_bytes, timeout: config.handshake_timeout }
    }

    /// Reads the body of a request that another check than a signature has admitted.
    pub(crate) async fn read_body(
        &self,
        request: Request<impl RequestBody>,
    ) -> Result<Bytes, ApiError> {
        self.body_limits().read(request.into_body()).await
    }

    /// The node's time.
    /// How clients are disconnected when the server shuts down.
    pub(crate) fn drain(&self) -> Drain {
        // The clients of a cluster reconnect to another node.
        match self.config.restarts_in_place && self.cluster.is_none() {
            true => Drain::in_place(),
            false => Drain::over(self.config.drain),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Returns the token of a header `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")
}

/// Decodes a path segment.
pub(crate) fn decode_segment(segment: &str) -> Result<Cow<'_, str>, ApiError> {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map_err(|_| ApiError::malformed("The path is not valid URL encoding."))
}
