//! Whether clients can connect, hear what is published, and stay.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clarim_protocol::auth::AppKey;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::header::{CONNECTION, ORIGIN, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

use super::api::signed;
use super::exchange::{Reply, ask, request};
use super::{Finding, PATIENCE, SLOW, Target};

/// Connections that listen for one event: behind a load balancer they come to several nodes.
const LISTENERS: usize = 6;

const UPGRADE_CURE: &str = "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
     proxy_set_header Connection \"upgrade\"; see deploy/nginx/clarim.conf";

/// A connection, behind its first message.
pub(crate) struct Client {
    socket: WebSocketStream<TokioIo<Upgraded>>,
    pub(crate) first: Value,
}

impl Client {
    pub(crate) async fn connect(
        target: &Target,
        key: &str,
        origin: Option<&str>,
    ) -> Result<Self, Finding> {
        let nonce = BASE64.encode(fastrand::u128(..).to_be_bytes());
        let path = format!("{}/app/{key}?protocol=7&client=clarim-doctor&version=1", target.path);
        let mut asking = request("GET", &path)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, nonce);
        if let Some(origin) = origin {
            asking = asking.header(ORIGIN, origin);
        }
        let asking = asking.body(Full::default()).map_err(|error| {
            let what = format!("no request can be made of it: {error}");
            Finding::problem("connection", what, "look at key and origin")
        })?;
        let reply = ask(target, "connection", asking).await?;
        let refusal = refused(&reply);
        let stream = reply.upgraded.ok_or(refusal)?;
        let socket = ClientBuilder::new().take_over(stream);
        let mut client = Self { socket, first: Value::Null };
        client.first = client.hear_soon().await.map_err(|why| {
            let what = format!("the handshake is answered, but then nothing comes: {why}");
            let cure =
                "something in between holds WebSockets back: switch its buffering off for /app/";
            Finding::problem("connection", what, cure)
        })?;
        Ok(client)
    }

    pub(crate) async fn say(&mut self, message: &Value) -> Result<(), String> {
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.map_err(|error| error.to_string())
    }

    /// The next message, whenever it comes; or why none will.
    pub(crate) async fn hear(&mut self) -> Result<Value, String> {
        loop {
            match self.socket.next().await {
                Some(Ok(message)) => {
                    if let Some(text) = message.as_text() {
                        return serde_json::from_str(text).map_err(|error| error.to_string());
                    }
                    if let Some((code, reason)) = message.as_close() {
                        return Err(format!("closed with {}: {reason}", u16::from(code)));
                    }
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the connection is cut".to_owned()),
            }
        }
    }

    async fn hear_soon(&mut self) -> Result<Value, String> {
        let late = |_| Err(format!("nothing within {PATIENCE:?}"));
        timeout(PATIENCE, self.hear()).await.unwrap_or_else(late)
    }
}

/// The data of a message, which is JSON in a text as a rule.
pub(crate) fn opened(data: &Value) -> Value {
    match data {
        Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| data.clone()),
        data => data.clone(),
    }
}

/// Why a handshake is not answered with 101.
fn refused(reply: &Reply) -> Finding {
    let (status, who) = (reply.status, reply.who());
    let problem = |what: String, cure: &str| Finding::problem("connection", what, cure);
    match status.as_u16() {
        426 => problem(
            "the server did not see that a WebSocket was asked for: a proxy drops the headers \
             Upgrade and Connection"
                .to_owned(),
            UPGRADE_CURE,
        ),
        502..=504 => problem(
            format!("{who} answers {status}"),
            "the proxy's location for /app/ does not reach the server: compare its port with SERVER_PORT",
        ),
        404 => problem(
            format!("{who} answers 404 for /app/"),
            "the proxy has no location for /app/, or the path is another one (wsPath, REVERB_SERVER_PATH)",
        ),
        _ => problem(format!("{who} answers the handshake with {status}"), UPGRADE_CURE),
    }
}

/// `known`: the keys of the settings here, if there are some.
pub(super) async fn connects(
    target: &Target,
    key: &str,
    origin: Option<&str>,
    known: Option<&[String]>,
) -> Result<Finding, Finding> {
    let begun = Instant::now();
    let Client { first, .. } = Client::connect(target, key, origin).await?;
    if first["event"] == "pusher:connection_established" {
        let as_whom = origin.map_or_else(String::new, |origin| format!(" as a page of {origin}"));
        let what = format!("connected{as_whom} after {} ms", begun.elapsed().as_millis());
        return Ok(Finding::fine("connection", what));
    }
    let data = opened(&first["data"]);
    let (code, message) = (data["code"].as_u64().unwrap_or_default(), &data["message"]);
    let (what, cure) = match code {
        4001 => {
            let keys = known
                .filter(|keys| !keys.is_empty())
                .map_or_else(String::new, |keys| format!("; its keys are {}", keys.join(", ")));
            let what = format!("4001: key {key} is not an app of this server{keys}");
            (
                what,
                "compare REVERB_APP_KEY of the server with VITE_REVERB_APP_KEY, which is read when the page is built",
            )
        }
        4009 => {
            let what =
                format!("4009: pages of {} may not connect", origin.unwrap_or("this origin"));
            (what, "add their host to APP_ALLOWED_ORIGINS (allowed_origins)")
        }
        4004 => (
            "4004: the app has as many connections as it may have".to_owned(),
            "raise MAX_CONNECTIONS",
        ),
        _ => (format!("{code}: {message}"), "do what the message says"),
    };
    Err(Finding::problem("connection", what, cure))
}

