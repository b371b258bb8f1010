//! Clients that do not read, flood the server, or send no request.

use std::time::Duration;

use serde_json::json;

use crate::raw::{CLOSE, HANDSHAKE, PING, PONG, Raw, frame};
use crate::support::{Setup, app, app_with, dial_narrow, member, start, within};

/// Requests or pings, many at a time.
fn many(one: &[u8]) -> Vec<u8> {
    one.repeat(64 * 1024 / one.len())
}

#[tokio::test]
async fn a_flood_of_pings_gets_few_replies_and_one_to_the_last() {
    let server = start();
    let mut client = Raw::websocket(&server).await;
    let pings: Vec<u8> =
        (0..40_000_u64).flat_map(|n| frame(true, PING, &n.to_be_bytes())).collect();
    client.send(&pings).await;
    let mut replies = 0;
    loop {
        let (opcode, payload) = client.frame().await;
        assert_eq!(opcode, PONG);
        replies += 1;
        if payload == 39_999_u64.to_be_bytes() {
            break;
        }
    }
    assert!(replies < 20_000, "{replies} replies");
    // Some pings in a row get a reply each.
    for n in 0..10 {
        client.send(&frame(true, PING, &[n])).await;
    }
    for n in 0..10 {
        assert_eq!(client.frame().await, (PONG, vec![n]));
    }
}

#[tokio::test]
async fn a_member_list_longer_than_the_outbox_is_sent() {
    let server = Setup { outbox_bytes: 2_000, ..Setup::default() }.start(vec![app()]);
    let mut clients = Vec::new();
    for user in 0..60 {
        let mut client = server.connect().await;
        let list = client.join("presence-large", user).await;
        assert_eq!(list["count"], user + 1);
        clients.push(client);
    }
    assert_eq!(server.running().slow_readers_closed(), 0);
}

#[tokio::test]
async fn a_flooding_client_does_not_block_the_shutdown() {
    let mut server = start();
    let mut floods = Vec::new();
    for _ in 0..4 {
        let mut client = Raw::websocket(&server).await;
        floods.push(tokio::spawn(async move {
            let pings = many(&frame(true, PING, b"12345678"));
            while client.try_send(&pings).await.is_ok() {
                // The close frame is read and ignored too.
                client.skim();
            }
        }));
    }
    let server = server.server.take().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop();
    within(tokio::task::spawn_blocking(|| server.wait())).await.unwrap().unwrap();
    for flood in floods {
        flood.abort();
    }
}

#[tokio::test]
async fn a_client_that_reads_no_response_is_disconnected() {
    let handshake_timeout = Duration::from_millis(300);
    let server = Setup { handshake_timeout, ..Setup::default() }.start(vec![app()]);
    let mut client = Raw::new(dial_narrow(&server).await);
    let requests = many(b"GET /up HTTP/1.1\r\nHost: x\r\n\r\n");
    let ended = async { while client.try_send(&requests).await.is_ok() {} };
    within(ended).await;
}

#[tokio::test]
async fn a_client_that_closes_is_gone_for_the_others_although_it_reads_nothing() {
    let app = app_with(|app| app.limits.event_data_bytes = 1 << 20);
    let setup = Setup { outbox_bytes: 64 << 20, max_request_bytes: 2 << 20, ..Setup::default() };
    let server = setup.start(vec![app]);
    let mut leaver = Raw::new(dial_narrow(&server).await);
    leaver.send(format!("{HANDSHAKE}\r\n").as_bytes()).await;
    let id = leaver.welcomed_as().await;
    let mut other = server.connect().await;
    other.join("presence-room", 1).await;
    let data = member(2).to_string();
    let auth =
        server.api().app_key().sign_channel(id.parse().unwrap(), "presence-room", Some(&data));
    let data = json!({ "channel": "presence-room", "auth": auth, "channel_data": data });
    let text = json!({ "event": "pusher:subscribe", "data": data }).to_string();
    leaver.send(&frame(true, crate::raw::TEXT, text.as_bytes())).await;
    assert_eq!(other.receive().await["event"], "pusher_internal:member_added");
    // More than the kernel buffers for a client that reads nothing.
    for _ in 0..4 {
        server.publish("presence-room", "e", &json!("x".repeat(1_000_000))).await;
        assert_eq!(other.receive().await["event"], "e");
    }
    leaver.send(&frame(true, CLOSE, &1000_u16.to_be_bytes())).await;
    let left = tokio::time::timeout(Duration::from_secs(3), other.receive()).await;
    assert_eq!(left.expect("it has left")["event"], "pusher_internal:member_removed");
}
