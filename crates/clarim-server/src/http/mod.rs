//! The HTTP side of a worker: the signed API, and the handshakes that turn into WebSockets.

pub(crate) mod answer;
mod channels;
pub(crate) mod events;
mod extensions;
mod fallback;
mod handshake;
mod held;
pub(crate) mod playground;
mod service;
pub(crate) mod signed;

use std::cell::{Cell, OnceCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_hub::{DeliveryAck, Node, Refusal};
use clarim_protocol::Code;
use clarim_protocol::cluster::Query;
use hyper::body::Body;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue, ORIGIN};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use crate::accept::Doors;
use crate::cluster::Cluster;
use crate::config::ServerConfig;
use crate::inbox::Inboxes;
use crate::inspector::{self, Inspector, OriginId};
use crate::metrics::{self, Counters, Metrics, Scrape};
use crate::phase::{Follow, Phase};
use crate::webhooks;
pub(crate) use answer::Answer;
use answer::{Refused, json, text, with_type};
use channels::Directory;
use events::Publisher;
pub(crate) use fallback::Sessions;
pub(crate) use handshake::{Agreed, Verdict};
use held::Held;
pub use service::HttpService;
use signed::{Rules, Signed};

/// Longest head of a request.
const MAX_HEAD: usize = 16 << 10;

/// How long a connection may be kept open between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// What answers requests. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Http {
    pub(crate) node: Arc<Node<Inboxes>>,
    pub(crate) settings: Arc<ServerConfig>,
    /// Whether the built-in page is served.
    pub(crate) playground: bool,
    pub(crate) started: Instant,
    pub(crate) phase: Follow,
    pub(crate) metrics: Arc<Metrics>,
    /// Those of the thread that answers.
    pub(crate) counters: Arc<Counters>,
    /// The other nodes, if there may be any.
    pub(crate) cluster: Option<Cluster>,
    /// Of pages that have no WebSocket.
    pub(crate) sessions: Sessions,
    /// The ways into the workers.
    pub(crate) doors: Arc<Doors>,
    /// What has become of webhooks.
    pub(crate) webhooks: Arc<webhooks::Counts>,
    /// If its page is served.
    pub(crate) inspector: Option<Arc<Inspector>>,
}

/// A connection that is no longer HTTP.
#[derive(Debug)]
pub(crate) struct Upgraded<S> {
    pub(crate) stream: S,
    /// The answer to the handshake, which is still to be sent.
    pub(crate) answer: Vec<u8>,
    /// What the client sent right behind its handshake.
    pub(crate) early: Bytes,
    pub(crate) verdict: Verdict,
}

/// Serves HTTP/1 on a stream until it ends, or until a handshake has turned it into a WebSocket.
pub(crate) async fn serve_http1<S>(http: Rc<Http>, stream: S) -> Option<Upgraded<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let verdict: Rc<OnceCell<Verdict>> = Rc::default();
    let served = Rc::new(Cell::new(false));
    let stream = Held::new(stream, verdict.clone(), http.settings.handshake_timeout);
    let service = {
        let (http, verdict, served) = (http.clone(), verdict.clone(), served.clone());
        service_fn(move |request| {
            served.set(true);
            let (http, verdict) = (http.clone(), verdict.clone());
            Box::pin(async move {
                let (answer, judged) = http.answer(request).await;
                if let Some(judged) = judged {
                    // There is one upgrade in a connection's life.
                    let _ = verdict.set(judged);
                }
                Ok::<_, std::convert::Infallible>(answer)
            })
        })
    };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(KEEP_ALIVE)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut phase = http.phase.clone();
    {
        let mut first_request = pin!(tokio::time::sleep(http.settings.handshake_timeout));
        let mut first_request_is_due = true;
        // A connection that is new while the server drains gets its one answer; see `answer`.
        let mut stopped = http.phase.now() > Phase::Serving;
        let mut stop = pin!(phase.reached(Phase::Draining));
        loop {
            tokio::select! {
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                    if ended.is_err() {
                        return None;
                    }
                    break;
                }
                () = &mut first_request, if first_request_is_due => {
                    if !served.get() {
                        return None;
                    }
                    first_request_is_due = false;
                }
                () = &mut stop, if !stopped => {
                    stopped = true;
                    // One that has not asked for anything yet would be reset by this.
                    if served.get() {
                        std::pin::Pin::new(&mut connection).graceful_shutdown();
                    }
                }
            }
        }
    }
    let verdict = verdict.get()?.clone();
    let parts = connection.into_parts();
    let (stream, answer) = parts.io.into_inner().into_parts();
    Some(Upgraded { stream, answer, early: parts.read_buf, verdict })
}

