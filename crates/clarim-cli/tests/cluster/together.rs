//! Behaviour of a cluster without faults, on every kind of bus.

use std::time::{Duration, Instant};

use clarim_testing::{
    Certificate, Guard, RedisCluster, Sentinels, nats, nats_cluster, redis, redis_guarded,
};
use serde_json::{Value, json};

use crate::client::Client;
use crate::node::{Node, eventually};

async fn three_nodes(url: &str) -> [Node; 3] {
    let nodes = [(); 3].map(|()| Node::start(url, &["REVERB_APP_SUBSCRIPTION_COUNT=true"]));
    for node in &nodes {
        node.is_ready(2).await;
    }
    nodes
}

/// Everything that must hold on any bus.
async fn everything(url: &str) {
    let nodes = three_nodes(url).await;
    events_reach_all_nodes_in_order(&nodes).await;
    answered_events_come_before_later_ones(&nodes).await;
    presence_is_that_of_the_cluster(&nodes).await;
    many_simultaneous_members_end_in_one_list(&nodes).await;
    cached_events_are_replayed_anywhere(&nodes).await;
    users_are_reached_and_watched_anywhere(&nodes).await;
    encrypted_events_are_forwarded_unchanged(&nodes).await;
    batches_keep_their_order(&nodes).await;
    a_node_without_subscribers_receives_nothing(&nodes).await;
    answers_are_fast(&nodes).await;
}

async fn events_reach_all_nodes_in_order(nodes: &[Node; 3]) {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::on(node, "private-orders", "").await);
    }
    for client in &mut clients {
        client
            .until("all are counted", |client| client.channels["private-orders"].count == 3)
            .await;
    }
    let publish = async |node: &Node| {
        for n in 0..100 {
            assert_eq!(node.publish("private-orders", n).await.status, 200);
        }
    };
    tokio::join!(publish(&nodes[0]), publish(&nodes[1]), publish(&nodes[2]));
    for client in &mut clients {
        for node in nodes {
            client.until("all events", |c| c.events("private-orders", node).len() == 100).await;
        }
    }
    // toOthers, with a socket on another node; and whispers.
    let except = clients[2].id.clone();
    assert_eq!(nodes[0].publish_but("private-orders", 100, Some(&except)).await.status, 200);
    let all: Vec<u64> = (0..1_000).collect();
    for n in &all {
        clients[0].whisper("private-orders", *n).await;
    }
    for client in &mut clients[1..] {
        client.until("whispers in order", |c| c.channels["private-orders"].whispers == all).await;
    }
    assert_eq!(clients[1].events("private-orders", &nodes[0]).len(), 101);
    assert_eq!(clients[2].events("private-orders", &nodes[0]).len(), 100);
    assert!(clients[0].channels["private-orders"].whispers.is_empty());
}

/// Each event is published through another node, after the answer to the one before.
async fn answered_events_come_before_later_ones(nodes: &[Node; 3]) {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::on(node, "turns", "").await);
    }
    for n in 0..600 {
        assert_eq!(nodes[n % 3].publish("turns", n).await.status, 200);
    }
    let all: Vec<u64> = (0..600).collect();
    for client in &mut clients {
        client.until("all events", |client| client.channels["turns"].order.len() == 600).await;
        assert_eq!(client.channels["turns"].order, all);
    }
}

/// Events that are published at the same time come in one order on all nodes.
async fn simultaneous_events_have_one_order(nodes: &[Node; 3]) {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::on(node, "pairs", "").await);
    }
    for n in 0..200 {
        let [one, other] = [nodes[0].publish("pairs", n), nodes[1].publish("pairs", n + 1_000)];
        tokio::join!(one, other);
    }
    for client in &mut clients {
        client.until("all events", |client| client.channels["pairs"].order.len() == 400).await;
    }
    let orders: Vec<_> = clients.iter().map(|client| &client.channels["pairs"].order).collect();
    assert!(orders[0] == orders[1] && orders[1] == orders[2]);
}

async fn presence_is_that_of_the_cluster(nodes: &[Node; 3]) {
    let mut ana = Client::on(&nodes[0], "presence-room", "ana").await;
    let mut ben = Client::on(&nodes[1], "presence-room", "ben").await;
    assert_eq!(ben.members("presence-room"), ["ana", "ben"]);
    let mut second_tab = Client::on(&nodes[2], "presence-room", "ana").await;
    assert_eq!(second_tab.members("presence-room"), ["ana", "ben"]);
    ana.until("ben", |ana| ana.members("presence-room").len() == 2).await;
    // A client that received the tab's whisper has received its joining before.
    second_tab.whisper("presence-room", 1).await;
    ben.until("a whisper", |ben| ben.channels["presence-room"].whispers == [1]).await;
    drop(ana);
    ben.listen(Duration::from_millis(300)).await;
    assert_eq!(ben.members("presence-room"), ["ana", "ben"], "the other tab is there");
    drop(second_tab);
    ben.until("ana has gone", |ben| ben.members("presence-room") == ["ben"]).await;
    assert_eq!(ben.channels["presence-room"].leaves, ["ana"]);
}

