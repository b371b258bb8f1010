//! The built-in page on which anybody can see the server working. Only in development: it publishes and
//! signs for whoever opens it.

use std::net::IpAddr;

use clarim_protocol::SocketId;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, Refused, json_value, page_file};
use super::signed::{Signed, parse_owned, read_body};
use super::{Http, RequestBody};

/// Only what the page itself is made of; and nobody may put it into a frame.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("../../playground/index.html");
const SCRIPT: &str = include_str!("../../playground/playground.js");
const STYLE: &str = include_str!("../../playground/playground.css");

#[derive(Deserialize)]
struct Auth {
    socket_id: SocketId,
    channel_name: String,
    #[serde(default)]
    channel_data: Option<String>,
}

/// Answers what is below `/playground`.
pub(crate) async fn serve(
    http: &Http,
    request: Request<impl RequestBody>,
    path: &[&str],
) -> Result<Answer, Refused> {
    if !is_asked_here(request.headers(), request.uri()) {
        let sentence = "This page is for this machine alone, and not for what a proxy passes on.";
        return Err(Refused::new(StatusCode::FORBIDDEN, sentence));
    }
    match (request.method(), path) {
        (&Method::GET, []) => Ok(file("text/html; charset=utf-8", PAGE)),
        (&Method::GET, ["playground.js"]) => Ok(file("text/javascript; charset=utf-8", SCRIPT)),
        (&Method::GET, ["playground.css"]) => Ok(file("text/css; charset=utf-8", STYLE)),
        (&Method::GET, ["config"]) => config(http),
        (&Method::POST, ["auth"]) => auth(http, request).await,
        (&Method::POST, ["events"]) => {
            let signed = own_page(http, request).await?;
            http.publisher().event(&signed).await
        }
        _ => Err(Refused::not_found()),
    }
}

fn file(content_type: &'static str, text: &'static str) -> Answer {
    page_file(content_type, text, CONTENT_SECURITY_POLICY)
}

fn config(http: &Http) -> Result<Answer, Refused> {
    let app = http.node.apps().iter().next().ok_or_else(Refused::not_found)?;
    Ok(json_value(&json!({ "key": app.key.key(), "path": http.settings.path })))
}

async fn auth(http: &Http, request: Request<impl RequestBody>) -> Result<Answer, Refused> {
    let signed = own_page(http, request).await?;
    let Auth { socket_id, channel_name, channel_data } = parse_owned(&signed.body)?;
    let key = &http.node.apps().get(signed.app).key;
    let auth = key.sign_channel(socket_id, &channel_name, channel_data.as_deref());
    Ok(json_value(&json!({ "auth": auth, "channel_data": channel_data })))
}

/// Headers by which a proxy says for whom it asks.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Whether whoever asks has called this machine by a name of its own, and by itself.
pub(crate) fn is_asked_here(headers: &HeaderMap, uri: &Uri) -> bool {
    host(headers, uri).is_some_and(is_this_machine)
        && FORWARDED.iter().all(|name| !headers.contains_key(*name))
}

/// As HTTP/1 says it, or as HTTP/2 does.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| uri.authority().map(Authority::as_str))
}

/// A name that somebody else's DNS has given this address is another site's.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether a page asks that was served from here.
pub(crate) fn is_own_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == host(headers, uri)
}

/// Reads a request of the page, for which no signature is asked. It must be of the page itself: another
/// site that a developer has open must not publish here.
async fn own_page(http: &Http, request: Request<impl RequestBody>) -> Result<Signed, Refused> {
    let (head, body) = request.into_parts();
    if !is_own_page(&head.headers, &head.uri) {
        let sentence = "Only the page served from this address may do this.";
        return Err(Refused::new(StatusCode::FORBIDDEN, sentence));
    }
    let rules = http.rules();
    let body = read_body(&head, body, rules.max_body, rules.body_timeout).await?;
    let app = http.node.apps().iter().next().map(|app| app.id.as_str());
    let app = app.and_then(|id| http.node.apps().find_by_id(id)).ok_or_else(Refused::not_found)?;
    Ok(Signed::of_page(app, body))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn is_asked(uri: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        is_asked_here(&map, &uri.parse().unwrap())
    }

    #[test]
    fn the_page_is_for_those_who_know_this_machine_by_its_own_names() {
        for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "127.1.2.3"] {
            assert!(is_asked("/playground/config", &[("host", host)]), "{host}");
        }
        // HTTP/2 has no Host header.
        assert!(is_asked("https://localhost:8080/playground", &[]));
        for host in ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "192.168.1.2"] {
            assert!(!is_asked("/playground/config", &[("host", host)]), "{host}");
        }
        assert!(!is_asked("/playground", &[]));
        for forwarded in FORWARDED {
            let headers = [("host", "127.0.0.1:8080"), (forwarded, "for=1.2.3.4")];
            assert!(!is_asked("/playground", &headers), "{forwarded}");
        }
    }
}
