//! The HTTP API of a node answers for the whole cluster.

use std::time::{Duration, Instant};

use clarim_testing::redis;
use serde_json::json;

use crate::client::Client;
use crate::node::Node;

#[tokio::test]
async fn every_node_answers_for_the_cluster() {
    let server = redis();
    let url = server.url("redis");
    let nodes = [(); 3].map(|()| Node::start(&url, &[]));
    for node in &nodes {
        node.is_ready(2).await;
    }
    let mut clients = Vec::new();
    for (node, user) in nodes.iter().zip(["ana", "ben", "ana"]) {
        let mut client = Client::on(node, "presence-room", user).await;
        client.subscribe("news", "").await;
        clients.push(client);
    }
    clients[0].subscribe("private-only-0", "").await;
    for node in &nodes {
        let path = "/apps/1/channels";
        let all = node.ask(path, &[("info", "user_count,subscription_count")]).await;
        let counted = json!({ "subscription_count": 3, "user_count": 2 });
        assert_eq!(
            all.json(),
            json!({ "channels": {
                "news": { "subscription_count": 3 },
                "presence-room": counted,
                "private-only-0": { "subscription_count": 1 },
            }})
        );
        assert!(!all.is_partial());
        let filtered = node.ask(path, &[("filter_by_prefix", "private-")]).await.json();
        assert_eq!(filtered, json!({ "channels": { "private-only-0": {} } }));
        let one = node.ask("/apps/1/channels/private-only-0", &[]).await.json();
        assert_eq!(one, json!({ "occupied": true }));
        let users = node.ask("/apps/1/channels/presence-room/users", &[]).await.json();
        assert_eq!(users, json!({ "users": [{ "id": "ana" }, { "id": "ben" }] }));
        let connections = node.ask("/apps/1/connections", &[]).await.json();
        assert_eq!(connections, json!({ "connections": 3 }));
        let event = json!({ "name": "e", "channels": ["news"], "data": "{}", "info": "subscription_count" });
        let published = node.post("/apps/1/events", &event).await.json();
        assert_eq!(published, json!({ "channels": { "news": { "subscription_count": 3 } } }));
    }
}

#[tokio::test]
async fn without_a_silent_node_the_answer_is_partial_and_comes_at_the_deadline() {
    let server = redis();
    let url = server.url("redis");
    let settings = ["CLARIM_SCALING_TIMEOUT=500", "CLARIM_SCALING_LEASE=60"];
    let nodes = [(); 3].map(|()| Node::start(&url, &settings));
    for node in &nodes {
        node.is_ready(2).await;
    }
    let _here = Client::on(&nodes[0], "news", "").await;
    let _there = Client::on(&nodes[1], "news", "").await;
    nodes[2].program.freeze();
    let begun = Instant::now();
    let reply = nodes[0].ask("/apps/1/connections", &[]).await;
    let took = begun.elapsed();
    assert_eq!(reply.json(), json!({ "connections": 2 }), "what is known");
    assert!(reply.is_partial());
    assert!((450..2_000).contains(&took.as_millis()), "{took:?}");
    // Many channels take as long as one.
    let channels: Vec<String> = (0..20).map(|n| format!("news-{n}")).collect();
    let event =
        json!({ "name": "e", "channels": channels, "data": "{}", "info": "subscription_count" });
    let begun = Instant::now();
    let reply = nodes[0].post("/apps/1/events", &event).await;
    assert!(reply.is_partial(), "{reply:?}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
