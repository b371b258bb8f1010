//! `clarim restart` in a cluster: the new program is the same node.

use std::process::Command;

use clarim_testing::{nats, redis};

use crate::client::Client;
use crate::node::{LEASE, Node};
use crate::scene::{ROOM, Scene, every_pair};

/// Runs `clarim restart` for a node.
async fn restart(node: &Node) {
    let port = node.program.port.to_string();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_clarim"))
            .args(["restart", "--port", &port])
            .env_clear()
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("kept its connections"), "{output:?}");
}

/// Restarts each node under publishes on all of them. No client notices anything.
async fn restarted_under_load(nodes: Vec<Node>) {
    let mut scene = Scene::of(nodes).await;
    let count = scene.nodes.len();
    // A channel of one node alone.
    let mut alone = Client::on(&scene.nodes[0], "alone", "").await;
    for round in 0..2 * count {
        let fault = async |nodes: &[Node]| restart(&nodes[round % count]).await;
        scene.under_load(fault, every_pair).await;
    }
    assert_eq!(scene.leaves(), vec![0; count], "no member was removed");
    for client in &scene.clients {
        assert_eq!(client.channels[ROOM].gaps, 0, "nothing is missed");
    }
    scene.is_well().await;
    assert_eq!(scene.nodes[1].publish("alone", 1).await.status, 200);
    alone.until("the event", |client| client.channels["alone"].order == [1]).await;
    // All are alive for each other.
    for client in &mut scene.clients {
        client.listen(LEASE * 2).await;
    }
    scene.is_well().await;
    assert_eq!(scene.leaves(), vec![0; count], "no member was removed");
}

#[tokio::test]
async fn nodes_on_redis_are_restarted_under_load() {
    let server = redis();
    restarted_under_load((0..3).map(|_| Node::start(&server.url("redis"), &[])).collect()).await;
}

#[tokio::test]
async fn nodes_on_nats_are_restarted_under_load() {
    let server = nats(&[]);
    restarted_under_load((0..2).map(|_| Node::start(&server.url("nats"), &[])).collect()).await;
}
