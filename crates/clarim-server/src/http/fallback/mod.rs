//! For pages behind networks that let no WebSocket through: the transports `xhr_streaming` and `xhr_polling`
//! that pusher-js falls back to by itself.
//!
//! A session stands for a WebSocket. It is one, within the process: the engine has one end of a pair of
//! sockets and knows no difference, so hub, limits and pings are those of every connection; the
//! [session](Session) has the other end and speaks by the requests of the page.
//!
//! | request | does |
//! |---|---|
//! | `POST /pusher/app/{key}/{n}/{session}/xhr_streaming` | is answered without end, line by line |
//! | `POST …/xhr` | is answered when there are messages |
//! | `POST …/xhr_send` | has messages of the page, a JSON array of strings |
//!
//! Lines to the page: `o` (open), `a["…"]` (messages), `h` (still there), `c[4001,"…"]` (closed).

mod order;
mod session;

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use clarim_protocol::rest::Params;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::answer::{Answer, Refused, no_content, streamed, text};
use super::handshake::{Agreed, judge};
use super::signed::read_body;
use super::{Http, RequestBody};
use session::{Kind, Listener, Session, Visit};

/// The sessions of a node, by key and name. Cloning is cheap.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<HashMap<String, mpsc::Sender<Visit>>>>);

impl Sessions {
    fn find(&self, name: &str) -> Option<mpsc::Sender<Visit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn insert(&self, name: String, visits: mpsc::Sender<Visit>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name, visits);
    }

    fn remove(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// Lines that wait for the page to read; the engine's outbox holds the rest.
const LINES: usize = 2;

/// Answers what is below `/pusher/app/{key}`.
pub(crate) async fn serve(
    http: &Http,
    request: Request<impl RequestBody>,
    key: &str,
    path: &[&str],
) -> Result<Answer, Refused> {
    let [number, session, what] = path else { return Err(Refused::not_found()) };
    let is_name = |text: &str| {
        (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    if !is_name(number) || !is_name(session) {
        return Err(Refused::not_found());
    }
    let name = format!("{key}/{number}/{session}");
    let kind = match *what {
        "xhr_streaming" => Some(Kind::Streaming),
        "xhr" => Some(Kind::Polling),
        "xhr_send" => None,
        _ => return Err(Refused::not_found()),
    };
    let (head, body) = request.into_parts();
    let mut answer = match (&head.method, kind) {
        (&Method::OPTIONS, _) => preflight(),
        (&Method::POST, Some(kind)) => listen(http, &head, key, name, kind).await,
        (&Method::POST, None) => say(http, &head, body, &name).await?,
        _ => return Err(Refused::method("POST")),
    };
    // No cookie is looked at: who has the session's name is the page that made it.
    let any = HeaderValue::from_static("*");
    answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    Ok(answer)
}

fn preflight() -> Answer {
    let mut answer = no_content();
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("content-type"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    answer
}

/// The page's place in the order of its requests.
fn number(head: &Parts) -> Option<u64> {
    Params::decode(head.uri.query().unwrap_or_default()).ok()?.get("n")?.parse().ok()
}

async fn listen(http: &Http, head: &Parts, key: &str, name: String, kind: Kind) -> Answer {
    let (lines, body) = mpsc::channel(LINES);
    let visit = Visit::Listen { n: number(head), listener: Listener::new(kind, lines) };
    let visit = match http.sessions.find(&name) {
        Some(session) => session.send(visit).await.err().map(|unsent| unsent.0),
        None => Some(visit),
    };
    if let Some(visit) = visit
        && let Err((code, reason)) = open(http, head, key, name, visit)
    {
        let closed = serde_json::json!([code, reason]);
        return with_headers(text(StatusCode::OK, format!("o\nc{closed}\n")));
    }
    with_headers(streamed(body))
}

/// Browsers and proxies are to pass each line on as it comes.
fn with_headers(mut answer: Answer) -> Answer {
    let headers = answer.headers_mut();
    let script = HeaderValue::from_static("application/javascript; charset=utf-8");
    headers.insert(CONTENT_TYPE, script);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    answer
}

/// A session that is new; or close code and reason.
fn open(
    http: &Http,
    head: &Parts,
    key: &str,
    name: String,
    visit: Visit,
) -> Result<(), (u16, String)> {
    let verdict = http.let_in(judge((&head.uri, &head.headers), key, http.node.apps()));
    let app = verdict.map_err(|refusal| {
        http.metrics.refuse(refusal.code);
        (refusal.code.get(), refusal.message)
    })?;
    let origin = http.origin_of(&head.headers);
    let (near, far) = pair().map_err(|error| {
        tracing::warn!(%error, "a fallback session gets no sockets");
        (4100, "Over capacity".to_owned())
    })?;
    let (sender, visits) = mpsc::channel(16);
    http.sessions.insert(name.clone(), sender);
    let session = Session::new(far, visits);
    let sessions = http.sessions.clone();
    tokio::spawn(async move {
        session.run(visit).await;
        sessions.remove(&name);
    });
    http.doors.hand_over(near, Bytes::new(), Ok(Agreed { app, deflate: false, origin }));
    Ok(())
}

/// Two ends of one line: one for the engine, to which a stream socket is a stream socket.
pub(super) fn pair() -> io::Result<(std::net::TcpStream, UnixStream)> {
    let (near, far) = StdUnixStream::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    Ok((OwnedFd::from(near).into(), UnixStream::from_std(far)?))
}

async fn say(
    http: &Http,
    head: &Parts,
    body: impl RequestBody,
    name: &str,
) -> Result<Answer, Refused> {
    let n = number(head);
    let settings = &http.settings;
    let (max, timeout) = (settings.max_request_bytes, settings.handshake_timeout);
    let body = read_body(head, body, max, timeout).await?;
    let messages: Vec<String> = serde_json::from_slice(&body)
        .map_err(|_| Refused::malformed("The body must be a JSON array of strings."))?;
    let gone = || Refused::new(StatusCode::NOT_FOUND, "There is no such session any more.");
    let session = http.sessions.find(name).ok_or_else(gone)?;
    session.send(Visit::Say { n, messages }).await.map_err(|_| gone())?;
    Ok(no_content())
}
