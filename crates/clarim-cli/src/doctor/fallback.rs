//! Whether pages that get no WebSocket hear each line as it is written, and stay with one node.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::ORIGIN;
use hyper::{Request, Response, StatusCode};
use serde_json::json;
use tokio::time::timeout;

use super::exchange::{answer, ask, request};
use super::{Finding, PATIENCE, SLOW, Target};

/// What pages say, each on a connection of its own: behind a load balancer it comes to several nodes.
const SAYS: usize = 6;

const BUFFERING_CURE: &str = "let it pass on what comes: nginx: proxy_buffering off, or no proxy_ignore_headers \
     X-Accel-Buffering; HAProxy: no http-response wait-for-body; for pages with WebSockets this is no matter";

/// What comes on the stream of a page.
enum Heard {
    /// That it is connected.
    Greeting,
    /// Something else, or the end.
    Other(String),
}

/// A page without a WebSocket, by its address.
struct Page<'a> {
    target: &'a Target,
    origin: Option<&'a str>,
    /// Path of its session.
    session: String,
}

impl Page<'_> {
    /// A request of the page; none can be made of a key that fits into no address.
    fn request(&self, what: &str, body: String) -> Option<Request<Full<Bytes>>> {
        let path = format!("{}/{what}?protocol=7&client=clarim-doctor&version=1", self.session);
        let asking = request("POST", &path);
        let asking = match self.origin {
            Some(origin) => asking.header(ORIGIN, origin),
            None => asking,
        };
        asking.body(Full::from(body)).ok()
    }
}

/// Looks as a page does that pusher-js lets fall back to `xhr_streaming`.
pub(super) async fn streams(target: &Target, key: &str, origin: Option<&str>) -> Finding {
    let page = |name: u64| {
        let session = format!("{}/pusher/app/{key}/1/doctor{name:016x}", target.path);
        Page { target, origin, session }
    };
    let (streaming, polling) = (page(fastrand::u64(..)), page(fastrand::u64(..)));
    let warning = |what: String, cure: &str| Finding::warning("fallback", what, cure);
    let Some(asking) = streaming.request("xhr_streaming", String::new()) else {
        return warning("no request can be made of the key".to_owned(), "look at the key");
    };
    let begun = Instant::now();
    let opening = async {
        let mut response = answer(target, "fallback", asking).await?;
        let heard = greeting(&mut response).await;
        Ok((response, heard))
    };
    let (response, heard) = match timeout(PATIENCE, opening).await {
        Ok(Ok(opened)) => opened,
        Ok(Err(finding)) => return finding,
        Err(_) => return silent(&polling, &format!("hears nothing within {PATIENCE:?}")).await,
    };
    let status = response.status();
    match heard {
        Heard::Other(_)
            if status == StatusCode::NOT_FOUND || status == StatusCode::METHOD_NOT_ALLOWED =>
        {
            warning(
                "pages that get no WebSocket get nothing else either: /pusher/ is not passed on"
                    .to_owned(),
                "let the proxy's location fit /pusher/ too, if such pages are to work (with ws and wss alone in \
                 Echo's enabledTransports there are none)",
            )
        }
        Heard::Other(_) if status.is_server_error() => {
            silent(&polling, &format!("is answered {}", status.as_u16())).await
        }
        Heard::Other(text) => warning(
            format!("pages that get no WebSocket are answered {status}: {}", text.trim()),
            "let the proxy pass on /pusher/ as it does /app/",
        ),
        Heard::Greeting if begun.elapsed() > SLOW => {
            let late = begun.elapsed().as_millis();
            warning(
                format!("a page without WebSocket hears a line only after {late} ms"),
                BUFFERING_CURE,
            )
        }
        Heard::Greeting => stays_with_its_node(&streaming, begun.elapsed()).await,
    }
}

/// Reads until the page is connected.
async fn greeting(response: &mut Response<Incoming>) -> Heard {
    let mut text = String::new();
    while let Some(Ok(frame)) = response.frame().await {
        let Some(data) = frame.data_ref() else { continue };
        text.push_str(&String::from_utf8_lossy(data));
        if text.contains("pusher:connection_established") {
            return Heard::Greeting;
        }
        if text.len() > 4_096 {
            break;
        }
    }
    Heard::Other(text.chars().take(200).collect())
}

/// Nothing comes of an answer without end, but `what`. Do answers come that end?
async fn silent(page: &Page<'_>, what: &str) -> Finding {
    let answered = match page.request("xhr", String::new()) {
        Some(asking) => ask(page.target, "fallback", asking).await,
        None => {
            return Finding::warning(
                "fallback",
                "no request can be made of the key",
                "look at the key",
            );
        }
    };
    if answered.is_ok_and(|reply| reply.status.is_success()) {
        let what = format!(
            "something in between holds answers back until they end (it buffers): a page without WebSocket {what}"
        );
        return Finding::warning("fallback", what, BUFFERING_CURE);
    }
    let what = "pages that get no WebSocket are not answered: /pusher/ leads nowhere";
    Finding::warning("fallback", what, "let the proxy pass on /pusher/ as it does /app/")
}

/// What a page says must come to the node that it hears.
async fn stays_with_its_node(page: &Page<'_>, time: Duration) -> Finding {
    let ping = json!([json!({ "event": "pusher:ping", "data": {} }).to_string()]).to_string();
    for _ in 0..SAYS {
        let Some(asking) = page.request("xhr_send", ping.clone()) else { break };
        match ask(page.target, "fallback", asking).await {
            Ok(reply) if reply.status == StatusCode::NOT_FOUND => {
                return Finding::warning(
                    "fallback",
                    "the requests of a page without WebSocket come to several nodes, which do not know it",
                    "let the load balancer send a session's requests to one node: hash by the path's first five \
                     parts, as deploy/nginx/clarim.conf and deploy/haproxy/haproxy.cfg do",
                );
            }
            Ok(_) => {}
            Err(finding) => return finding,
        }
    }
    let millis = time.as_millis();
    Finding::fine("fallback", format!("a page without WebSocket is connected after {millis} ms"))
}
