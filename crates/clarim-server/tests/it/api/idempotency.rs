//! Idempotency keys: repeated events and requests are published once.

use bytes::Bytes;
use clarim_protocol::rest::Event;
use clarim_server::HistoryRule;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

use crate::support::{Harness, Reply, event, start, start_with, within};

fn keyed(channel: &str, n: u32, key: &str) -> Value {
    let data = json!({ "n": n }).to_string();
    json!({ "name": "e", "channel": channel, "data": data, "idempotency_key": key })
}

fn numbered(channel: &str, n: u32) -> Value {
    event(channel, "e", &json!({ "n": n }))
}

/// Posts a request with the header `Idempotency-Key`.
async fn post_with_header(server: &Harness, path: &str, body: &Value, key: &str) -> Reply {
    let body = body.to_string();
    let target = server.api().sign("POST", path, &[], body.as_bytes());
    let stream = TokioIo::new(server.dial().await);
    let (mut sender, connection) = within(http1::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(target).header(HOST, "localhost").header("idempotency-key", key);
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    Reply::of(within(sender.send_request(request)).await.unwrap()).await
}

#[tokio::test]
async fn a_repeated_event_is_published_once_and_gets_the_first_answer() {
    let server = start_with(|app| app.history = vec![HistoryRule::new("kept")]);
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    let mut body = keyed("chat", 1, "a");
    body["channels"] = json!(["chat", "kept"]);
    body["info"] = "subscription_count,position".into();
    let first = server.api().post("/events", &body).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(first.json()["channels"]["kept"]["offset"], 1);
    client.expect(numbered("chat", 1)).await;
    let mut other = server.connect().await;
    other.subscribe("chat").await;
    let repeat = server.api().post("/events", &body).await;
    assert_eq!((repeat.status, &repeat.text), (200, &first.text));
    // Another app, another key, and no key are other events.
    assert_eq!(server.api().post("/events", &keyed("chat", 2, "b")).await.status, 200);
    server.publish("chat", "e", &json!({ "n": 3 })).await;
    for client in [&mut client, &mut other] {
        client.expect(numbered("chat", 2)).await;
        client.expect(numbered("chat", 3)).await;
    }
}

#[tokio::test]
async fn requests_at_the_same_time_publish_once() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    for n in 0..20 {
        let body = keyed("chat", n, &n.to_string());
        let replies = join_all((0..10).map(async |_| server.api().post("/events", &body).await));
        for reply in replies.await {
            assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
        }
        client.expect(numbered("chat", n)).await;
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn each_event_of_a_batch_has_its_own_key() {
    let server = start_with(|app| app.history = vec![HistoryRule::new("kept")]);
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    let mut kept = keyed("kept", 1, "a");
    kept["info"] = "position".into();
    let first = server.api().post("/batch_events", &json!({ "batch": [kept] })).await;
    let batch = json!({ "batch": [keyed("chat", 2, "b"), kept, keyed("chat", 2, "b"), { "name": "e", "channel": "chat", "data": "{\"n\":3}" }] });
    let second = server.api().post("/batch_events", &batch).await;
    assert_eq!(second.status, 200, "{}", second.text);
    assert_eq!(second.json()["batch"][1], first.json()["batch"][0]);
    assert_eq!(second.json()["batch"][1]["offset"], 1);
    client.expect(numbered("chat", 2)).await;
    client.expect(numbered("chat", 3)).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn the_header_is_the_key_of_the_whole_request() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    let one = json!({ "name": "e", "channel": "chat", "data": "{\"n\":1}" });
    let batch = json!({ "batch": [one, { "name": "e", "channel": "chat", "data": "{\"n\":2}" }] });
    for _ in 0..2 {
        let reply = post_with_header(&server, "/batch_events", &batch, "a").await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
        let user = json!({ "name": "e", "data": "{}" });
        let reply = post_with_header(&server, "/users/7/events", &user, "b").await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
        // Header and field do not stand in each other's way.
        let reply = post_with_header(&server, "/events", &keyed("chat", 3, "c"), "c").await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    }
    for n in 1..=3 {
        client.expect(numbered("chat", n)).await;
    }
    client.expect_nothing().await;
    let reply = post_with_header(&server, "/events", &one, "a").await;
    assert_eq!(reply.status, 422, "{}", reply.text);
    let reply = post_with_header(&server, "/events", &one, &"x".repeat(129)).await;
    assert_eq!(reply.status, 400, "{}", reply.text);
}

#[tokio::test]
async fn a_key_is_not_used_up_by_a_request_that_fails() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    let mut wrong = keyed("chat", 1, "a");
    wrong["socket_id"] = "forged".into();
    assert_eq!(server.api().post("/events", &wrong).await.status, 400);
    let batch = json!({ "batch": [keyed("chat", 1, "a"), wrong] });
    assert_eq!(server.api().post("/batch_events", &batch).await.status, 400);
    let failing = post_with_header(&server, "/events", &wrong, "a").await;
    assert_eq!(failing.status, 400);
    let reply = post_with_header(&server, "/events", &keyed("chat", 1, "a"), "a").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    client.expect(numbered("chat", 1)).await;
}

#[tokio::test]
async fn a_key_of_another_event_is_rejected() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    assert_eq!(server.api().post("/events", &keyed("chat", 1, "a")).await.status, 200);
    client.expect(numbered("chat", 1)).await;
    for other in [keyed("chat", 2, "a"), keyed("news", 1, "a")] {
        let reply = server.api().post("/events", &other).await;
        assert_eq!(reply.status, 422);
        assert!(reply.text.contains("idempotency key was used for another"), "{}", reply.text);
        let batch = json!({ "batch": [keyed("chat", 3, "b"), other] });
        assert_eq!(server.api().post("/batch_events", &batch).await.status, 422);
    }
    for key in ["", &"x".repeat(129)] {
        let reply = server.api().post("/events", &keyed("chat", 4, key)).await;
        assert_eq!(reply.status, 400);
        assert!(reply.text.contains("it must have 1 to 128"), "{}", reply.text);
    }
    let wrong_type = json!({ "name": "e", "channel": "x", "data": "{}", "idempotency_key": 1 });
    assert_eq!(server.api().post("/events", &wrong_type).await.status, 422);
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_repeated_event_of_the_process_is_published_once() {
    let server = start();
    let publisher = server.running().publisher();
    let mut client = server.connect().await;
    client.subscribe("chat").await;
    let data = to_raw_value(&json!({ "n": 1 }).to_string()).unwrap();
    let event = |key: &str| Event {
        name: "e".to_owned(),
        data: &data,
        channels: None,
        channel: Some("chat".to_owned()),
        socket_id: None,
        info: None,
        idempotency_key: Some(key.to_owned()),
    };
    for key in ["a", "a", "b"] {
        publisher.publish("123456", &event(key)).await.unwrap();
    }
    // The API knows the same keys.
    let reply = server.api().post("/events", &keyed("chat", 1, "b")).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    for _ in 0..2 {
        client.expect(numbered("chat", 1)).await;
    }
    client.expect_nothing().await;
    let other = Event { channel: Some("x".to_owned()), ..event("a") };
    let error = publisher.publish("123456", &other).await.unwrap_err();
    assert_eq!((error.code(), error.is_temporary()), ("idempotency_key_reused", false));
}
