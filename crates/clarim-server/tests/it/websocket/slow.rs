//! Slow clients, and clients that only look like it.

use std::time::Duration;

use clarim_hub::app::App;
use serde_json::{Value, json};

use crate::consumers::metrics::{Metrics, TOKEN};
use crate::raw::{CLOSE, HANDSHAKE, Raw, TEXT, frame};
use crate::support::{
    Client, Harness, Setup, app, app_with, dial_narrow, eventually, succeeded, within,
};

const ROOM: &str = "presence-room";

/// An app whose member lists are longer than the kernel's buffers.
fn large_members() -> App {
    app_with(|app| app.limits.presence_member_bytes = 95_000)
}

fn large_member(user: usize) -> String {
    json!({ "user_id": user.to_string(), "user_info": "x".repeat(90_000) }).to_string()
}

/// Joins ten members with long data.
async fn ten_members(server: &Harness) -> Vec<Client> {
    let mut members = Vec::new();
    for user in 0..10 {
        let mut member = server.connect().await;
        member.ask(ROOM, Some(&large_member(user))).await;
        assert_eq!(member.receive().await["event"], "pusher_internal:subscription_succeeded");
        members.push(member);
    }
    members
}

/// A client that reads only when the test does.
async fn reluctant(server: &Harness, key: &str) -> (Raw, String) {
    let mut client = Raw::new(dial_narrow(server).await);
    client.send(format!("{}\r\n", HANDSHAKE.replace("reverb-key", key)).as_bytes()).await;
    let id = client.welcomed_as().await;
    (client, id)
}

fn joins(server: &Harness, app: usize, id: &str, member: &str) -> Vec<u8> {
    let key = server.api_of(app);
    let auth = key.app_key().sign_channel(id.parse().unwrap(), ROOM, Some(member));
    let data = json!({ "channel": ROOM, "auth": auth, "channel_data": member });
    frame(true, TEXT, json!({ "event": "pusher:subscribe", "data": data }).to_string().as_bytes())
}

async fn next_event(client: &mut Raw) -> Value {
    let (opcode, payload) = client.frame().await;
    assert_eq!(opcode, TEXT, "{}", String::from_utf8_lossy(&payload));
    serde_json::from_slice(&payload).unwrap()
}

