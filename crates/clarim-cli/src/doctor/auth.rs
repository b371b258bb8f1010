//! Whether the application's authorization endpoint answers as Echo needs it.

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{ChannelKind, SocketId};
use http_body_util::Full;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use serde_json::Value;

use super::exchange::{Reply, ask, request};
use super::{Finding, Target};

/// Where a page asks, and as who.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) target: Target,
    /// The page's headers: a cookie, a token.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// The channel that is asked for, with its prefix.
    pub(crate) channel: String,
}

pub(super) async fn answers(endpoint: &Endpoint, key: &AppKey) -> Finding {
    let Endpoint { target, headers, channel } = endpoint;
    let Ok(socket_id) = "1234.5678".parse::<SocketId>() else {
        return Finding::problem("authorization", "no socket id", "");
    };
    let body = format!("socket_id={socket_id}&channel_name={channel}");
    let mut asking = request("POST", &target.path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(ACCEPT, "application/json");
    for (name, value) in headers {
        asking = asking.header(name, value);
    }
    let Ok(asking) = asking.body(Full::new(Bytes::from(body))) else {
        return Finding::problem("authorization", "its address has no path", "give it whole");
    };
    match ask(target, "authorization", asking).await {
        Ok(reply) => judge(&reply, key, socket_id, channel),
        Err(finding) => finding,
    }
}

fn judge(reply: &Reply, key: &AppKey, socket_id: SocketId, channel: &str) -> Finding {
    let problem = |what: String, cure: &str| Finding::problem("authorization", what, cure);
    let status = reply.status.as_u16();
    match status {
        200..=299 => signature(reply, key, socket_id, channel),
        419 => problem(
            "it answers 419: the CSRF token is missing or wrong".to_owned(),
            "let the page have <meta name=\"csrf-token\">, or give Echo csrfToken; here: --header 'X-CSRF-TOKEN: …'",
        ),
        401 => problem(
            "it answers 401: nobody is logged in".to_owned(),
            "let the cookie or token come along (same site, or withCredentials and auth.headers); here: --header",
        ),
        403 => problem(
            format!("it answers 403: this user may not listen to {channel}"),
            "look at the rule for the channel (routes/channels.php, Channels::new().private(…)): does its \
             pattern fit the name without its prefix, and does it return true or an array?",
        ),
        404 => problem(
            "it answers 404: there is no such route".to_owned(),
            "Broadcast::routes() in Laravel, channels.routes(…) in Rust; or give Echo the right authEndpoint",
        ),
        300..=399 => problem(
            format!("it sends elsewhere, to {}: to a login page?", reply.header(LOCATION)),
            "nobody is logged in: let the cookie come along, and answer 401 to requests for JSON; here: --header",
        ),
        _ => problem(format!("it answers {}", reply.status), "look at the application's log"),
    }
}

/// It has said yes: is it the signature that the server will accept?
fn signature(reply: &Reply, key: &AppKey, socket_id: SocketId, channel: &str) -> Finding {
    let problem = |what: String, cure: &str| Finding::problem("authorization", what, cure);
    let Ok(answer) = serde_json::from_str::<Value>(&reply.body) else {
        let begin: String = reply.body.chars().take(40).collect();
        return problem(
            format!("its answer is no JSON: {begin:?}…"),
            "a page of HTML means that another route has answered; output before the JSON is a bug of the application",
        );
    };
    let Some(auth) = answer["auth"].as_str() else {
        let cure = "the rule returns something of its own: return true, or for presence channels the member";
        return problem("its answer has no \"auth\"".to_owned(), cure);
    };
    let data = answer["channel_data"].as_str();
    if channel.starts_with(ChannelKind::Presence.prefix()) && data.is_none() {
        let cure = "for presence channels the rule returns the member, with an id";
        return problem("its answer has no \"channel_data\"".to_owned(), cure);
    }
    if auth.split(':').next() != Some(key.key()) {
        return problem(
            format!("it signs with another key than {}", key.key()),
            "give the application the REVERB_APP_KEY that the page has",
        );
    }
    if auth != key.sign_channel(socket_id, channel, data) {
        let cure = "compare REVERB_APP_SECRET of the application and the server";
        return problem("its signature is made with another secret".to_owned(), cure);
    }
    Finding::fine("authorization", format!("{channel} is signed as it must be"))
}
