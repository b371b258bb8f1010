//! The transports `xhr_streaming` and `xhr_polling`, which pusher-js falls back to in networks that block
//! WebSockets.
//!
//! Within the process, a session is a WebSocket. The engine has one end of a pair of sockets, so hub,
//! limits and pings are the same as for every connection. The [session](Session) has the other end and
//! exchanges messages by the requests of the page.
//!
//! | request | does |
//! |---|---|
//! | `POST /pusher/app/{key}/{n}/{session}/xhr_streaming` | streams a response, line by line |
//! | `POST …/xhr` | is answered once there are messages |
//! | `POST …/xhr_send` | sends messages of the page, a JSON array of strings |
//!
//! Lines to the page: `o` (open), `a["…"]` (messages), `h` (heartbeat), `c[4001,"…"]` (closed).

mod order;
mod session;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clarim_hub::Refusal;
use clarim_protocol::Code;
use clarim_protocol::rest::Params;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Uri};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::handshake::admit;
use super::response::{ApiError, ApiResponse, no_content, streamed, text};
use super::{Http, RequestBody};
use crate::runtime::{Handshake, HandshakeParams};
use session::{Listener, PageRequest, Session, Transport};

/// The sessions of a node by app key and name. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<String, mpsc::Sender<PageRequest>>>>);

impl Sessions {
    fn find(&self, name: &str) -> Option<mpsc::Sender<PageRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn insert(&self, name: String, requests: mpsc::Sender<PageRequest>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, requests);
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Lines buffered for the page. The rest stays in the connection's send queue.
const LINES: usize = 2;

/// Answers a request below `/pusher/app/{key}`.
pub(crate) async fn serve(
    http: &Http,
    request: Request<impl RequestBody>,
    key: &str,
    path: &[&str],
) -> Result<ApiResponse, ApiError> {
    let [number, session, action] = path else { return Err(ApiError::not_found()) };
    let is_name = |text: &str| {
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !is_name(number) || !is_name(session) {
        return Err(ApiError::not_found());
    }
    let name = format!("{key}/{number}/{session}");
    let transport = match *action {
        "xhr_streaming" => Some(Transport::Streaming),
        "xhr" => Some(Transport::Polling),
        "xhr_send" => None,
        _ => return Err(ApiError::not_found()),
    };
    let mut response = match (request.method(), transport) {
        (&Method::OPTIONS, _) => preflight(),
        (&Method::POST, Some(transport)) => {
            let (head, _) = request.into_parts();
            listen(http, &head, key, name, transport).await
        }
        (&Method::POST, None) => send(http, request, &name).await?,
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

async fn listen(
    http: &Http,
    head: &Parts,
    key: &str,
    name: String,
    transport: Transport,
) -> ApiResponse {
    let (lines, body) = mpsc::channel(LINES);
    let request =
        PageRequest::Listen { n: number(&head.uri), listener: Listener::new(transport, lines) };
    let request = match http.sessions.find(&name) {
        Some(session) => session.send(request).await.err().map(|unsent| unsent.0),
        None => Some(request),
    };
    if let Some(request) = request
        && let Err(refusal) = open(http, head, key, name, request)
    {
        let closed = serde_json::json!([refusal.code.get(), refusal.message]);
        return with_headers(text(StatusCode::OK, format!("o\nc{closed}\n")));
    }
    with_headers(streamed(body))
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

/// Opens a session with its first request.
fn open(
    http: &Http,
    head: &Parts,
    key: &str,
    name: String,
    first: PageRequest,
) -> Result<(), Refusal> {
    let admitted = admit(&head.uri, &head.headers, key, http.node.apps());
    let app = http
        .unless_draining(admitted)
        .inspect_err(|refusal| http.server_counters.count_refused(refusal.code))?;
    let origin = http.origin_of(&head.headers);
    let (near, far) = pair().map_err(|error| {
        tracing::warn!(%error, "cannot make the sockets of a fallback session");
        Refusal { code: Code::OVER_CAPACITY, message: "Over capacity".to_owned() }
    })?;
    let (sender, requests) = mpsc::channel(16);
    http.sessions.insert(name.clone(), sender);
    let session = Session::new(far, requests);
    let sessions = http.sessions.clone();
    tokio::spawn(async move {
        session.run(first).await;
        sessions.remove(&name);
    });
    let admission = Ok(HandshakeParams { app, deflate: false, origin });
    http.acceptor.hand_over(near, Handshake { admission, early: Bytes::new() });
    Ok(())
}

/// Makes a connected pair of sockets. The engine takes the first as any other stream socket.
pub(crate) fn pair() -> io::Result<(std::net::TcpStream, UnixStream)> {
    let (near, far) = StdUnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((OwnedFd::from(near).into(), UnixStream::from_std(far)?))
}

async fn send(
    http: &Http,
    request: Request<impl RequestBody>,
    name: &str,
) -> Result<ApiResponse, ApiError> {
    let n = number(request.uri());
    let body = http.read_body(request).await?;
    let messages: Vec<String> = serde_json::from_slice(&body)
        .map_err(|_| ApiError::malformed("The body must be a JSON array of strings."))?;
    let gone = || ApiError::new(StatusCode::NOT_FOUND, "This session does not exist.");
    let session = http.sessions.find(name).ok_or_else(gone)?;
    session.send(PageRequest::Send { n, messages }).await.map_err(|_| gone())?;
    Ok(no_content())
}
