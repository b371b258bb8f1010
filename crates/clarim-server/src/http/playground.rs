//! The playground: a built-in page to try the server. Only in development mode, since it publishes and signs for
//! anybody who opens it.

use std::net::IpAddr;

use clarim_protocol::SocketId;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{Method, Request, StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;

use super::response::{ApiError, ApiResponse, json_value, page_file};
use super::signed::{ApiRequest, parse_owned};
use super::{Http, RequestBody};

/// Allows the page's own files alone, and forbids frames.
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

/// ApiResponses what is below `/playground`.
pub(crate) async fn serve(
    http: &Http,
    request: Request<impl RequestBody>,
    path: &[&str],
) -> Result<ApiResponse, ApiError> {
    if !is_local_request(request.headers(), request.uri()) {
        let message = "This page is available on this machine only, and not through a proxy.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    match (request.method(), path) {
        (&Method::GET, []) => Ok(file("text/html; charset=utf-8", PAGE)),
        (&Method::GET, ["playground.js"]) => Ok(file("text/javascript; charset=utf-8", SCRIPT)),
        (&Method::GET, ["playground.css"]) => Ok(file("text/css; charset=utf-8", STYLE)),
        (&Method::GET, ["config"]) => config(http),
        (&Method::POST, ["auth"]) => auth(http, request).await,
        (&Method::POST, ["events"]) => {
            let request = own_page(http, request).await?;
            http.publish_event(&request).await
        }
        _ => Err(ApiError::not_found()),
    }
}

fn file(content_type: &'static str, text: &'static str) -> ApiResponse {
    page_file(content_type, text, CONTENT_SECURITY_POLICY)
}

fn config(http: &Http) -> Result<ApiResponse, ApiError> {
    let app = http.node.apps().iter().next().ok_or_else(ApiError::not_found)?;
    Ok(json_value(&json!({ "key": app.key.key(), "path": http.config.path })))
}

async fn auth(http: &Http, request: Request<impl RequestBody>) -> Result<ApiResponse, ApiError> {
    let request = own_page(http, request).await?;
    let Auth { socket_id, channel_name, channel_data } = parse_owned(&request.body)?;
    let key = &http.node.apps().get(request.app).key;
    let auth = key.sign_channel(socket_id, &channel_name, channel_data.as_deref());
    Ok(json_value(&json!({ "auth": auth, "channel_data": channel_data })))
}

/// Headers by which a proxy names the client.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// Whether a request comes from this machine: it names it as such and has passed no proxy.
pub(crate) fn is_local_request(headers: &HeaderMap, uri: &Uri) -> bool {
    host(headers, uri).is_some_and(is_this_machine)
        && FORWARDED.iter().all(|name| !headers.contains_key(*name))
}

/// The host of a request, of HTTP/1 or HTTP/2.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let header = headers.get(HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| uri.authority().map(Authority::as_str))
}

/// A name from somebody's DNS could belong to another site, even if it resolves to this machine.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// Whether a request comes from a page that this server has served.
pub(crate) fn is_own_page(headers: &HeaderMap, uri: &Uri) -> bool {
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok());
    let origin = origin.and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    origin.is_some() && origin == host(headers, uri)
}

/// Reads a request of the page, which needs no signature. Requests of other pages are refused: a site that a
/// developer has open must not publish here.
async fn own_page(http: &Http, request: Request<impl RequestBody>) -> Result<ApiRequest, ApiError> {
    if !is_own_page(request.headers(), request.uri()) {
        let message = "Only the page served from this address can do this.";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    let body = http.read_body(request).await?;
    let app = http.node.apps().iter().next().map(|app| app.id.as_str());
    let app = app.and_then(|id| http.node.apps().find_by_id(id)).ok_or_else(ApiError::not_found)?;
    Ok(ApiRequest::of_page(app, body))
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
        is_local_request(&map, &uri.parse().unwrap())
    }

    #[test]
    fn the_page_is_served_under_names_of_this_machine_alone() {
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
