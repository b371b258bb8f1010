//! The transports `xhr_streaming` and `xhr_polling`, which pusher-js falls back to in networks that block
//! WebSockets.
//!
//! Within the process, a session is a WebSocket without a socket: the engine has one end of a pipe in memory,
//! so hub, limits and pings are the same as for every connection. The [session](Session) has the other end
//! and exchanges messages by the requests of the page.
//!
//! | request | does |
//! |---|---|
//! | `POST /pusher/app/{key}/{n}/{session}/xhr_streaming` | streams a response, line by line |
//! | `POST …/xhr` | is answered once there are messages |
//! | `POST …/xhr_send` | sends messages of the page, a JSON array of strings |
//!
//! With a page id, `/pusher` is followed by `/~{id}`.
//!
//! Lines to the page: `o` (open), `a["…"]` (messages), `h` (heartbeat), `c[4001,"…"]` (closed).

mod order;
mod outgoing;
mod request;
mod session;
mod sessions;

use bytes::Bytes;
use clarim_hub::Refusal;
use clarim_protocol::PageId;
use clarim_protocol::rest::Params;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};
use tokio::sync::mpsc;

use super::handshake::admit;
use super::response::{ApiError, ApiResponse, no_content, streamed, text};
use super::{Client, Http, RequestBody};
use crate::runtime::{Handshake, HandshakeParams};
use request::{Listener, PageRequest, Transport};
use session::Session;
pub(crate) use sessions::Sessions;
use sessions::{Opened, Owner};

/// Lines buffered for the page. The rest stays in the connection's send queue.
const LINES: usize = 2;

/// Bytes in one direction of the pipe between a session and the engine.
const PIPE: usize = 16 << 10;

/// The path of a request below `/pusher/app/{key}`, or `/pusher/~{page}/app/{key}` of a page.
#[derive(Debug)]
pub(crate) struct AppPath<'a> {
    pub(crate) key: &'a str,
    pub(crate) page: Option<PageId>,
    /// Number, session and action.
    pub(crate) rest: [&'a str; 3],
}

/// Answers a request of a page.
pub(crate) async fn serve(
    http: &Http,
    request: Request<impl RequestBody>,
    client: &Client,
    path: AppPath<'_>,
) -> Result<ApiResponse, ApiError> {
    let AppPath { key, page, rest } = path;
    if !http.config.fallback {
        let message = "The HTTP fallback is disabled (FALLBACK).";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message));
    }
    let [number, session, action] = rest;
    let is_name = |text: &str| {
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !is_name(number) || !is_name(session) {
        return Err(ApiError::not_found());
    }
    let name = format!("{key}/{number}/{session}");
    let transport = match action {
        "xhr_streaming" => Some(Transport::Streaming),
        "xhr" => Some(Transport::Polling),
        "xhr_send" => None,
        _ => return Err(ApiError::not_found()),
    };
    let mut response = match (request.method(), transport) {
        (&Method::OPTIONS, _) => preflight(),
        (&Method::POST, Some(transport)) => {
            let (head, _) = request.into_parts();
            let page = Page { http, head: &head, client, key, id: page, name };
            page.listen(transport).await
        }
        (&Method::POST, None) => send(http, request, client, &name).await?,
        _ => return Err(ApiError::method("POST")),
    };
    // Cookies are ignored: only the page that made a session knows its name.
    let any = HeaderValue::from_static("*");
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    Ok(response)
}

fn preflight() -> ApiResponse {
    let mut response = no_content();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// The number of a request in the page's order.
fn number(uri: &Uri) -> Option<u64> {
    Params::decode(uri.query().unwrap_or_default()).ok()?.get("n")?.parse().ok()
}

/// A listening request of a page.
struct Page<'a> {
    http: &'a Http,
    head: &'a Parts,
    client: &'a Client,
    key: &'a str,
    id: Option<PageId>,
    name: String,
}

impl Page<'_> {
    async fn listen(&self, transport: Transport) -> ApiResponse {
        let (lines, body) = mpsc::channel(LINES);
        let listener = Listener::new(transport, lines);
        let mut request = PageRequest::Listen { n: number(&self.head.uri), listener };
        let mut known = self.http.sessions.find(&self.name);
        loop {
            if let Some(session) = known {
                match session.send(request).await {
                    Ok(()) => break,
                    // It has just ended.
                    Err(unsent) => request = unsent.0,
                }
            }
            match self.open(request) {
                Ok(Started::New) => break,
                Ok(Started::Known { session, unsent }) => {
                    known = Some(session);
                    request = unsent;
                }
                Err(refusal) => {
                    self.http.server_counters.refuse(&refusal);
                    let closed = serde_json::json!([refusal.code.get(), refusal.message]);
                    return with_headers(text(StatusCode::OK, format!("o\nc{closed}\n")));
                }
            }
        }
        with_headers(streamed(body))
    }

    /// Opens a session with its first request.
    fn open(&self, first: PageRequest) -> Result<Started, Refusal> {
        let Self { http, head, client, key, id, name } = self;
        let admitted = admit(&head.uri, &head.headers, key, http.node.apps());
        let app = http.unless_draining(admitted)?;
        let address = client.address(&head.headers);
        let (place, requests) = match http.sessions.open(name.clone(), Owner { app, address })? {
            Opened::New { place, requests } => (place, requests),
            Opened::Known(session) => return Ok(Started::Known { session, unsent: first }),
        };
        let origin = http.origin_of(&head.headers);
        let (near, far) = tokio::io::duplex(PIPE);
        tokio::spawn(Session::new(far, requests, place).run(first));
        let admission =
            Ok(HandshakeParams { app, deflate: false, origin, address, page: id.clone() });
        http.acceptor.hand_over_local(near, Handshake { admission, early: Bytes::new() });
        Ok(Started::New)
    }
}

/// The result of [`Page::open`].
enum Started {
    New,
    /// Another request has opened the session.
    Known {
        session: mpsc::Sender<PageRequest>,
        unsent: PageRequest,
    },
}

/// Adds the headers that make browsers and proxies forward each line at once.
fn with_headers(mut response: ApiResponse) -> ApiResponse {
    let headers = response.headers_mut();
    let script = HeaderValue::from_static("application/javascript; charset=utf-8");
    headers.insert(CONTENT_TYPE, script);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

async fn send(
    http: &Http,
    request: Request<impl RequestBody>,
    client: &Client,
    name: &str,
) -> Result<ApiResponse, ApiError> {
    let n = number(request.uri());
    let gone = || ApiError::new(StatusCode::NOT_FOUND, "This session does not exist.");
    let limits = http.body_limits();
    let (head, body) = request.into_parts();
    let Some(session) = http.sessions.find(name) else {
        let _pause = client.pause();
        limits.discard(body).await?;
        return Err(gone());
    };
    let body = {
        let _pause = client.pause();
        limits.read_unknown(body, &http.body_budget, client.address(&head.headers)).await?
    };
    let messages: Vec<String> = serde_json::from_slice(&body)
        .map_err(|_| ApiError::malformed("The body must be a JSON array of strings."))?;
    let share = body.into_share();
    session.send(PageRequest::Send { n, messages, share }).await.map_err(|_| gone())?;
    Ok(no_content())
}
