//! What strangers may occupy: connections of one address, and memory for request bodies.

use std::time::Duration;

use serde_json::json;

use crate::raw::Raw;
use crate::support::{Setup, app, eventually, start};

const POLL: &str = "/pusher/app/reverb-key/7/abcdefgh/xhr?protocol=7&client=js";

#[tokio::test]
async fn the_connections_of_one_address_are_limited() {
    let setup = Setup { max_connections_per_address: Some(2), ..Setup::default() };
    let server = setup.start(vec![app()]);
    let first = server.connect().await;
    let _second = server.connect().await;
    let mut third = server.open("/app/reverb-key", &[]).await;
    assert_eq!(third.expect_error(4100).await, "Too many connections from this address");
    third.expect_close(4100).await;
    // A session of the fallback is a connection like any other.
    assert_eq!(server.request("POST", POLL, b"").await.text, "o\n");
    let mut text = server.request("POST", POLL, b"").await.text;
    if text.starts_with('a') {
        text = server.request("POST", POLL, b"").await.text;
    }
    assert!(text.starts_with("c[4100,"), "{text}");
    // A proxy on this machine names its clients.
    let proxied = [("x-forwarded-for", "198.51.100.7, 203.0.113.9")];
    server.open("/app/reverb-key", &proxied).await.greeted().await;
    drop(first);
    loop {
        let mut next = server.open("/app/reverb-key", &[]).await;
        if next.receive().await["event"] == "pusher:connection_established" {
            break;
        }
    }
}

#[tokio::test]
async fn the_handshakes_of_one_address_in_a_second_are_limited() {
    let setup = Setup { max_handshakes_per_address: Some(2), ..Setup::default() };
    let server = setup.start(vec![app()]);
    // As many in any second of a short time are too many.
    let mut is_refused = false;
    for _ in 0..1_000 {
        let mut client = server.open("/app/reverb-key", &[]).await;
        is_refused |= client.receive().await["event"] == "pusher:error";
        if is_refused {
            client.expect_close(4100).await;
            break;
        }
    }
    assert!(is_refused);
}

#[tokio::test]
async fn the_fallback_can_be_disabled() {
    let server = Setup { fallback: false, ..Setup::default() }.start(vec![app()]);
    let reply = server.request("POST", POLL, b"").await;
    assert_eq!((reply.status, reply.text.contains("FALLBACK")), (404, true), "{}", reply.text);
    server.connect().await;
}

#[tokio::test]
async fn of_two_requests_that_open_one_session_both_belong_to_it() {
    let server = start();
    let mut all = Vec::new();
    for n in 0..20 {
        let target = format!("/pusher/app/reverb-key/{n}/twice/xhr_streaming?protocol=7");
        let request = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let mut pages = [Raw::connect(&server).await, Raw::connect(&server).await];
        let [one, two] = &mut pages;
        tokio::join!(one.send(request.as_bytes()), two.send(request.as_bytes()));
        all.extend(pages);
    }
    for raw in &mut all {
        assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    }
    eventually(|| server.running().connections("123456") >= 20).await;
    assert_eq!(server.running().connections("123456"), 20, "one session has one connection");
    let ping = json!([r#"{"event":"pusher:ping","data":{}}"#]).to_string();
    for n in 0..20 {
        let say = format!("/pusher/app/reverb-key/{n}/twice/xhr_send");
        assert_eq!(server.request("POST", &say, ping.as_bytes()).await.status, 204);
    }
}

#[tokio::test]
async fn a_stream_with_a_request_behind_it_ends_with_its_client() {
    let server = start();
    let mut raw = Raw::connect(&server).await;
    let target = "/pusher/app/reverb-key/7/abcdefgh/xhr_streaming?protocol=7";
    let behind = "GET /up HTTP/1.1\r\nHost: x\r\n\r\nGET ";
    let request = format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n{behind}");
    raw.send(request.as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    eventually(|| server.running().connections("123456") == 1).await;
    drop(raw);
    server.becomes_empty().await;
}

/// A request with the beginning of a body of 99 000 bytes.
fn begun(target: &str) -> String {
    format!(
        "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 99000\r\n\r\n{}",
        "x".repeat(90_000)
    )
}

#[tokio::test]
async fn a_request_is_refused_before_its_body_is_kept() {
    let setup = Setup { handshake_timeout: Duration::from_secs(30), ..Setup::default() };
    let server = setup.start(vec![app()]);
    let unsigned = "/apps/123456/events?auth_key=reverb-key&auth_version=1.0&auth_signature=x";
    let no_session = "/pusher/app/reverb-key/7/abcdefgh/xhr_send";
    for (target, status) in [(unsigned, "401"), (no_session, "404"), ("/apps/7/events", "404")] {
        let mut raw = Raw::connect(&server).await;
        raw.send(begun(target).as_bytes()).await;
        // The client can send all of it, and then reads the reason.
        raw.send("x".repeat(9_000).as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {head}");
    }
}

#[tokio::test]
async fn bodies_of_unknown_senders_have_a_budget() {
    let server = start();
    server.request("POST", POLL, b"").await;
    let send = begun("/pusher/app/reverb-key/7/abcdefgh/xhr_send");
    let mut crowd = Vec::new();
    for _ in 0..150 {
        let mut raw = Raw::connect(&server).await;
        raw.send(send.as_bytes()).await;
        crowd.push(raw);
    }
    // Eight mebibytes are 93 of them. The other requests are refused, not kept.
    let mut refused = 0;
    for raw in &mut crowd {
        if refused < 10 {
            let answer = tokio::time::timeout(Duration::from_millis(50), raw.head()).await;
            refused += usize::from(answer.is_ok_and(|head| head.starts_with("HTTP/1.1 503 ")));
        }
    }
    assert!(refused > 0, "no body is refused");
    drop(crowd);
    server.becomes_empty().await;
}

#[tokio::test]
async fn a_path_that_begins_like_the_prefix_is_another_path() {
    let server = Setup { path: "/ws", ..Setup::default() }.start(vec![app()]);
    let mut raw = Raw::connect(&server).await;
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (path, status) in [("/wsup", 404), ("/wsapp/reverb-key", 404), ("/ws/up", 200)] {
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        let length = head.to_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap();
        raw.skip(length.split('\r').next().unwrap().parse().unwrap()).await;
    }
    let handshake = format!("GET /wsapp/reverb-key HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n");
    raw.send(handshake.as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 404 "));
}
