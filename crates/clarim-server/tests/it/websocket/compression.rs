//! permessage-deflate, as a client sees it that looks at each byte.

use clarim_hub::app::App;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

use crate::raw::{COMPRESSED, CONTINUATION, HANDSHAKE, PING, PONG, Raw, TEXT, frame};
use crate::support::{Harness, Setup, app, dial_narrow, event, member, succeeded};

const OFFER: &str = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
const ANSWER: &str = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";

/// A server with compression.
fn start(app: App) -> Harness {
    Setup { compression: true, ..Setup::default() }.start(vec![app])
}

/// A client that accepts compressed messages.
async fn deflating(server: &Harness) -> Raw {
    deflating_on(Raw::connect(server).await).await
}

async fn deflating_on(mut client: Raw) -> Raw {
    client.send(format!("{HANDSHAKE}{OFFER}\r\n").as_bytes()).await;
    let head = client.head().await;
    assert!(head.contains(ANSWER), "{head}");
    assert_eq!(client.frame().await.0, TEXT, "a greeting is too short to be compressed");
    client
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 100);
    let mut state = Compress::new(Compression::fast(), false);
    state.compress_vec(bytes, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

fn inflate(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 << 20);
    let bytes = [payload, &[0, 0, 0xff, 0xff]].concat();
    Decompress::new(false).decompress_vec(&bytes, &mut out, FlushDecompress::Sync).unwrap();
    out
}

/// The next message, and whether it was compressed.
async fn next(client: &mut Raw) -> (Value, bool) {
    let (opcode, payload) = client.frame().await;
    let compressed = opcode & COMPRESSED != 0;
    assert_eq!(opcode & !COMPRESSED, TEXT);
    let bytes = if compressed { inflate(&payload) } else { payload };
    (serde_json::from_slice(&bytes).unwrap(), compressed)
}

async fn send(client: &mut Raw, message: &Value) {
    client.send_frame(TEXT | COMPRESSED, &deflate(message.to_string().as_bytes())).await;
}

async fn subscribe(client: &mut Raw, channel: &str) {
    send(client, &json!({ "event": "pusher:subscribe", "data": { "channel": channel } })).await;
    assert_eq!(next(client).await, (succeeded(channel), false));
}

fn rows(count: u32) -> Value {
    (0..count).map(|n| json!({ "id": n * 37, "user": format!("user-{n}"), "paid": true })).collect()
}

#[tokio::test]
async fn compression_is_agreed_on_only_when_it_is_on_and_offered() {
    let heads = async |compression: bool, offer: &str| {
        let server = Setup { compression, ..Setup::default() }.start(vec![app()]);
        let mut client = Raw::connect(&server).await;
        client.send(format!("{HANDSHAKE}{offer}\r\n").as_bytes()).await;
        client.head().await.to_ascii_lowercase()
    };
    let narrow = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10\r\n";
    for (compression, offer, agreed) in [
        (true, OFFER, true),
        (true, "", false),
        (true, narrow, false),
        (true, &format!("{narrow}{OFFER}"), true),
        (false, OFFER, false),
    ] {
        let head = heads(compression, offer).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert_eq!(head.contains(ANSWER), agreed, "{compression} {offer} {head}");
        assert_eq!(head.contains("sec-websocket-extensions"), agreed);
    }
}

#[tokio::test]
async fn subscribers_with_and_without_compression_get_the_same_events() {
    let server = start(app());
    let mut a = deflating(&server).await;
    let mut b = deflating(&server).await;
    let mut plain = server.connect().await;
    subscribe(&mut a, "x").await;
    subscribe(&mut b, "x").await;
    plain.subscribe("x").await;
    for count in [1, 5, 100, 0, 1_000] {
        let data = rows(count);
        server.publish("x", "e", &data).await;
        let event = event("x", "e", &data);
        for client in [&mut a, &mut b] {
            assert_eq!(next(client).await, (event.clone(), count >= 5), "{count}");
        }
        plain.expect(event).await;
    }
    plain.whisper("x", "client-e", &json!({})).await;
    plain.expect_error(4301).await;
}