async fn many_simultaneous_members_end_in_one_list(nodes: &[Node; 3]) {
    let mut crowd = Vec::new();
    for n in 0..60 {
        crowd.push((format!("u{n}"), Client::connect(&nodes[n % 3]).await));
    }
    for (user, client) in &mut crowd {
        client.ask("presence-crowd", user).await;
    }
    for (_, client) in &mut crowd {
        client.until("everybody", |c| c.channels["presence-crowd"].members.len() == 60).await;
    }
}

async fn cached_events_are_replayed_anywhere(nodes: &[Node; 3]) {
    for n in 0..3 {
        assert_eq!(nodes[0].publish("cache-rates", n).await.status, 200);
    }
    let mut late = Client::on(&nodes[1], "cache-rates", "").await;
    late.until("the last", |late| late.events("cache-rates", &nodes[0]) == [2]).await;
    let answer = nodes[2].ask("/apps/1/channels/cache-rates", &[("info", "cache")]).await.json();
    assert!(answer["cache"]["data"].as_str().unwrap().contains(r#""n":2"#), "{answer}");
}

async fn users_are_reached_and_watched_anywhere(nodes: &[Node; 3]) {
    let mut ben = Client::connect(&nodes[1]).await;
    ben.sign_in("ben", &["ana"]).await;
    ben.until("ana's state", |ben| ben.online.contains_key("ana")).await;
    let mut ana = Client::connect(&nodes[0]).await;
    ana.sign_in("ana", &[]).await;
    ana.subscribe("#server-to-user-ana", "").await;
    ben.until("ana is online", |ben| ben.online["ana"]).await;
    let event = serde_json::json!({ "name": "E", "data": r#"{"node":0,"n":1}"# });
    assert_eq!(nodes[2].post("/apps/1/users/ana/events", &event).await.status, 200);
    ana.until("the event", |ana| ana.channels["#server-to-user-ana"].events.len() == 1).await;
    let answer = nodes[2].post("/apps/1/users/ana/terminate_connections", &event).await;
    assert_eq!(answer.status, 200);
    ana.until("the end", |ana| ana.closed).await;
    ben.until("ana is offline", |ben| !ben.online["ana"]).await;
}

/// The server can't decrypt them, and forwards them unchanged.
async fn encrypted_events_are_forwarded_unchanged(nodes: &[Node; 3]) {
    let mut client = Client::on(&nodes[1], "private-encrypted-box", "").await;
    for n in 0..10 {
        assert_eq!(nodes[2].publish("private-encrypted-box", n).await.status, 200);
    }
    let all: Vec<u64> = (0..10).collect();
    client.until("all", |c| c.events("private-encrypted-box", &nodes[2]) == all).await;
}

async fn batches_keep_their_order(nodes: &[Node; 3]) {
    let mut clients = Vec::new();
    for node in nodes {
        clients.push(Client::on(node, "batched", "").await);
    }
    let all: Vec<u64> = (0..1_000).collect();
    for tens in all.chunks(10) {
        let event = |n: &u64| {
            let data = json!({ "node": nodes[0].program.port, "n": n }).to_string();
            json!({ "name": "E", "channel": "batched", "data": data })
        };
        let mut batch: Vec<Value> = tens.iter().map(event).collect();
        batch[0]["info"] = "subscription_count".into();
        let answer = nodes[0].post("/apps/1/batch_events", &json!({ "batch": batch })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        // The count is that of all nodes.
        assert_eq!(answer.json()["batch"][0], json!({ "subscription_count": 3 }), "{answer:?}");
    }
    for client in &mut clients {
        client.until("all events", |c| c.events("batched", &nodes[0]) == all).await;
    }
}

/// Requests that need replies from the other nodes: the best of several attempts, because a busy machine
/// does not mean a slow bus.
async fn answers_are_fast(nodes: &[Node; 3]) {
    let _member = Client::on(&nodes[2], "presence-room", "ana").await;
    let event =
        json!({ "name": "E", "channel": "presence-room", "data": "{}", "info": "user_count" });
    let terminate = "/apps/1/users/nobody/terminate_connections";
    for question in [
        "channels",
        "channels/presence-room",
        "channels/presence-room/users",
        "connections",
        "event",
        "terminate",
    ] {
        let mut took = Duration::MAX;
        for _ in 0..5 {
            let begun = Instant::now();
            let reply = match question {
                "event" => nodes[0].post("/apps/1/events", &event).await,
                "terminate" => nodes[0].post(terminate, &json!({})).await,
                path => nodes[0].ask(&format!("/apps/1/{path}"), &[]).await,
            };
            took = took.min(begun.elapsed());
            assert!(reply.status == 200 && !reply.is_partial(), "{question}: {reply:?}");
        }
        assert!(took < Duration::from_millis(100), "{question}: {took:?}");
    }
}

/// 19 MB at once are more than what may be on the way: commands for the bus wait, and nothing is lost.
#[tokio::test]
async fn a_large_batch_is_not_lost() {
    let server = redis();
    let url = server.url("redis");
    let settings = [
        "CLARIM_MAX_REQUEST_SIZE=30000000",
        "CLARIM_OUTBOX_SIZE=500000000",
        "REVERB_APP_MAX_EVENTS_PER_BATCH=200",
    ];
    let nodes = [Node::start(&url, &settings), Node::start(&url, &settings)];
    for node in &nodes {
        node.is_ready(1).await;
    }
    let mut client = Client::on(&nodes[1], "news", "").await;
    let text = "x".repeat(95_000);
    let event = |n: usize| {
        let data = json!({ "node": 0, "n": n, "text": text }).to_string();
        json!({ "name": "E", "channel": "news", "data": data })
    };
    let batch = json!({ "batch": (0..200).map(event).collect::<Vec<Value>>() });
    let all = |client: &Client| client.channels["news"].order.len() == 200;
    let publishing = nodes[0].post("/apps/1/batch_events", &batch);
    let (reply, ()) = tokio::join!(publishing, client.until("all events", all));
    assert!(reply.status == 200 && !reply.is_local_only(), "{reply:?}");
    assert_eq!(nodes[0].metric("clarim_bus_messages_lost_total").await, 0);
}

async fn a_node_without_subscribers_receives_nothing(nodes: &[Node; 3]) {
    let mut client = Client::on(&nodes[0], "only-here", "").await;
    let before = nodes[2].metric("clarim_bus_bytes_total{direction=\"in\"}").await;
    for n in 0..200 {
        nodes[1].publish("only-here", n).await;
    }
    client.until("all events", |c| c.events("only-here", &nodes[1]).len() == 200).await;
    let after = nodes[2].metric("clarim_bus_bytes_total{direction=\"in\"}").await;
    assert!(after - before < 2_000, "{} bytes came", after - before);
    // After its last subscriber has left, the node receives nothing either.
    drop(client);
    let nothing_comes = async || {
        let before = nodes[0].metric("clarim_bus_bytes_total{direction=\"in\"}").await;
        for n in 200..400 {
            nodes[1].publish("only-here", n).await;
        }
        nodes[0].metric("clarim_bus_bytes_total{direction=\"in\"}").await < before + 2_000
    };
    eventually("it is no longer listened to", nothing_comes).await;
}

#[tokio::test]
async fn on_redis() {
    let server = redis();
    let url = server.url("redis");
    everything(&url).await;
    simultaneous_events_have_one_order(&three_nodes(&url).await).await;
}

#[tokio::test]
async fn on_a_redis_cluster() {
    let cluster = RedisCluster::start();
    everything(&cluster.url()).await;
    simultaneous_events_have_one_order(&three_nodes(&cluster.url()).await).await;
}

#[tokio::test]
async fn on_a_cluster_of_nats_servers() {
    let servers = nats_cluster(2);
    let url = |at: usize| format!("nats://127.0.0.1:{}", servers[at].port);
    let a = Node::start(&url(0), &[]);
    let b = Node::start(&url(1), &[]);
    a.is_ready(1).await;
    b.is_ready(1).await;
    let mut ana = Client::on(&a, "presence-room", "ana").await;
    // A subscription on one NATS server reaches the other one a moment later.
    ana.until("oneself", |ana| ana.members("presence-room") == ["ana"]).await;
    let mut ben = Client::on(&b, "presence-room", "ben").await;
    for client in [&mut ana, &mut ben] {
        client.until("both", |c| c.members("presence-room") == ["ana", "ben"]).await;
    }
    for n in 0..100 {
        assert_eq!(a.publish("presence-room", n).await.status, 200);
    }
    let all: Vec<u64> = (0..100).collect();
    ben.until("all events", |ben| ben.events("presence-room", &a) == all).await;
}

#[tokio::test]
async fn on_nats() {
    let server = nats(&[]);
    everything(&server.url("nats")).await;
}

fn guard() -> Guard {
    Guard { password: Some("hush"), certificate: Some(Certificate::new()) }
}

/// Publishes from one node to another, over a bus whose certificate one of them trusts by the URL, and the
/// other by SSL_CERT_FILE.
async fn over_tls(url: &str, guard: &Guard) {
    let file = &guard.certificate.as_ref().unwrap().file;
    let sign = if url.contains('?') { '&' } else { '?' };
    let a = Node::start(&format!("{url}{sign}ca={file}"), &[]);
    let b = Node::start(url, &[&format!("SSL_CERT_FILE={file}")]);
    a.is_ready(1).await;
    let mut client = Client::on(&b, "news", "").await;
    assert_eq!(a.publish("news", 1).await.status, 200);
    client.until("the event", |client| client.events("news", &a) == [1]).await;
    // A node that does not trust the certificate reports the reason.
    let wary = Node::start(url, &[]);
    assert_eq!(wary.get("/ready").await.status, 503);
}

#[tokio::test]
async fn on_redis_with_tls() {
    let guard = guard();
    let server = redis_guarded(&guard, &[]);
    over_tls(&format!("rediss://:hush@localhost:{}", server.port), &guard).await;
}

#[tokio::test]
async fn on_a_redis_cluster_with_tls_and_a_password() {
    let guard = guard();
    let cluster = RedisCluster::guarded(guard.clone(), &[]);
    over_tls(&cluster.url(), &guard).await;
}

#[tokio::test]
async fn on_redis_with_sentinels_tls_and_passwords() {
    let guard = guard();
    let servers = Sentinels::guarded(guard.clone());
    over_tls(&servers.url(), &guard).await;
}

#[tokio::test]
async fn on_nats_with_tls() {
    let guard = guard();
    let Certificate { file, key, .. } = guard.certificate.as_ref().unwrap();
    let server = nats(&["--tls", "--tlscert", file, "--tlskey", key]);
    over_tls(&format!("tls://localhost:{}", server.port), &guard).await;
}

#[tokio::test]
async fn clusters_with_different_prefixes_are_separate() {
    let server = redis();
    let url = server.url("redis");
    let a = Node::start(&url, &[]);
    let b = Node::start(&url, &["REVERB_SCALING_CHANNEL=other"]);
    let mut here = Client::on(&a, "news", "").await;
    let mut there = Client::on(&b, "news", "").await;
    a.publish("news", 1).await;
    here.until("the event", |here| here.events("news", &a) == [1]).await;
    there.listen(Duration::from_millis(300)).await;
    assert!(there.channels["news"].events.is_empty());
}

#[tokio::test]
async fn a_stopping_node_announces_it() {
    let server = redis();
    let url = server.url("redis");
    let lease = ["CLARIM_SCALING_LEASE=30"];
    let stays = Node::start(&url, &lease);
    let goes = Node::start(&url, &lease);
    stays.is_ready(1).await;
    let mut ben = Client::on(&stays, "presence-room", "ben").await;
    let _ana = Client::on(&goes, "presence-room", "ana").await;
    ben.until("ana", |ben| ben.members("presence-room").len() == 2).await;
    let begun = Instant::now();
    goes.program.terminate();
    ben.until("ana has gone", |ben| ben.members("presence-room") == ["ben"]).await;
    eventually("the node is forgotten", async || stays.metric("clarim_bus_nodes").await == 0).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "before the lease: {:?}", begun.elapsed());
}

/// From its first client on, a new node lists the members of the others. It does not wait for the deadline.
async fn a_new_node_knows_the_members(url: &str) {
    let first = Node::start(url, &[]);
    first.is_ready(0).await;
    let _ana = Client::on(&first, "presence-room", "ana").await;
    for _ in 0..3 {
        let new = Node::start(url, &["CLARIM_SCALING_TIMEOUT=60000"]);
        let ben = Client::on(&new, "presence-room", "ben").await;
        assert_eq!(ben.members("presence-room"), ["ana", "ben"]);
        assert_eq!(new.get("/ready").await.status, 200);
        drop(ben);
        new.program.terminate();
        first.is_ready(0).await;
    }
}

#[tokio::test]
async fn a_new_node_knows_the_members_on_redis() {
    a_new_node_knows_the_members(&redis().url("redis")).await;
}

#[tokio::test]
async fn a_new_node_knows_the_members_on_nats() {
    a_new_node_knows_the_members(&nats(&[]).url("nats")).await;
}
