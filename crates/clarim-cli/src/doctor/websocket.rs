//! Checks that clients can connect, receive events, and stay connected.

use std::time::{Duration, Instant};

use clarim_protocol::auth::AppKey;
use futures_util::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use super::api;
use super::connection::client::{Client, parsed_data};
use super::connection::target::Target;
use super::finding::{Finding, SLOW};

/// Number of connections that wait for an event. Behind a load balancer they reach several nodes.
const SUBSCRIBERS: usize = 6;

/// Checks that a client can connect. `known_keys` are those of the settings, if there are some.
pub(super) async fn connects(
    target: &Target,
    key: &str,
    origin: Option<&str>,
    known_keys: Option<&[String]>,
) -> Result<Finding, Finding> {
    let begun = Instant::now();
    let Client { first, server, .. } = Client::connect(target, key, origin).await?;
    if first["event"] == "pusher:connection_established" {
        let page = origin.map_or_else(String::new, |origin| format!(" as a page of {origin}"));
        let what = format!("connected to {server}{page} after {} ms", begun.elapsed().as_millis());
        return Ok(Finding::ok("connection", what));
    }
    let data = parsed_data(&first["data"]);
    let code = data["code"].as_u64().unwrap_or_default();
    let message = &data["message"];
    let problem = |what: String, remedy: &str| Finding::problem("connection", what, remedy);
    Err(match code {
        4001 => {
            let keys = known_keys
                .filter(|keys| !keys.is_empty())
                .map_or_else(String::new, |keys| format!("; its keys are {}", keys.join(", ")));
            let what = format!("4001: no app of this server has the key {key}{keys}");
            problem(
                what,
                "compare REVERB_APP_KEY of the server with VITE_REVERB_APP_KEY, which is compiled into the page",
            )
        }
        4009 => {
            let what =
                format!("4009: pages of {} may not connect", origin.unwrap_or("this origin"));
            problem(what, "add their host to APP_ALLOWED_ORIGINS (allowed_origins)")
        }
        4004 => problem(
            "4004: the app has reached its maximum number of connections".to_owned(),
            "raise APP_MAX_CONNECTIONS",
        ),
        _ => problem(format!("{code}: {message}"), "follow the message"),
    })
}

/// Connects and subscribes to a channel.
async fn subscriber(
    target: &Target,
    key: &str,
    origin: Option<&str>,
    channel: &str,
) -> Result<Client, Finding> {
    let mut client = Client::connect(target, key, origin).await?;
    let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": channel } });
    let subscribed = match client.send(&subscribe).await {
        Ok(()) => client.receive_soon().await,
        Err(why) => Err(why),
    };
    subscribed.map_err(|why| {
        let what = format!("the subscription was not confirmed: {why}");
        Finding::problem("delivery", what, "check the server's log")
    })?;
    Ok(client)
}

/// Checks that a published event reaches several connections.
pub(super) async fn delivers(
    target: &Target,
    origin: Option<&str>,
    app: &str,
    key: &AppKey,
) -> Finding {
    let problem = |what: String, remedy: &str| Finding::problem("delivery", what, remedy);
    let channel = format!("clarim-doctor-{:016x}", fastrand::u64(..));
    let subscribers = (0..SUBSCRIBERS).map(|_| subscriber(target, key.key(), origin, &channel));
    let mut clients = match join_all(subscribers).await.into_iter().collect::<Result<Vec<_>, _>>() {
        Ok(clients) => clients,
        Err(finding) => return finding,
    };
    let body = json!({ "name": "look", "channel": channel, "data": "{}" }).to_string();
    let begun = Instant::now();
    match api::send_signed(target, app, key, "POST", "events", &body).await {
        Ok(reply) if reply.status.is_success() => {}
        Ok(reply) => {
            return problem(format!("publishing was answered with {}", reply.status), "see above");
        }
        Err(finding) => return finding,
    }
    let waiting = clients.iter_mut().map(|client| async {
        client
            .receive_soon()
            .await
            .is_ok_and(|event| event["event"] == "look")
            .then(|| begun.elapsed())
    });
    judge_delivery(&join_all(waiting).await)
}

