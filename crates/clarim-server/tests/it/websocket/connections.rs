//! Connections: greeting, refusal, limits, signs of life, client events, users.

use std::time::Duration;

use clarim_hub::app::{App, ClientEvents, Origins, RateLimit};
use serde_json::{Value, json};
use tokio_websockets::Message;

use crate::raw::{CLOSE, PING, PONG, Raw, TEXT};
use crate::support::{Client, Harness, Setup, app, event, start, start_with, succeeded};

async fn refused(server: &Harness, path: &str, headers: &[(&'static str, &str)]) -> Client {
    server.open(path, headers).await
}

#[tokio::test]
async fn the_greeting_contains_the_socket_id_and_the_timeout() {
    let server = start();
    let mut client = server.open("/app/reverb-key", &[]).await;
    let greeting = client.receive().await;
    assert_eq!(greeting["event"], "pusher:connection_established");
    let data = &greeting["data"]["$text"];
    assert_eq!(data["activity_timeout"], 30);
    let (left, right) = data["socket_id"].as_str().unwrap().split_once('.').unwrap();
    assert!(left.parse::<u64>().is_ok() && right.parse::<u64>().is_ok(), "{data}");
}

#[tokio::test]
async fn sets_the_x_powered_by_header() {
    let client = start().open("/app/reverb-key", &[]).await;
    assert_eq!(client.headers["x-powered-by"], "Clarim");
}

#[tokio::test]
async fn connections_to_different_applications_are_separate() {
    let apps = vec![app(), App::new("654321", "reverb-key-2", "other-secret")];
    let server = Setup::default().start(apps);
    let mut one = server.connect_to(0).await;
    let mut two = server.connect_to(1).await;
    one.subscribe("news").await;
    two.subscribe("news").await;
    server.publish("news", "e", &json!({ "for": "one" })).await;
    one.expect(event("news", "e", &json!({ "for": "one" }))).await;
    two.expect_nothing().await;
    let channels = server.api_of(1).read("/channels/news", "subscription_count").await;
    assert_eq!(channels, json!({ "occupied": true, "subscription_count": 1 }));
    // The other app's signature is invalid here.
    let theirs = two.auth("private-x", None);
    let data = json!({ "channel": "private-x", "auth": theirs });
    one.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    one.expect_refusal("private-x", None).await;
    // The socket id of another app excludes no connection.
    let body = json!({ "name": "e", "channel": "news", "data": "1", "socket_id": two.id });
    assert_eq!(server.api().post("/events", &body).await.status, 200);
    one.expect(event("news", "e", &json!(1))).await;
}

#[tokio::test]
async fn fails_to_connect_when_an_invalid_application_is_provided() {
    let server = start();
    let mut client = refused(&server, "/app/nobody?protocol=7", &[]).await;
    assert_eq!(client.expect_error(4001).await, "Application does not exist");
    assert_eq!(client.expect_close(4001).await, "Application does not exist");
}

#[tokio::test]
async fn an_unknown_protocol_version_is_refused() {
    let server = start();
    let mut client = refused(&server, "/app/reverb-key?protocol=9", &[]).await;
    client.expect_error(4007).await;
    client.expect_close(4007).await;
}

#[tokio::test]
async fn cannot_connect_from_an_invalid_origin() {
    let server = start_with(|app| app.origins = Origins::new(["laravel.com"]));
    let headers = [("origin", "https://evil.example")];
    let mut client = refused(&server, "/app/reverb-key", &headers).await;
    assert_eq!(client.expect_error(4009).await, "Origin not allowed");
    client.expect_close(4009).await;
}

#[tokio::test]
async fn can_connect_from_a_valid_origin() {
    let server = start_with(|app| app.origins = Origins::new(["laravel.com"]));
    let headers = [("origin", "https://laravel.com:8443")];
    server.open("/app/reverb-key", &headers).await.greeted().await;
}

#[tokio::test]
async fn cannot_connect_when_over_the_max_connection_limit() {
    let server = start_with(|app| app.limits.connections = Some(1));
    let first = server.connect().await;
    let mut second = refused(&server, "/app/reverb-key", &[]).await;
    second.expect_error(4004).await;
    second.expect_close(4004).await;
    drop(first);
    server.becomes_empty().await;
    server.connect().await.expect_nothing().await;
}

#[tokio::test]
async fn limits_the_size_of_messages() {
    let server = start_with(|app| app.limits.message_bytes = 1000);
    let mut client = server.connect().await;
    client.send_text(&"x".repeat(1001)).await;
    assert_eq!(client.expect_close(1009).await, "Maximum message size exceeded");
    server.becomes_empty().await;
}

#[tokio::test]
async fn allows_message_within_the_max_allowed_size() {
    let server = start_with(|app| app.limits.message_bytes = 1_000_000);
    let mut client = server.connect().await;
    let data = json!({ "padding": "x".repeat(20_000) }).to_string();
    client.ask("private-test", Some(&data)).await;
    client.expect(succeeded("private-test")).await;
}

#[tokio::test]
async fn can_respond_to_a_ping() {
    let server = start();
    let mut client = server.connect().await;
    client.send(&json!({ "event": "pusher:ping" })).await;
    client.expect(json!({ "event": "pusher:pong", "data": {} })).await;
    client.send(&json!({ "event": "pusher:pong" })).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn can_handle_a_ping_and_a_pong_control_frame() {
    let server = start();
    let mut client = server.connect().await;
    client.send_message(Message::ping("payload")).await;
    let pong = client.next().await.unwrap();
    assert!(pong.is_pong());
    assert_eq!(&pong.as_payload()[..], b"payload");
    client.send_message(Message::pong("")).await;
    client.expect_nothing().await;
}

fn quick(app: &mut App) {
    app.ping_interval = Duration::from_secs(1);
    app.activity_timeout = Duration::from_secs(1);
}

/// Gives clients more time to reply.
fn patient(app: &mut App) {
    app.ping_interval = Duration::from_secs(1);
    app.activity_timeout = Duration::from_secs(5);
}

/// Expects an error with this code, and then the close frame.
async fn expect_raw_close(client: &mut Raw, code: u16) {
    let (opcode, error) = client.frame().await;
    assert_eq!((opcode, text_code(&error)), (TEXT, json!(code)));
    let (opcode, close) = client.frame().await;
    assert_eq!((opcode, &close[..2]), (CLOSE, &code.to_be_bytes()[..]));
}

#[tokio::test]
async fn a_silent_client_is_pinged_in_both_forms_and_disconnected() {
    let server = start_with(quick);
    for subscribe in [true, false] {
        let mut client = Raw::websocket(&server).await;
        if subscribe {
            let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"test-channel"}}"#;
            client.send_frame(TEXT, subscribe).await;
            client.frame().await;
        }
        assert_eq!(client.frame().await, (TEXT, br#"{"event":"pusher:ping","data":{}}"#.to_vec()));
        assert_eq!(client.frame().await, (PING, vec![]));
        expect_raw_close(&mut client, 4201).await;
        drop(client);
        server.becomes_empty().await;
    }
}

#[tokio::test]
async fn a_client_that_replies_only_to_ping_frames_stays() {
    let server = start_with(patient);
    // As Pusher's client for iOS: its WebSocket replies to ping frames, and it ignores the event.
    let mut client = Raw::websocket(&server).await;
    for _ in 0..7 {
        assert_eq!(client.frame().await, (TEXT, br#"{"event":"pusher:ping","data":{}}"#.to_vec()));
        assert_eq!(client.frame().await, (PING, vec![]));
        client.send_frame(PONG, b"").await;
    }
}

#[tokio::test]
async fn uses_control_frames_when_the_client_prefers() {
    let server = start_with(quick);
    let mut client = Raw::websocket(&server).await;
    client.send_frame(PONG, b"").await;
    assert_eq!(client.frame().await, (PING, vec![]));
    // Nothing but silence follows, so the connection ends.
    expect_raw_close(&mut client, 4201).await;
    drop(client);
    server.becomes_empty().await;
}

fn text_code(payload: &[u8]) -> Value {
    serde_json::from_slice::<Value>(payload).unwrap()["data"]["code"].clone()
}

#[tokio::test]
async fn a_pong_keeps_the_connection() {
    let server = start_with(patient);
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.expect(json!({ "event": "pusher:ping", "data": {} })).await;
        client.send(&json!({ "event": "pusher:pong" })).await;
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_pong_control_frame_keeps_the_connection() {
    let server = start_with(patient);
    let mut client = Raw::websocket(&server).await;
    for _ in 0..2 {
        client.send_frame(PONG, b"").await;
        assert_eq!(client.frame().await, (PING, vec![]));
    }
    client.send_frame(PING, b"x").await;
    assert_eq!(client.frame().await, (PONG, b"x".to_vec()));
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_own_code() {
    let server = start();
    for (sent, answered) in [(&b"\x03\xe8bye"[..], &b"\x03\xe8"[..]), (b"", b"")] {
        let mut client = Raw::websocket(&server).await;
        client.send_frame(CLOSE, sent).await;
        assert_eq!(client.frame().await, (CLOSE, answered.to_vec()));
        client.expect_end().await;
    }
    server.becomes_empty().await;
}

#[tokio::test]
async fn an_unreadable_message_gets_an_error_and_the_connection_stays() {
    let server = start();
    let mut client = server.connect().await;
    for text in [
        "",
        "not json",
        "[]",
        "7",
        "{}",
        r#"{"event":[]}"#,
        r#"{"event":"pusher:subscribe","data":"x"}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":[]}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"private-x","auth":[]}}"#,
        r#"{"event":"pusher:subscribe","data":{"channel":"presence-x","channel_data":{}}}"#,
        r#"{"event":"pusher:unsubscribe","data":{}}"#,
        r#"{"event":"pusher:unknown","data":{}}"#,
        r#"{"event":"client-x"}"#,
        r#"{"event":"pusher_internal:member_added","channel":"x","data":"{}"}"#,
    ] {
        client.send_text(text).await;
        client.expect_error(None).await;
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn the_rate_of_messages_can_be_limited() {
    let limit = RateLimit::new(3, Duration::from_secs(3600));
    let server = start_with(|app| app.rate_limit = Some(limit));
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.expect_nothing().await;
    }
    client.send(&json!({ "event": "pusher:ping" })).await;
    assert_eq!(client.expect_error(4301).await, "Rate limit exceeded");
    // Each connection has its own window.
    server.connect().await.expect_nothing().await;
}

#[tokio::test]
async fn a_connection_over_the_rate_limit_can_be_closed() {
    let mut limit = RateLimit::new(3, Duration::from_secs(3600));
    limit.terminate = true;
    let server = start_with(|app| app.rate_limit = Some(limit));
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.expect_nothing().await;
    }
    client.send(&json!({ "event": "pusher:ping" })).await;
    assert_eq!(client.expect_error(4301).await, "Rate limit exceeded");
    client.expect_close(4100).await;
}

#[tokio::test]
async fn without_a_rate_limit_no_message_is_rejected() {
    let server = start();
    let mut client = server.connect().await;
    for _ in 0..500 {
        client.send(&json!({ "event": "pusher:ping" })).await;
    }
    for _ in 0..500 {
        client.expect(json!({ "event": "pusher:pong", "data": {} })).await;
    }
}

/// Two clients on two workers.
async fn pair(server: &Harness) -> (Client, Client) {
    (server.connect().await, server.connect().await)
}

#[tokio::test]
async fn can_handle_a_client_whisper() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    one.subscribe("private-chat").await;
    two.subscribe("private-chat").await;
    for data in [json!({ "user": { "id": 7 } }), json!([1]), json!("text"), json!(null)] {
        one.whisper("private-chat", "client-typing", &data).await;
        let data = data.as_str().map_or_else(|| data.to_string(), str::to_owned);
        let expected = json!({ "event": "client-typing", "channel": "private-chat", "data": data });
        two.expect(expected).await;
        one.expect_nothing().await;
    }
    one.send(&json!({ "event": "client-bare", "channel": "private-chat" })).await;
    let frame = two.receive().await;
    assert_eq!(frame["event"], "client-bare");
    assert_eq!(frame["data"], json!({ "$text": null }));
}

#[tokio::test]
async fn a_client_event_on_a_presence_channel_names_its_sender() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    one.join("presence-chat", 1).await;
    two.join("presence-chat", 2).await;
    one.receive().await;
    let forged =
        json!({ "event": "client-x", "channel": "presence-chat", "data": {}, "user_id": "9" });
    one.send(&forged).await;
    let expected =
        json!({ "event": "client-x", "channel": "presence-chat", "data": "{}", "user_id": "1" });
    two.expect(expected).await;
}

#[tokio::test]
async fn only_members_may_whisper_by_default() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    two.subscribe("private-chat").await;
    one.whisper("private-chat", "client-x", &json!({})).await;
    let message = one.expect_error(None).await;
    assert_eq!(message, "The client is not a member of the specified channel.");
    two.expect_nothing().await;
}

#[tokio::test]
async fn whispers_can_be_switched_off() {
    let server = start_with(|app| app.client_events = ClientEvents::None);
    let (mut one, mut two) = pair(&server).await;
    one.subscribe("private-chat").await;
    two.subscribe("private-chat").await;
    one.whisper("private-chat", "client-x", &json!({})).await;
    let message = one.expect_error(4301).await;
    assert_eq!(message, "The app does not have client messaging enabled.");
    two.expect_nothing().await;
}

#[tokio::test]
async fn whispers_can_be_open_to_all() {
    let server = start_with(|app| app.client_events = ClientEvents::All);
    let (mut one, mut two) = pair(&server).await;
    two.subscribe("private-chat").await;
    one.whisper("private-chat", "client-x", &json!({})).await;
    let expected = json!({ "event": "client-x", "channel": "private-chat", "data": "{}" });
    two.expect(expected).await;
    one.expect_nothing().await;
}

#[tokio::test]
async fn whispers_on_public_channels_must_be_allowed() {
    for allowed in [false, true] {
        let server = start_with(|app| app.client_events_on_public = allowed);
        let (mut one, mut two) = pair(&server).await;
        one.subscribe("chat").await;
        two.subscribe("chat").await;
        one.whisper("chat", "client-x", &json!({})).await;
        if allowed {
            two.expect(json!({ "event": "client-x", "channel": "chat", "data": "{}" })).await;
        } else {
            one.expect_error(4301).await;
            two.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn an_event_without_the_client_prefix_is_not_forwarded() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    one.subscribe("private-chat").await;
    two.subscribe("private-chat").await;
    one.whisper("private-chat", "typing", &json!({})).await;
    one.expect_error(None).await;
    two.expect_nothing().await;
}

#[tokio::test]
async fn a_user_signs_in_and_gets_its_own_events() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    one.ask("#server-to-user-7", None).await;
    one.expect_refusal("#server-to-user-7", None).await;
    one.sign_in(&json!({ "id": "7", "user_info": { "name": "Seven" } })).await;
    two.sign_in(&json!({ "id": "8" })).await;
    one.subscribe("#server-to-user-7").await;
    two.ask("#server-to-user-7", None).await;
    two.expect_refusal("#server-to-user-7", None).await;
    two.subscribe("#server-to-user-8").await;
    let body = json!({ "name": "hello", "data": r#"{"a":1}"# });
    let reply = server.api().post("/users/7/events", &body).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    one.expect(event("#server-to-user-7", "hello", &json!({ "a": 1 }))).await;
    two.expect_nothing().await;
    drop((one, two));
    server.becomes_empty().await;
}

#[tokio::test]
async fn a_forged_sign_in_is_refused() {
    let server = start();
    let mut client = server.connect().await;
    let data = json!({ "auth": "reverb-key:00", "user_data": r#"{"id":"7"}"# });
    client.send(&json!({ "event": "pusher:signin", "data": data })).await;
    client.expect_error(None).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_watchlist_reports_users_who_come_and_go() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    one.sign_in(&json!({ "id": "1", "watchlist": ["2"] })).await;
    let watched = |name: &str| {
        let data = json!({ "events": [{ "name": name, "user_ids": ["2"] }] });
        json!({ "event": "pusher_internal:watchlist_events", "data": data.to_string() })
    };
    one.expect(watched("offline")).await;
    two.sign_in(&json!({ "id": "2" })).await;
    one.expect(watched("online")).await;
    drop(two);
    one.expect(watched("offline")).await;
    drop(one);
    server.becomes_empty().await;
}

#[tokio::test]
async fn unsubscribes_from_all_channels_and_terminates_a_user() {
    let server = start();
    let (mut one, mut two) = pair(&server).await;
    let mut signed_in = server.connect().await;
    one.join("presence-chat", 1).await;
    one.subscribe("news").await;
    two.join("presence-chat", 2).await;
    one.receive().await;
    signed_in.sign_in(&json!({ "id": "1" })).await;
    let reply = server.api().post("/users/1/terminate_connections", &json!({})).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    for mut gone in [one, signed_in] {
        gone.expect_error(4009).await;
        gone.expect_close(4009).await;
    }
    let data = json!({ "user_id": "1" });
    two.expect(event("presence-chat", "pusher_internal:member_removed", &data)).await;
    two.expect_nothing().await;
    let channels = server.api().read("/channels", "").await;
    assert_eq!(channels, json!({ "channels": { "presence-chat": {} } }));
}

#[tokio::test]
async fn terminating_at_a_wrong_path_is_not_found() {
    let server = start();
    let reply = server.api().post("/users/not-a-user/terminate", &json!({})).await;
    assert_eq!(reply.status, 404);
}