#[tokio::test]
async fn frames_for_one_connection_are_compressed_when_they_are_long() {
    let server = start(app());
    let mut members = Vec::new();
    for user in 0..20 {
        let mut client = server.connect().await;
        client.join("presence-x", user).await;
        members.push(client);
    }
    let mut client = Raw::connect(&server).await;
    client.send(format!("{HANDSHAKE}{OFFER}\r\n").as_bytes()).await;
    client.head().await;
    let (greeting, _) = next(&mut client).await;
    let greeting: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
    members[0].id = greeting["socket_id"].as_str().unwrap().to_owned();
    let channel_data = member(99).to_string();
    let auth = members[0].auth("presence-x", Some(&channel_data));
    let data = json!({ "channel": "presence-x", "auth": auth, "channel_data": channel_data });
    send(&mut client, &json!({ "event": "pusher:subscribe", "data": data })).await;
    let (succeeded, compressed) = next(&mut client).await;
    assert_eq!(succeeded["event"], "pusher_internal:subscription_succeeded", "{succeeded}");
    let data: Value = serde_json::from_str(succeeded["data"].as_str().unwrap()).unwrap();
    assert_eq!((&data["presence"]["count"], compressed), (&json!(21), true));
}

#[tokio::test]
async fn compressed_messages_of_a_client_may_come_in_pieces() {
    let server = start(app());
    let mut client = deflating(&server).await;
    let message = json!({ "event": "pusher:subscribe", "data": { "channel": "x" } });
    let payload = deflate(message.to_string().as_bytes());
    let (first, second) = payload.split_at(payload.len() / 2);
    client.send(&frame(false, TEXT | COMPRESSED, first)).await;
    client.send_frame(PING, b"between").await;
    assert_eq!(client.frame().await, (PONG, b"between".to_vec()));
    for byte in frame(true, CONTINUATION, second) {
        client.send(&[byte]).await;
    }
    assert_eq!(next(&mut client).await, (succeeded("x"), false));
    client.send_frame(TEXT, message.to_string().as_bytes()).await;
    assert_eq!(next(&mut client).await.0["event"], "pusher:error", "plain ones are taken too");
}

#[tokio::test]
async fn breaches_of_compression_close_with_the_code_of_their_kind() {
    let server = start(app());
    let bomb = deflate(&vec![b' '; 4 << 20]);
    assert!(bomb.len() < 50_000);
    for (bytes, code) in [
        (frame(true, TEXT | COMPRESSED, &bomb), 1009),
        (frame(true, TEXT | COMPRESSED, &deflate(&[b' '; 100_001])), 1009),
        (frame(true, TEXT | COMPRESSED, &deflate(b"\xff")), 1007),
        (frame(true, TEXT | COMPRESSED, b"\xff\xff"), 1002),
        (frame(true, PING | COMPRESSED, b""), 1002),
        (frame(true, CONTINUATION | COMPRESSED, b""), 1002),
    ] {
        let mut client = deflating(&server).await;
        client.send(&bytes).await;
        client.expect_close(code).await;
    }
    // The same without negotiated compression.
    let mut client = Raw::websocket(&server).await;
    client.send_frame(TEXT | COMPRESSED, &deflate(b"{}")).await;
    client.expect_close(1002).await;
    drop(client);
    // The worker's inflater still works.
    subscribe(&mut deflating(&server).await, "x").await;
    server.becomes_empty().await;
}

#[tokio::test]
async fn a_slow_reader_is_counted_by_the_bytes_that_wait_for_it() {
    // Without compression the first of these would be too much for the outbox, and all of them for the
    // buffers of the kernel.
    let setup = Setup { compression: true, outbox_bytes: 64 << 10, ..Setup::default() };
    let server = setup.start(vec![app()]);
    let mut client = deflating_on(Raw::new(dial_narrow(&server).await)).await;
    subscribe(&mut client, "x").await;
    let data = json!("x".repeat(90_000));
    for _ in 0..60 {
        server.publish("x", "e", &data).await;
    }
    for _ in 0..60 {
        assert_eq!(next(&mut client).await, (event("x", "e", &data), true));
    }
    assert_eq!(server.running().slow_readers_closed(), 0);
}
