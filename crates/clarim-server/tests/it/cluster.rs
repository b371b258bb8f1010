//! Two nodes in one process, on a bus that is in it too.

use std::time::Duration;

use clarim_bus::MemoryBus;
use clarim_server::config::Scaling;
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
