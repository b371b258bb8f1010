//! The built-in page on which anybody can see the server working. Only in development: it publishes and
//! signs for whoever opens it.

use std::net::IpAddr;

use clarim_protocol::SocketId;
use hyper::body::Incoming;
use hyper::header::{HOST, HeaderValue, ORIGIN};
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::Http;
use super::answer::{Answer, Refused, json_value, with_type};
use super::signed::{Signed, parse_owned, read_body};

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
    request: Request<Incoming>,
    path: &[&str],
) -> Result<Answer, Refused> {
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
    let mut answer = with_type(StatusCode::OK, content_type, text);
    let headers = answer.headers_mut();
    headers.insert("content-security-policy", HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    headers.insert("cache-control", HeaderValue::from_static("no-cache"));
    answer
}

fn config(http: &Http) -> Result<Answer, Refused> {
    let app = http.node.apps().iter().next().ok_or_else(Refused::not_found)?;
    Ok(json_value(&json!({ "key": app.key.key(), "path": http.settings.path })))
}

async fn auth(http: &Http, request: Request<Incoming>) -> Result<Answer, Refused> {
    let signed = own_page(http, request).await?;
    let Auth { socket_id, channel_name, channel_data } = parse_owned(&signed.body)?;
    let key = &http.node.apps().get(signed.app).key;
    let auth = key.sign_channel(socket_id, &channel_name, channel_data.as_deref());
    Ok(json_value(&json!({ "auth": auth, "channel_data": channel_data })))
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

/// Reads a request of the page, for which no signature is asked. It must be of the page itself: another
/// site that a developer has open must not publish here.
async fn own_page(http: &Http, request: Request<Incoming>) -> Result<Signed, Refused> {
    let (head, body) = request.into_parts();
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    let origin = header(ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let host = header(HOST).filter(|host| is_this_machine(host));
    if host.is_none() || origin != host {
        let sentence = "Only the page served from this address may do this.";
        return Err(Refused::new(StatusCode::FORBIDDEN, sentence));
    }
    let rules = http.rules();
    let body = read_body(&head, body, rules.max_body, rules.body_timeout).await?;
    let app = http.node.apps().iter().next().map(|app| app.id.as_str());
    let app = app.and_then(|id| http.node.apps().find_by_id(id)).ok_or_else(Refused::not_found)?;
    Ok(Signed::of_page(app, body))
}
