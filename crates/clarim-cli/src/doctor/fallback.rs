//! Checks that pages without WebSocket receive each line at once, and that their requests reach one node.

use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_protocol::rest::encode_segment;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::connection::exchange::{self, send, send_streaming};
use super::connection::target::Target;
use super::finding::{Finding, SLOW, TIMEOUT};

/// Number of requests, each on its own connection. Behind a load balancer they reach several nodes.
const REQUESTS: usize = 6;

const BUFFERING_REMEDY: &str = "disable buffering in the proxy (nginx: proxy_buffering off, or no proxy_ignore_headers X-Accel-Buffering; \
     HAProxy: no http-response wait-for-body); pages with WebSockets are not affected";

/// The beginning of a page's stream.
enum Beginning {
    /// The page is connected.
    Connected,
    /// Another text, or the end.
    Other(String),
}

/// A page without WebSocket.
struct Page<'a> {
    target: &'a Target,
    origin: Option<&'a str>,
    /// Path of its session.
    session: String,
}

impl Page<'_> {
    /// A request of the page; `None` if the key is not valid in a URL.
    fn request(&self, what: &str, body: String) -> Option<Request<Full<Bytes>>> {
        let path = format!("{}/{what}?protocol=7&client=clarim-doctor&version=1", self.session);
        let request = exchange::request("POST", &path);
        let request = match self.origin {
            Some(origin) => request.header(ORIGIN, origin),
            None => request,
        };
        request.body(Full::from(body)).ok()
    }
}

/// Connects as pusher-js does when it falls back to `xhr_streaming`.
pub(super) async fn streams(target: &Target, key: &str, origin: Option<&str>) -> Finding {
    let key = encode_segment(key);
    let page = |name: u64| {
        let session = format!("{}/pusher/app/{key}/1/doctor{name:016x}", target.path);
        Page { target, origin, session }
    };
    let streaming = page(fastrand::u64(..));
    let polling = page(fastrand::u64(..));
    let warning = |what: String, remedy: &str| Finding::warning("fallback", what, remedy);
    let Some(request) = streaming.request("xhr_streaming", String::new()) else {
        return warning("the key is not valid in a URL".to_owned(), "check the key");
    };
    let begun = Instant::now();
    let opening = async {
        let mut response = send_streaming(target, "fallback", request).await?;
        let beginning = read_beginning(&mut response).await;
        Ok((response, beginning))
    };
    let (response, beginning) = match timeout(TIMEOUT, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(finding)) => return finding,
        Err(_) => return silent(&polling, &format!("receives nothing within {TIMEOUT:?}")).await,
    };
    let status = response.status();
    match beginning {
        Beginning::Other(text) if text.contains("(FALLBACK)") => {
            Finding::ok("fallback", "the HTTP fallback is disabled (FALLBACK)")
        }
        Beginning::Other(_)
            if status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED =>
        {
            warning(
                "pages without WebSocket cannot connect: /pusher/ is not forwarded".to_owned(),
                "let the proxy's location match /pusher/ too, if such pages have to work (there are none if Echo's \
                 enabledTransports are ws and wss)",
            )
        }
        Beginning::Other(_) if status.is_server_error() => {
            silent(&polling, &format!("is answered with {}", status.as_u16())).await
        }
        Beginning::Other(text) => warning(
            format!("pages without WebSocket are answered with {status}: {}", text.trim()),
            "forward /pusher/ in the proxy, like /app/",
        ),
        Beginning::Connected if begun.elapsed() > SLOW => {
            let late = begun.elapsed().as_millis();
            warning(
                format!("a page without WebSocket receives a line only after {late} ms"),
                BUFFERING_REMEDY,
            )
        }
        Beginning::Connected => stays_with_its_node(&streaming, begun.elapsed()).await,
    }
}

/// Reads until the page is connected.
async fn read_beginning(response: &mut Response<Incoming>) -> Beginning {
    let mut text = String::new();
    while let Some(Ok(frame)) = response.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        text.push_str(&String::from_utf8_lossy(data));
        if text.contains("pusher:connection_established") {
            return Beginning::Connected;
        }
        if text.len() > 4_096 {
            break;
        }
    }
    Beginning::Other(text.chars().take(200).collect())
}

/// Nothing arrives of the streaming response, but `what` happens. Checks whether complete responses arrive.
async fn silent(page: &Page<'_>, what: &str) -> Finding {
    let answered = match page.request("xhr", String::new()) {
        Some(request) => send(page.target, "fallback", request).await,
        None => {
            return Finding::warning("fallback", "the key is not valid in a URL", "check the key");
        }
    };
    if answered.is_ok_and(|response| response.status.is_success()) {
        let what =
            format!("a proxy buffers responses until they end: a page without WebSocket {what}");
        return Finding::warning("fallback", what, BUFFERING_REMEDY);
    }
    let what = "pages without WebSocket are not answered: /pusher/ leads nowhere";
    Finding::warning("fallback", what, "forward /pusher/ in the proxy, like /app/")
}

/// Checks that requests of a page reach the node of its stream.
async fn stays_with_its_node(page: &Page<'_>, time: Duration) -> Finding {
    let ping = json!([json!({ "event": "pusher:ping", "data": {} }).to_string()]).to_string();
    for _ in 0..REQUESTS {
        let Some(request) = page.request("xhr_send", ping.clone()) else { break };
        match send(page.target, "fallback", request).await {
            Ok(response) if response.status == StatusCode::NOT_FOUND => {
                return Finding::warning(
                    "fallback",
                    "requests of a page without WebSocket reach different nodes, but its session is on one of them",
                    "let the load balancer send all requests of a session to the same node: hash by the first five \
                     segments of the path, as in deploy/nginx/clarim.conf and deploy/haproxy/haproxy.cfg",
                );
            }
            Ok(_) => {}
            Err(finding) => return finding,
        }
    }
    let millis = time.as_millis();
    Finding::ok("fallback", format!("a page without WebSocket is connected after {millis} ms"))
}