#[tokio::test]
async fn a_burst_longer_than_the_send_queue_reaches_a_client_that_reads() {
    let server = Setup { max_request_bytes: 20 << 20, ..Setup::default() }.start(vec![app()]);
    let mut client = Raw::websocket(&server).await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    client.send(&frame(true, TEXT, subscribe)).await;
    assert_eq!(next_event(&mut client).await, succeeded("news"));
    // Five megabytes at a time: the send queue holds one, the kernel another quarter.
    let batch: Vec<Value> = (30..90)
        .map(|n| json!({ "name": "e", "channel": "news", "data": "x".repeat(n * 1_000) }))
        .collect();
    let batch = json!({ "batch": batch }).to_string();
    let reading = tokio::spawn(async move {
        let mut sizes = Vec::new();
        while sizes.len() < 180 {
            let (opcode, payload) = client.frame().await;
            assert_eq!(opcode, TEXT, "{}", String::from_utf8_lossy(&payload));
            sizes.push(payload.len() / 1_000);
        }
        sizes
    });
    for _ in 0..3 {
        let reply = server.api().post_text("/batch_events", &batch).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    // Each has come, in order.
    assert_eq!(
        reading.await.unwrap(),
        [(); 3].into_iter().flat_map(|()| 30..90).collect::<Vec<_>>()
    );
    assert_eq!(server.running().slow_readers_closed(), 0);
}

#[tokio::test]
async fn a_list_longer_than_the_send_queue_is_followed_by_what_happens_meanwhile() {
    let server = Setup { outbox_bytes: 10_000, ..Setup::default() }.start(vec![large_members()]);
    let mut members = ten_members(&server).await;
    let (mut client, id) = reluctant(&server, "reverb-key").await;
    client.send(&joins(&server, 0, &id, &large_member(10))).await;
    while members[0].receive().await["data"]["$text"]["user_id"] != "10" {}
    // The others come and go while the list waits for the client.
    for _ in 0..3 {
        let left = members.pop().unwrap();
        drop(left);
    }
    let mut guest = server.connect().await;
    guest.join(ROOM, 99).await;
    let list = next_event(&mut client).await;
    let list: Value = serde_json::from_str(list["data"].as_str().unwrap()).unwrap();
    let mut present = i64::try_from(list["presence"]["ids"].as_array().unwrap().len()).unwrap();
    while present != 9 {
        match next_event(&mut client).await["event"].as_str().unwrap() {
            "pusher_internal:member_added" => present += 1,
            "pusher_internal:member_removed" => present -= 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(server.running().slow_readers_closed(), 0);
}

#[tokio::test]
async fn a_client_that_asks_for_more_than_it_reads_is_read_later() {
    let server = Setup { metrics_token: Some(TOKEN), ..Setup::default() };
    let server = server.start(vec![large_members()]);
    let _members = ten_members(&server).await;
    let (mut client, id) = reluctant(&server, "reverb-key").await;
    // Sixty lists of 900 kB, for requests that fit into one read.
    let leave = json!({ "event": "pusher:unsubscribe", "data": { "channel": ROOM } }).to_string();
    let mut requests = Vec::new();
    for _ in 0..60 {
        requests.extend(joins(&server, 0, &id, r#"{"user_id":"0"}"#));
        requests.extend(frame(true, TEXT, leave.as_bytes()));
    }
    assert!(requests.len() < 64 << 10);
    client.send(&requests).await;
    let mut lists = 0;
    while lists < 60 {
        let event = next_event(&mut client).await;
        assert_eq!(event["event"], "pusher_internal:subscription_succeeded");
        lists += 1;
        let queued = Metrics::of(&server).await.value("clarim_outbox_bytes");
        assert!(queued < 4e6, "{queued} bytes wait for a client that does not read");
    }
    assert_eq!(server.running().slow_readers_closed(), 0);
}

#[tokio::test]
async fn messages_wait_only_for_some_time_below_the_limit_of_the_send_queue() {
    let outbox_timeout = Duration::from_millis(500);
    let setup = Setup { outbox_bytes: 64 << 20, outbox_timeout, ..Setup::default() };
    let server = setup.start(vec![app()]);
    let mut reader = server.connect().await;
    reader.subscribe("news").await;
    let (mut client, _) = reluctant(&server, "reverb-key").await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    client.send(&frame(true, TEXT, subscribe)).await;
    assert_eq!(next_event(&mut client).await, succeeded("news"));
    // More than the kernel buffers for it.
    for n in 0..40 {
        server.publish("news", "e", &json!([n, "x".repeat(50_000)])).await;
        assert_eq!(reader.receive().await["event"], "e");
    }
    eventually(|| server.running().slow_readers_closed() == 1).await;
    assert!(client.rest().await.len() < 40 * 50_000);
    reader.expect_nothing().await;
}

#[tokio::test]
async fn slow_clients_of_an_app_share_a_budget_that_is_not_that_of_another_app() {
    let other = App::new("2", "other-key", "other-secret");
    let setup = Setup { workers: 1, outbox_bytes: 64 << 20, ..Setup::default() };
    let server = setup.start(vec![large_members(), other]);
    let _members = ten_members(&server).await;
    let (mut patient, _) = reluctant(&server, "other-key").await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    patient.send(&frame(true, TEXT, subscribe)).await;
    assert_eq!(next_event(&mut patient).await, succeeded("news"));
    for _ in 0..12 {
        let data = json!("x".repeat(95_000)).to_string();
        let body = json!({ "name": "e", "channel": "news", "data": data });
        assert_eq!(server.api_of(1).post("/events", &body).await.status, 200);
    }
    // Each holds a list of its own: 90 MB, and the budget is 64 MiB.
    let mut slow = Vec::new();
    for _ in 0..100 {
        let (mut client, id) = reluctant(&server, "reverb-key").await;
        client.send(&joins(&server, 0, &id, r#"{"user_id":"0"}"#)).await;
        slow.push(client);
    }
    eventually(|| server.running().slow_readers_closed() > 0).await;
    for _ in 0..12 {
        assert_eq!(next_event(&mut patient).await["event"], "e");
    }
    // Those that have waited least stay.
    let mut last = slow.pop().unwrap();
    let (opcode, _) = within(last.frame()).await;
    assert_ne!(opcode, CLOSE);
    assert!(server.running().slow_readers_closed() < 100);
}
