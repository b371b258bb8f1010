//! Many clients at once: order, slow readers, crowds.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::raw::{CLOSE, HANDSHAKE, Raw, TEXT, frame};
use crate::support::{
    Client, Harness, HttpConnection, Setup, app, app_with, dial_narrow, event, member, start,
    within,
};

async fn slow_client(server: &Harness) -> Raw {
    let mut client = Raw::new(dial_narrow(server).await);
    client.shake_hands().await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"x"}}"#;
    client.send(&frame(true, TEXT, subscribe)).await;
    client.frame().await;
    client
}

async fn subscribers(server: &Harness, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = server.connect().await;
        client.subscribe("x").await;
        clients.push(client);
    }
    clients
}

/// A server that closes slow clients soon.
fn impatient() -> Harness {
    let outbox_timeout = Duration::from_millis(500);
    Setup { outbox_bytes: 100_000, outbox_timeout, ..Setup::default() }.start(vec![app()])
}

fn numbered(n: usize) -> Value {
    json!({ "n": n, "padding": "x".repeat(20_000) })
}

#[tokio::test]
async fn a_stalled_reader_is_closed_and_others_are_not_affected() {
    let server = impatient();
    let mut slow = slow_client(&server).await;
    let mut others = subscribers(&server, 50).await;
    let mut sent = 0;
    // Until it is removed from the channel.
    loop {
        server.publish("x", "e", &numbered(sent)).await;
        for client in &mut others {
            client.expect(event("x", "e", &numbered(sent))).await;
        }
        sent += 1;
        let channel = server.api().read("/channels/x", "subscription_count").await;
        if channel["subscription_count"] == 50 {
            break;
        }
        assert!(sent < 10_000, "it is still subscribed");
    }
    // The received frames are complete, and the last one is a close frame.
    for n in 0..=sent {
        let (opcode, payload) = slow.frame().await;
        if opcode == CLOSE {
            assert_eq!(payload[..2], 4100_u16.to_be_bytes());
            assert!(n > 0 && n < sent, "closed after {n} of {sent} events");
            break;
        }
        let found: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(found, event("x", "e", &numbered(n)));
    }
    slow.finish().await;
    slow.expect_end().await;
    assert_eq!(server.running().slow_readers_closed(), 1);
    for client in &mut others {
        client.expect_nothing().await;
    }
    drop((others, slow));
    server.becomes_empty().await;
}

#[tokio::test]
async fn a_stalled_reader_that_never_comes_back_is_forgotten() {
    let server = impatient();
    let slow = slow_client(&server).await;
    let idle = slow_client(&server).await;
    drop(idle);
    within(async {
        while server.running().connections("123456") > 0 {
            server.publish("x", "e", &numbered(0)).await;
        }
    })
    .await;
    drop(slow);
    server.becomes_empty().await;
}

const PUBLISHERS: usize = 8;
const EVENTS: usize = 50;

async fn publish(server: &Harness, publisher: usize) {
    let mut connection = HttpConnection::new(server.dial().await).await;
    for n in 0..EVENTS {
        let data = json!([publisher, n]).to_string();
        let body = json!({ "name": "e", "channel": "x", "data": data }).to_string();
        let target = server.api().sign("POST", "/events", &[], body.as_bytes());
        let reply = connection.request("POST", &target, body.as_bytes()).await;
        assert_eq!(reply.status, 200);
    }
}

/// The events of a subscriber: publisher and number.
async fn history(mut client: Client) -> Vec<(u64, u64)> {
    let mut events = Vec::new();
    for _ in 0..PUBLISHERS * EVENTS {
        let event = client.receive().await;
        let pair = &event["data"]["$text"];
        events.push((pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap()));
    }
    client.expect_nothing().await;
    events
}

#[tokio::test]
async fn all_subscribers_see_one_order() {
    let server = start();
    let mut readers: JoinSet<_> = subscribers(&server, 50).await.into_iter().map(history).collect();
    let publishers = (0..PUBLISHERS).map(|publisher| publish(&server, publisher));
    futures_util::future::join_all(publishers).await;
    let first = readers.join_next().await.unwrap().unwrap();
    while let Some(other) = readers.join_next().await {
        assert_eq!(other.unwrap(), first);
    }
    // No event is lost or duplicated, and each publisher's events are in order.
    for publisher in 0..PUBLISHERS as u64 {
        let own: Vec<u64> = first.iter().filter(|e| e.0 == publisher).map(|e| e.1).collect();
        assert_eq!(own, (0..EVENTS as u64).collect::<Vec<_>>());
    }
    server.becomes_empty().await;
}