/// Connects, and listens to a channel.
async fn listener(
    target: &Target,
    key: &str,
    origin: Option<&str>,
    channel: &str,
) -> Result<Client, Finding> {
    let mut client = Client::connect(target, key, origin).await?;
    let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": channel } });
    let joined = match client.say(&subscribe).await {
        Ok(()) => client.hear_soon().await,
        Err(why) => Err(why),
    };
    joined.map_err(|why| {
        let what = format!("a subscription is not answered: {why}");
        Finding::problem("delivery", what, "look at the server's log")
    })?;
    Ok(client)
}

/// Several connections listen, one event is published.
pub(super) async fn delivers(
    target: &Target,
    origin: Option<&str>,
    app: &str,
    key: &AppKey,
) -> Finding {
    let problem = |what: String, cure: &str| Finding::problem("delivery", what, cure);
    let channel = format!("clarim-doctor-{:016x}", fastrand::u64(..));
    let listening = (0..LISTENERS).map(|_| listener(target, key.key(), origin, &channel));
    let mut clients = match join_all(listening).await.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(clients) => clients,
        Err(finding) => return finding,
    };
    let body = json!({ "name": "look", "channel": channel, "data": "{}" }).to_string();
    let begun = Instant::now();
    match signed(target, (app, key), ("POST", "events"), &body).await {
        Ok(reply) if reply.status.is_success() => {}
        Ok(reply) => {
            return problem(format!("publishing is answered {}", reply.status), "see above");
        }
        Err(finding) => return finding,
    }
    let waiting = clients.iter_mut().map(|client| async {
        client
            .hear_soon()
            .await
            .is_ok_and(|event| event["event"] == "look")
            .then(|| begun.elapsed())
    });
    heard(&join_all(waiting).await)
}

/// When each of them has heard the event.
fn heard(times: &[Option<Duration>]) -> Finding {
    let problem = |what: String, cure: &str| Finding::problem("delivery", what, cure);
    let arrived: Vec<_> = times.iter().flatten().collect();
    let slowest = arrived.iter().max().map_or(0, |time| time.as_millis());
    match arrived.len() {
        0 => problem(
            "an event is published, and nobody who is subscribed hears it".to_owned(),
            "the HTTP API and the WebSockets lead to different servers, or nodes that do not know each \
             other: look at the proxy's upstreams for /app/ and /apps/, and at REVERB_SCALING_ENABLED, \
             REVERB_SCALING_CHANNEL and the Redis of each node",
        ),
        some if some < times.len() => problem(
            format!("of {} connections only {some} hear an event", times.len()),
            "the load balancer spreads over nodes that do not know each other: REVERB_SCALING_ENABLED=true \
             on each, with the same REVERB_SCALING_CHANNEL and the same Redis",
        ),
        _ if slowest > SLOW.as_millis() => Finding::warning(
            "delivery",
            format!("an event arrives, but after {slowest} ms"),
            "something in between collects data before it passes it on: switch its buffering off",
        ),
        all => Finding::fine(
            "delivery",
            format!("an event reaches {all} connections within {slowest} ms"),
        ),
    }
}

/// Says nothing for some time, and looks whether the connection is still there.
pub(super) async fn stays(
    target: &Target,
    key: &str,
    origin: Option<&str>,
    time: Duration,
) -> Finding {
    let mut client = match Client::connect(target, key, origin).await {
        Ok(client) => client,
        Err(finding) => return finding,
    };
    let pause = opened(&client.first["data"])["activity_timeout"].as_u64().unwrap_or(120);
    let begun = Instant::now();
    let ended = timeout(time, async {
        while let Some(Ok(message)) = client.socket.next().await {
            if message.is_text() {
                // The server asks whether somebody is there: so long it was silent.
                return false;
            }
        }
        true
    });
    let cut = matches!(ended.await, Ok(true));
    idle(begun.elapsed(), cut, Duration::from_secs(pause))
}

/// `after`: how long it was silent. `pause`: after such a silence clients ask whether the server is there.
fn idle(after: Duration, cut: bool, pause: Duration) -> Finding {
    // What cuts counts from a moment earlier than ours: two seconds are not to be one.
    let (seconds, pause) = ((after + Duration::from_millis(500)).as_secs(), pause.as_secs());
    if !cut {
        return Finding::fine(
            "idle",
            format!("a silent connection stays for {seconds} s at least"),
        );
    }
    let what = format!("something in between cuts a silent connection after {seconds} s");
    let cure = "raise its limit: proxy_read_timeout in nginx (60 s), timeout tunnel in HAProxy (without it \
                timeout client and timeout server), the idle timeout of a cloud's load balancer; or lower APP_ACTIVITY_TIMEOUT";
    if seconds <= pause {
        let what = format!("{what}, and clients are silent for up to {pause} s");
        return Finding::problem("idle", what, cure);
    }
    Finding::warning(
        "idle",
        format!("{what}; clients are never silent for more than {pause} s"),
        cure,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn who_hears_what_tells_what_is_wrong() {
        let (soon, late) = (Some(Duration::from_millis(3)), Some(Duration::from_secs(3)));
        assert_eq!(heard(&[soon, soon]).level, Level::Fine);
        assert_eq!(heard(&[soon, late]).level, Level::Warning);
        assert!(heard(&[soon, None]).what.contains("of 2 connections only 1"));
        assert!(heard(&[None, None]).what.contains("nobody"));
    }

    #[test]
    fn a_cut_is_bad_if_clients_are_silent_for_longer() {
        let seconds = Duration::from_secs;
        assert_eq!(idle(seconds(90), false, seconds(30)).level, Level::Fine);
        assert_eq!(idle(seconds(60), true, seconds(30)).level, Level::Warning);
        assert_eq!(idle(seconds(20), true, seconds(30)).level, Level::Problem);
        let almost = idle(Duration::from_millis(1_998), true, seconds(30)).what;
        assert!(almost.contains("after 2 s"), "{almost}");
    }
}