/// Judges the times after which each subscriber received the event.
fn judge_delivery(times: &[Option<Duration>]) -> Finding {
    let problem = |what: String, remedy: &str| Finding::problem("delivery", what, remedy);
    let arrived: Vec<_> = times.iter().flatten().collect();
    let slowest = arrived.iter().max().map_or(0, |time| time.as_millis());
    match arrived.len() {
        0 => problem(
            "a published event reaches no subscriber".to_owned(),
            "the HTTP API and the WebSockets lead to different servers, or to nodes without a cluster: check \
             the proxy's upstreams for /app/ and /apps/, and REVERB_SCALING_ENABLED, REVERB_SCALING_CHANNEL \
             and Redis of each node",
        ),
        some if some < times.len() => problem(
            format!("only {some} of {} connections receive an event", times.len()),
            "the load balancer uses nodes that are not in one cluster: set REVERB_SCALING_ENABLED=true on each, with \
             the same REVERB_SCALING_CHANNEL and the same Redis",
        ),
        _ if slowest > SLOW.as_millis() => Finding::warning(
            "delivery",
            format!("an event arrives only after {slowest} ms"),
            "a proxy buffers data: disable its buffering",
        ),
        all => Finding::ok(
            "delivery",
            format!("an event reaches {all} connections within {slowest} ms"),
        ),
    }
}

/// Checks that an idle connection stays open.
pub(super) async fn stays_open(
    target: &Target,
    key: &str,
    origin: Option<&str>,
    time: Duration,
) -> Finding {
    let mut client = match Client::connect(target, key, origin).await {
        Ok(client) => client,
        Err(finding) => return finding,
    };
    let pause = parsed_data(&client.first["data"])["activity_timeout"].as_u64().unwrap_or(120);
    let begun = Instant::now();
    // A message is the server's ping: until then the connection was idle.
    let cut = matches!(timeout(time, client.receive()).await, Ok(Err(_)));
    judge_idle(begun.elapsed(), cut, Duration::from_secs(pause))
}

/// Judges the time for which a connection was idle. Clients send a ping after `pause`.
fn judge_idle(after: Duration, cut: bool, pause: Duration) -> Finding {
    // The clock of the proxy started a moment earlier, so the time is rounded.
    let seconds = (after + Duration::from_millis(500)).as_secs();
    let pause = pause.as_secs();
    if !cut {
        return Finding::ok(
            "idle",
            format!("an idle connection stays open for at least {seconds} s"),
        );
    }
    let what = format!("a proxy cuts an idle connection after {seconds} s");
    let remedy = "raise its timeout: proxy_read_timeout in nginx (60 s), timeout tunnel in HAProxy (without it \
                timeout client and timeout server), the idle timeout of a cloud's load balancer; or lower APP_ACTIVITY_TIMEOUT";
    if seconds <= pause {
        let what = format!("{what}, and clients are idle for up to {pause} s");
        return Finding::problem("idle", what, remedy);
    }
    Finding::warning(
        "idle",
        format!("{what}; clients are never idle for more than {pause} s"),
        remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn missing_and_late_events_are_problems() {
        let soon = Some(Duration::from_millis(3));
        let late = Some(Duration::from_secs(3));
        assert_eq!(judge_delivery(&[soon, soon]).level, Level::Ok);
        assert_eq!(judge_delivery(&[soon, late]).level, Level::Warning);
        assert!(judge_delivery(&[soon, None]).what.contains("only 1 of 2 connections"));
        assert!(judge_delivery(&[None, None]).what.contains("reaches no subscriber"));
    }

    #[test]
    fn a_cut_is_a_problem_if_clients_are_idle_for_longer() {
        let seconds = Duration::from_secs;
        assert_eq!(judge_idle(seconds(90), false, seconds(30)).level, Level::Ok);
        assert_eq!(judge_idle(seconds(60), true, seconds(30)).level, Level::Warning);
        assert_eq!(judge_idle(seconds(20), true, seconds(30)).level, Level::Problem);
        let almost = judge_idle(Duration::from_millis(1_998), true, seconds(30)).what;
        assert!(almost.contains("after 2 s"), "{almost}");
    }
}