const CROWD: u32 = 100;

/// Joins as a user and waits for all members. Returns the members it has seen.
async fn join_crowd(mut client: Client, user: u32) -> (Client, BTreeSet<String>) {
    let members = client.join("presence-room", user).await;
    let ids = members["ids"].as_array().unwrap();
    let mut seen: BTreeSet<String> = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(members["count"], seen.len());
    assert_eq!(members["hash"].as_object().unwrap().len(), seen.len());
    while seen.len() < CROWD as usize {
        let added = client.receive().await;
        assert_eq!(added["event"], "pusher_internal:member_added");
        let id = added["data"]["$text"]["user_id"].as_str().unwrap().to_owned();
        assert_eq!(added["data"]["$text"], member(id.parse().unwrap()));
        assert!(seen.insert(id), "{added} was received twice");
    }
    (client, seen)
}

#[tokio::test]
async fn a_crowd_that_joins_at_once_ends_with_the_same_list() {
    let server = start();
    let mut joining = JoinSet::new();
    for user in 0..CROWD {
        joining.spawn(join_crowd(server.connect().await, user));
    }
    let all: BTreeSet<String> = (0..CROWD).map(|user| user.to_string()).collect();
    let mut clients = Vec::new();
    while let Some(joined) = joining.join_next().await {
        let (client, seen) = joined.unwrap();
        assert_eq!(seen, all);
        clients.push(client);
    }
    let channel = server.api().read("/channels/presence-room", "user_count").await;
    assert_eq!(channel, json!({ "occupied": true, "user_count": CROWD }));
    for client in &mut clients {
        client.expect_nothing().await;
    }
    drop(clients);
    server.becomes_empty().await;
}

#[tokio::test]
async fn joins_leaves_and_events_keep_one_order() {
    let server = start();
    let mut watcher = server.connect().await;
    watcher.join("presence-room", 0).await;
    for round in 0..50 {
        let mut guest = server.connect().await;
        guest.join("presence-room", 1).await;
        server.publish("presence-room", "round", &json!(round)).await;
        guest.unsubscribe("presence-room").await;
        guest.receive().await;
        guest.expect_nothing().await;
        let names = ["pusher_internal:member_added", "round", "pusher_internal:member_removed"];
        for name in names {
            assert_eq!(watcher.receive().await["event"], name);
        }
    }
}

#[tokio::test]
async fn subscribing_and_leaving_under_load_loses_nothing() {
    let server = start();
    let publishing = async {
        for n in 0..300 {
            server.publish("x", "e", &json!(n)).await;
        }
        server.publish("x", "end", &json!({})).await;
    };
    let subscribing = async {
        let mut clients: JoinSet<()> = JoinSet::new();
        for _ in 0..20 {
            let mut client = server.connect().await;
            client.subscribe("x").await;
            clients.spawn(gapless(client));
        }
        clients.join_all().await;
    };
    tokio::join!(publishing, subscribing);
    server.becomes_empty().await;
}

/// Reads to the end and checks that there is no gap after the first event.
async fn gapless(mut client: Client) {
    let mut expected = None;
    loop {
        let event = client.receive().await;
        if event["event"] == "end" {
            return;
        }
        let n = event["data"]["$text"].as_u64().unwrap();
        assert!(expected.is_none_or(|expected| expected == n), "{n} after {expected:?}");
        expected = Some(n + 1);
    }
}

#[tokio::test]
async fn subscriptions_of_a_connection_are_limited_and_leave_no_state() {
    let app = app_with(|app| app.limits.channels_per_connection = 2000);
    let server = Setup::default().start(vec![app]);
    let mut client = server.connect().await;
    for n in 0..2100 {
        client.ask(&format!("channel-{n}"), None).await;
    }
    for _ in 0..2000 {
        let event = client.receive().await;
        assert_eq!(event["event"], "pusher_internal:subscription_succeeded");
    }
    for n in 2000..2100 {
        client.expect_refusal(&format!("channel-{n}"), None).await;
    }
    drop(client);
    server.becomes_empty().await;
}

#[tokio::test]
async fn a_storm_of_connections_is_served() {
    let server = start();
    let mut clients = JoinSet::new();
    for _ in 0..200 {
        let address = server.address;
        clients.spawn(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let mut client = Raw::new(stream);
            client.send(format!("{HANDSHAKE}\r\n").as_bytes()).await;
            client.welcomed().await;
            client
        });
    }
    let clients = within(clients.join_all()).await;
    assert_eq!(server.running().connections("123456"), 200);
    drop(clients);
    server.becomes_empty().await;
}