/// Serves HTTP/2 on a stream until it ends.
pub(crate) async fn serve_http2<S>(http: Rc<Http>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut phase = http.phase.clone();
    let requests = Rc::new(Requests::default());
    let farewell = http.settings.handshake_timeout;
    let mut patience = farewell;
    let service = {
        let requests = requests.clone();
        service_fn(move |request| {
            let (http, under_way) = (http.clone(), requests.begin());
            async move {
                let (answer, _) = http.answer(request).await;
                drop(under_way);
                Ok::<_, std::convert::Infallible>(answer)
            }
        })
    };
    let connection = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .max_header_list_size(MAX_HEAD as u32)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut seen = 0;
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = phase.reached(Phase::Draining) => break,
            // One that asks for nothing is not kept, though it may answer hyper's pings.
            () = tokio::time::sleep(patience) => {
                if requests.under_way.get() == 0 && requests.begun.get() == seen {
                    break;
                }
                seen = requests.begun.get();
                patience = KEEP_ALIVE;
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    // An error here is the peer's way to go.
    let _ = tokio::time::timeout(farewell, connection).await;
}

/// The requests of one connection.
#[derive(Debug, Default)]
struct Requests {
    begun: Cell<u64>,
    under_way: Cell<u32>,
}

impl Requests {
    fn begin(self: &Rc<Self>) -> UnderWay {
        self.begun.set(self.begun.get() + 1);
        self.under_way.set(self.under_way.get() + 1);
        UnderWay(self.clone())
    }
}

/// A request that is not answered yet.
#[derive(Debug)]
struct UnderWay(Rc<Requests>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.set(self.0.under_way.get() - 1);
    }
}

/// Runs hyper's tasks on the worker's own thread.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// The body of a request, whoever reads it from the network.
pub(crate) trait RequestBody: Body<Data = Bytes, Error: Into<BoxError>> + Send {}

