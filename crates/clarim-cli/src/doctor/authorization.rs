//! Checks the application's authorization endpoint.

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{ChannelName, SocketId};
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use serde_json::Value;

use super::connection::exchange::{self, Response, send};
use super::connection::target::Target;
use super::finding::Finding;

/// An authorization endpoint, and the request of a page.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) target: Target,
    /// Headers of the page, such as a cookie or a token.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Name of the channel, with its prefix.
    pub(crate) channel: String,
}

pub(super) async fn answers(endpoint: &Endpoint, key: &AppKey) -> Finding {
    let Endpoint { target, headers, channel } = endpoint;
    let Ok(socket_id) = "1234.5678".parse::<SocketId>() else {
        return Finding::problem("authorization", "the socket id is not valid", "");
    };
    let body = format!("socket_id={socket_id}&channel_name={channel}");
    let mut request = exchange::request("POST", &target.path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(Full::new(Bytes::from(body))) else {
        return Finding::problem("authorization", "the URL has no path", "use the complete URL");
    };
    match send(target, "authorization", request).await {
        Ok(response) => judge(&response, key, socket_id, channel),
        Err(finding) => finding,
    }
}

fn judge(response: &Response, key: &AppKey, socket_id: SocketId, channel: &str) -> Finding {
    let problem = |what: String, remedy: &str| Finding::problem("authorization", what, remedy);
    let status = response.status.as_u16();
    match status {
        200..=299 => signature(response, key, socket_id, channel),
        419 => problem(
            "it answered 419: the CSRF token is missing or wrong".to_owned(),
            "add <meta name=\"csrf-token\"> to the page, or pass csrfToken to Echo; here: --header 'X-CSRF-TOKEN: …'",
        ),
        401 => problem(
            "it answered 401: the user is not logged in".to_owned(),
            "send the cookie or token (same site, or withCredentials and auth.headers); here: --header",
        ),
        403 => problem(
            format!("it answered 403: this user may not subscribe to {channel}"),
            "check the rule of the channel (routes/channels.php, Channels::new().private(…)): its pattern must match the \
             name without prefix, and it must return true or an array",
        ),
        404 => problem(
            "it answered 404: the route does not exist".to_owned(),
            "add Broadcast::routes() in Laravel, channels.routes(…) in Rust; or pass the correct authEndpoint to Echo",
        ),
        300..=399 => problem(
            format!("it redirects to {}, which may be a login page", response.header(LOCATION)),
            "the user is not logged in: send the cookie, and answer requests for JSON with 401; here: --header",
        ),
        _ => problem(format!("it answered {}", response.status), "check the application's log"),
    }
}

/// Checks the signature of a successful response.
fn signature(response: &Response, key: &AppKey, socket_id: SocketId, channel: &str) -> Finding {
    let problem = |what: String, remedy: &str| Finding::problem("authorization", what, remedy);
    let Ok(answer) = serde_json::from_str::<Value>(&response.body) else {
        let begin: String = response.body.chars().take(40).collect();
        return problem(
            format!("its answer is not JSON: {begin:?}…"),
            "HTML means that another route answered; output before the JSON is a bug of the application",
        );
    };
    let Some(auth) = answer["auth"].as_str() else {
        let remedy =
            "the rule returns something else: return true, or for presence channels the member";
        return problem("its answer has no \"auth\"".to_owned(), remedy);
    };
    let data = answer["channel_data"].as_str();
    if ChannelName::parse(channel, usize::MAX).is_ok_and(|name| name.is_presence())
        && data.is_none()
    {
        let remedy = "return the member with its id from the rule of a presence channel";
        return problem("its answer has no \"channel_data\"".to_owned(), remedy);
    }
    if auth.split(':').next() != Some(key.key()) {
        return problem(
            format!("it signs with another key than {}", key.key()),
            "use the same REVERB_APP_KEY in the application and in the page",
        );
    }
    if auth != key.sign_channel(socket_id, channel, data) {
        let remedy = "compare REVERB_APP_SECRET of the application and the server";
        return problem("it signs with another secret".to_owned(), remedy);
    }
    Finding::ok("authorization", format!("the signature for {channel} is correct"))
}
