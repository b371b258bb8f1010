//! Sessions without a WebSocket, request by request; e2e/browser/fallback.test.mjs has pusher-js itself.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Harness, Reply, Setup, app, start, start_with};

const POLL: &str = "/pusher/app/reverb-key/7/abcdefgh/xhr?protocol=7&client=js";
const SEND: &str = "/pusher/app/reverb-key/7/abcdefgh/xhr_send?t=1";

async fn post(server: &Harness, target: &str, body: &str) -> Reply {
    server.request("POST", target, body.as_bytes()).await
}

/// The messages of the next response.
async fn poll(server: &Harness) -> Vec<Value> {
    let text = post(server, POLL, "").await.text;
    let lines = text.strip_prefix('a').unwrap_or_else(|| panic!("no messages: {text}"));
    let messages: Vec<String> = serde_json::from_str(lines).unwrap();
    messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect()
}

/// Sends one message.
async fn say(server: &Harness, message: &Value) {
    let body = json!([message.to_string()]).to_string();
    assert_eq!(post(server, SEND, &body).await.status, 204);
}

async fn gone(server: &Harness) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !(server.running().is_empty() && server.running().connections("123456") == 0) {
        assert!(Instant::now() < patience, "sessions are left");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_session_is_a_connection_like_any_other() {
    let server = start();
    assert_eq!(post(&server, POLL, "").await.text, "o\n");
    assert_eq!(poll(&server).await[0]["event"], "pusher:connection_established");
    assert_eq!(server.running().connections("123456"), 1);
    say(&server, &json!({ "event": "pusher:subscribe", "data": { "channel": "news" } })).await;
    assert_eq!(poll(&server).await[0]["event"], "pusher_internal:subscription_succeeded");
    for n in 0..3 {
        let body = json!({ "name": "n", "channel": "news", "data": n.to_string() });
        assert_eq!(server.api().post("/events", &body).await.status, 200);
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(poll(&server).await.into_iter().map(|event| event["data"].clone()));
    }
    assert_eq!(heard, ["0", "1", "2"]);
    say(&server, &json!({ "event": "pusher:ping", "data": {} })).await;
    assert_eq!(poll(&server).await[0]["event"], "pusher:pong");
    // A keep-alive request is answered in the pending poll.
    let waits = post(&server, POLL, "");
    let sign = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        post(&server, SEND, "[]").await
    };
    let (answer, _) = tokio::join!(waits, sign);
    assert_eq!(answer.text, "h\n");
    gone(&server).await;
    assert_eq!(post(&server, SEND, "[]").await.status, 404);
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let server = start();
    for (method, target, status) in [
        ("GET", POLL, 405),
        ("OPTIONS", POLL, 204),
        ("POST", "/pusher/app/reverb-key/7/abcdefgh", 404),
        ("POST", "/pusher/app/reverb-key/7/abcdefgh/jsonp", 404),
        ("POST", "/pusher/app/reverb-key/7/a%2Fb/xhr", 404),
        ("POST", "/pusher/app/reverb-key//x/xhr", 404),
        ("POST", SEND, 404),
    ] {
        assert_eq!(server.request(method, target, b"[]").await.status, status, "{method} {target}");
    }
    let preflight = server.request("OPTIONS", SEND, b"").await;
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert_eq!(preflight.header("access-control-allow-headers"), "content-type");
    post(&server, POLL, "").await;
    for body in ["", "{}", "[1]", "nonsense"] {
        assert_eq!(post(&server, SEND, body).await.status, 400, "{body}");
    }
    let long = json!(["x".repeat(300_000)]).to_string();
    assert_eq!(post(&server, SEND, &long).await.status, 413);
    // The limits are those of every connection.
    poll(&server).await;
    assert_eq!(post(&server, SEND, &json!(["x".repeat(150_000)]).to_string()).await.status, 204);
    assert!(post(&server, POLL, "").await.text.starts_with("c[1009,"));
    gone(&server).await;
}

#[tokio::test]
async fn a_refused_session_gets_the_reason() {
    let server = start_with(|app| app.limits.connections = Some(1));
    let unknown = post(&server, "/pusher/app/other/7/abcdefgh/xhr", "").await.text;
    assert_eq!(unknown, "o\nc[4001,\"Application does not exist\"]\n");
    let old = post(&server, "/pusher/app/reverb-key/7/old/xhr?protocol=3", "").await.text;
    assert!(old.starts_with("o\nc[4008,") || old.starts_with("o\nc[4007,"), "{old}");
    post(&server, POLL, "").await;
    poll(&server).await;
    let second = "/pusher/app/reverb-key/8/abcdefgh/xhr";
    assert_eq!(post(&server, second, "").await.text, "o\n");
    let mut text = post(&server, second, "").await.text;
    if text.starts_with('a') {
        assert!(text.contains("4004"), "{text}");
        text = post(&server, second, "").await.text;
    }
    assert!(text.starts_with("c[4004,"), "{text}");
    gone(&server).await;
}

#[tokio::test]
async fn vanished_pages_leave_no_state() {
    let server = start();
    for n in 0..100 {
        let target = format!("/pusher/app/reverb-key/{n}/vanishes/xhr");
        assert_eq!(post(&server, &target, "").await.text, "o\n");
    }
    gone(&server).await;
}

#[tokio::test]
async fn a_page_that_asks_for_more_than_it_reads_is_answered_when_it_reads() {
    // Longer than the pipe between a session and the engine, and than the send queue.
    let server = Setup { outbox_bytes: 20_000, ..Setup::default() }.start(vec![app()]);
    let mut members = Vec::new();
    for user in 0..10 {
        let mut member = server.connect().await;
        let data = json!({ "user_id": user.to_string(), "user_info": "x".repeat(900) });
        member.ask("presence-room", Some(&data.to_string())).await;
        member.receive().await;
        members.push(member);
    }
    post(&server, POLL, "").await;
    let established = poll(&server).await.remove(0);
    let established: Value = serde_json::from_str(established["data"].as_str().unwrap()).unwrap();
    let id = established["socket_id"].as_str().unwrap().parse().unwrap();
    let member = r#"{"user_id":"0"}"#;
    let auth = server.api().app_key().sign_channel(id, "presence-room", Some(member));
    let data = json!({ "channel": "presence-room", "auth": auth, "channel_data": member });
    let subscribe = json!({ "event": "pusher:subscribe", "data": data }).to_string();
    let leave = json!({ "event": "pusher:unsubscribe", "data": { "channel": "presence-room" } });
    let leave = leave.to_string();
    let requests: Vec<&str> = [subscribe.as_str(), &leave].repeat(40);
    for part in requests.chunks(20) {
        assert_eq!(post(&server, SEND, &json!(part).to_string()).await.status, 204);
    }
    let mut lists = 0;
    while lists < 40 {
        let messages = poll(&server).await;
        let is_list =
            |message: &&Value| message["event"] == "pusher_internal:subscription_succeeded";
        lists += messages.iter().filter(is_list).count();
    }
    assert_eq!(server.running().slow_readers_closed(), 0);
}