impl<B: Body<Data = Bytes, Error: Into<BoxError>> + Send> RequestBody for B {}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Http {
    /// The answer, and for a handshake what it has settled: once that answer is sent, the connection is no
    /// longer HTTP.
    async fn answer(&self, request: Request<impl RequestBody>) -> (Answer, Option<Verdict>) {
        let version = request.version();
        let routed = self.route(request).await;
        let (mut answer, verdict) = routed.unwrap_or_else(|refused| {
            let status = refused.status.as_u16();
            tracing::debug!(status, refused.sentence, "request refused");
            (refused.into(), None)
        });
        let is_last = version < Version::HTTP_2 && self.phase.now() > Phase::Serving;
        if is_last && verdict.is_none() {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let class = usize::from(answer.status().as_u16() / 100);
        self.counters.requests[class.min(5)].add(1);
        if class > 3 {
            self.metrics.fail(answer.status().as_u16());
        }
        (answer, verdict)
    }

    async fn route(
        &self,
        request: Request<impl RequestBody>,
    ) -> Result<(Answer, Option<Verdict>), Refused> {
        let whole = request.uri().path().to_owned();
        let path =
            whole.strip_prefix(self.settings.path.as_str()).ok_or_else(Refused::not_found)?;
        let segments: Vec<&str> = path.strip_prefix('/').unwrap_or(path).split('/').collect();
        let answer = match segments[..] {
            ["app", key] => return self.upgrade(&request, key),
            ["apps", app, ref rest @ ..] => self.api(request, app, rest).await,
            ["pusher", "app", key, ref rest @ ..] => {
                fallback::serve(self, request, key, rest).await
            }
            #[cfg(feature = "autobahn")]
            [""] => return self.upgrade(&request, "echo"),
            ["up"] => self.up(request.method()),
            ["ready"] => self.ready(request.method()),
            ["metrics"] => self.scrape(&request),
            ["playground", ref rest @ ..] if self.playground => {
                playground::serve(self, request, rest).await
            }
            ["inspector", ref rest @ ..] => match &self.inspector {
                Some(inspector) => inspector::serve(self, inspector, request, rest).await,
                None => Err(Refused::not_found()),
            },
            [""] if request.method() == Method::GET => {
                Ok(text(StatusCode::OK, "Clarim is running.\n"))
            }
            _ => Err(Refused::not_found()),
        };
        Ok((answer?, None))
    }

    fn upgrade<B>(
        &self,
        request: &Request<B>,
        key: &str,
    ) -> Result<(Answer, Option<Verdict>), Refused> {
        if request.version() != Version::HTTP_11 {
            let sentence =
                "A WebSocket needs HTTP/1.1; a proxy in between may speak another version.";
            return Err(Refused::new(StatusCode::UPGRADE_REQUIRED, sentence));
        }
        let compression = self.settings.compression;
        let (answer, judged) = handshake::handshake(request, key, self.node.apps(), compression)?;
        let origin = self.origin_of(request.headers());
        let judged = judged.map(|agreed| Agreed { origin, ..agreed });
        Ok((answer, Some(self.let_in(judged))))
    }

    /// The page that a handshake is of, for the inspector.
    fn origin_of(&self, headers: &HeaderMap) -> OriginId {
        let Some(inspector) = &self.inspector else { return OriginId::default() };
        let text = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
        inspector.origins.id(text.unwrap_or_default())
    }

    /// Nobody, while the server drains.
    fn let_in<T>(&self, judged: Result<T, Refusal>) -> Result<T, Refusal> {
        if self.phase.now() == Phase::Serving {
            return judged;
        }
        let message = "The server is shutting down".to_owned();
        Err(Refusal { code: Code::OVER_CAPACITY, message })
    }

    fn up(&self, method: &Method) -> Result<Answer, Refused> {
        match *method {
            Method::GET | Method::HEAD if self.phase.now() > Phase::Serving => {
                Err(Refused::busy("The server is shutting down."))
            }
            Method::GET | Method::HEAD => Ok(json(r#"{"health":"OK"}"#)),
            _ => Err(Refused::method("GET")),
        }
    }

    /// Whether the node can do all it is there for: `up` says only that it is alive.
    fn ready(&self, method: &Method) -> Result<Answer, Refused> {
        let alive = self.up(method)?;
        match self.cluster.as_ref().and_then(Cluster::away_for) {
            None => Ok(alive),
            Some(away) => Err(Refused::busy(format!(
                "The bus to the other nodes has been lost for {} s; this node goes on by itself.",
                away.as_secs()
            ))),
        }
    }

    /// What is counted, for who has the token; where none is set, nobody has.
    fn scrape<B>(&self, request: &Request<B>) -> Result<Answer, Refused> {
        let token = self.settings.metrics_token.as_ref().ok_or_else(Refused::not_found)?;
        if request.method() != Method::GET {
            return Err(Refused::method("GET"));
        }
        if !bearer(request.headers()).is_some_and(|given| token.is(given)) {
            let sentence =
                "The metrics are for who sends \"Authorization: Bearer\" and METRICS_TOKEN.";
            return Err(Refused::new(StatusCode::UNAUTHORIZED, sentence));
        }
        let apps = self.node.apps();
        let scrape = Scrape {
            metrics: self.metrics.clone(),
            connections: apps.counts().map(|(app, count)| (app.id.clone(), count)).collect(),
            totals: self.node.totals(),
            inbox_bytes: self.node.post().bytes(),
            cluster: self.cluster.clone(),
            webhooks: self.webhooks.clone(),
            dropped_log_lines: (self.settings.dropped_log_lines)(),
            traces: self.node.post().traces.as_ref().map(|traces| traces.counts.clone()),
        };
        // Writing to a string can't fail.
        Ok(with_type(StatusCode::OK, metrics::CONTENT_TYPE, scrape.render().unwrap_or_default()))
    }

    async fn api(
        &self,
        request: Request<impl RequestBody>,
        app: &str,
        path: &[&str],
    ) -> Result<Answer, Refused> {
        let method = match path {
            ["events" | "batch_events"] | ["users", _, "events" | "terminate_connections"] => {
                Method::POST
            }
            ["channels"] | ["channels", _] | ["channels", _, "users"] | ["connections"] => {
                Method::GET
            }
            _ => return Err(Refused::not_found()),
        };
        if *request.method() != method {
            return Err(Refused::method(if method == Method::POST { "POST" } else { "GET" }));
        }
        let signed = Signed::read(request, app, self.rules()).await?;
        let publisher = self.publisher();
        match path {
            ["events"] => publisher.event(&signed).await,
            ["batch_events"] => publisher.batch(&signed).await,
            ["users", user, "events"] => {
                publisher.user_event(&signed, &decode_segment(user)?).await
            }
            ["users", user, _] => self.terminate(&signed, &decode_segment(user)?).await,
            ["channels"] => Ok(channels::list(&signed, self.directory()).await),
            ["channels", name] => {
                channels::show(&signed, &decode_segment(name)?, self.directory()).await
            }
            ["channels", name, _] => {
                channels::users(&signed, &decode_segment(name)?, self.directory()).await
            }
            _ => Ok(channels::connections(&signed, self.directory()).await),
        }
    }

    pub(crate) async fn terminate(&self, signed: &Signed, user: &str) -> Result<Answer, Refused> {
        let (closed, all_closed) = oneshot::channel::<()>();
        // It is never sent: its end is the message.
        self.node.terminate(signed.app, user, Some(&DeliveryAck::new(move |_| drop(closed))));
        let question = Query::Terminate(user.to_owned().into());
        let others = self.directory().ask(signed.app, question).await;
        let _ = all_closed.await;
        Ok(channels::partial(json("{}"), others.is_partial))
    }

    pub(crate) fn publisher(&self) -> Publisher<'_> {
        let (node, now, cluster) = (&*self.node, self.now(), self.cluster.as_ref());
        Publisher { node, now, counters: &self.counters, cluster }
    }

    pub(crate) fn directory(&self) -> Directory<'_> {
        Directory { node: &self.node, now: self.now(), cluster: self.cluster.as_ref() }
    }

    pub(crate) fn rules(&self) -> Rules<'_> {
        Rules {
            apps: self.node.apps(),
            prefix: &self.settings.path,
            max_body: self.settings.max_request_bytes,
            body_timeout: self.settings.handshake_timeout,
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

/// What is given as `Authorization: Bearer …`.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(AUTHORIZATION)?.as_bytes().strip_prefix(b"Bearer ")
}

/// A path segment without its URL encoding.
pub(crate) fn decode_segment(segment: &str) -> Result<String, Refused> {
    percent_encoding::percent_decode_str(segment)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| Refused::malformed("The path is not valid URL encoding."))
}
