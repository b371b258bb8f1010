//! Two nodes in one process, on a bus that is in it too.

use std::time::Duration;

use clarim_bus::{Bus, MemoryBus};
use clarim_server::config::Scaling;
use clarim_testing::redis;
use serde_json::json;

use crate::raw::{HANDSHAKE, Raw};
use crate::support::{Setup, app};

#[tokio::test]
async fn two_nodes_in_one_process_are_one_cluster() {
    let bus = MemoryBus::new();
    let start = || {
        let scaling = Some(Scaling::new(bus.clone().into()));
        Setup { scaling, ..Setup::default() }.start(vec![app()])
    };
    let a = start();
    let b = start();
    let mut ana = a.connect().await;
    let mut ben = b.connect().await;
    ana.subscribe("private-orders").await;
    ben.subscribe("private-orders").await;
    for n in 0..50 {
        a.publish("private-orders", "e", &json!(n)).await;
    }
    for client in [&mut ana, &mut ben] {
        for n in 0..50 {
            let data = n.to_string();
            client.expect(json!({ "event": "e", "channel": "private-orders", "data": data })).await;
        }
    }
    let reply = b.api().get("/channels/private-orders", &[("info", "subscription_count")]).await;
    assert_eq!(reply.json(), json!({ "occupied": true, "subscription_count": 2 }));
    drop((ana, ben));
    a.becomes_empty().await;
    b.becomes_empty().await;
}

#[tokio::test]
async fn a_draining_node_refuses_newcomers_of_a_proxy_before_the_upgrade() {
    let scaling = Some(Scaling::new(MemoryBus::new().into()));
    let drain = Duration::from_secs(600);
    let server = Setup { scaling, drain, ..Setup::default() }.start(vec![app()]);
    // Keeps the node draining: one of them is served for minutes.
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(server.connect().await);
    }
    server.running().stop();
    let mut direct = Raw::connect(&server).await;
    direct.send(format!("{HANDSHAKE}\r\n").as_bytes()).await;
    assert!(direct.head().await.starts_with("HTTP/1.1 101 "));
    direct.expect_close(4100).await;
    let mut proxied = Raw::connect(&server).await;
    proxied.send(format!("{HANDSHAKE}Clarim-Failover: true\r\n\r\n").as_bytes()).await;
    let head = proxied.head().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
}

/// A publisher that gets no response tries again at another node.
async fn a_key_counts_on_all_nodes(bus: Bus) {
    let start = || {
        let scaling = Some(Scaling::new(bus.clone()));
        Setup { scaling, ..Setup::default() }.start(vec![app()])
    };
    let a = start();
    let b = start();
    let mut client = a.connect().await;
    client.subscribe("chat").await;
    b.connect().await.subscribe("chat").await;
    let event = |n: u32| {
        json!({
            "name": "e", "channel": "chat", "data": n.to_string(), "info": "subscription_count",
            "idempotency_key": format!("key {n}"),
        })
    };
    let heard = |n: u32| json!({ "event": "e", "channel": "chat", "data": { "$text": n } });
    let first = a.api().post("/events", &event(0)).await;
    assert_eq!(first.status, 200, "{}", first.text);
    let mut newcomer = a.connect().await;
    newcomer.subscribe("chat").await;
    let repeat = b.api().post("/events", &event(0)).await;
    assert_eq!((repeat.status, &repeat.text), (200, &first.text));
    let mut other = event(0);
    other["data"] = "1".into();
    assert_eq!(b.api().post("/events", &other).await.status, 422);
    client.expect(heard(0)).await;
    // Several at the same time, in batches and alone.
    for n in 1..20 {
        let batch = json!({ "batch": [event(n)] });
        let alone = async || a.api().post("/events", &event(n)).await;
        let in_batch = async || b.api().post("/batch_events", &batch).await;
        let (one, two) = tokio::join!(alone(), in_batch());
        assert_eq!((one.status, two.status), (200, 200), "{} {}", one.text, two.text);
        client.expect(heard(n)).await;
        newcomer.expect(heard(n)).await;
    }
    client.expect_nothing().await;
    newcomer.expect_nothing().await;
}

#[tokio::test]
async fn keys_in_memory() {
    a_key_counts_on_all_nodes(MemoryBus::new().into()).await;
}

#[tokio::test]
async fn keys_on_redis() {
    let server = redis();
    a_key_counts_on_all_nodes(Bus::parse(&server.url("redis")).unwrap()).await;
}
