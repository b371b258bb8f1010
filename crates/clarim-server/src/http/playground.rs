//! The playground: a built-in page to try the server. Only in development mode, since it publishes and
//! signs for anybody who opens it.

use clarim_protocol::SocketId;
use hyper::{Method, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::response::{ApiError, ApiResponse, json_value, page_file};
use super::signed::{ApiRequest, is_local_request, is_own_page, parse_owned};
use super::{Endpoint, Http, RequestBody, design, publish_request};

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

/// Answers a request below `/playground`.
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
        (&Method::GET, ["design", name]) => {
            design::file(name, CONTENT_SECURITY_POLICY).ok_or_else(ApiError::not_found)
        }
        (&Method::GET, ["config"]) => config(http),
        (&Method::POST, ["auth"]) => auth(http, request).await,
        (&Method::POST, ["events"]) => {
            let request = own_page(http, request).await?;
            publish_request(http, &request, Endpoint::Event).await
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
