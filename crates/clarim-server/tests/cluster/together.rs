//! What nodes do together when all is well, on every kind of bus.

use std::path::Path;
use std::time::{Duration, Instant};

use clarim_testing::{Program, RedisCluster, free_port, nats, redis};

use crate::client::Client;
use crate::node::{Node, eventually};

async fn three_nodes(url: &str) -> [Node; 3] {
    let nodes = [(); 3].map(|()| Node::start(url, &["REVERB_APP_SUBSCRIPTION_COUNT=true"]));
    for node in &nodes {
        node.is_ready(2).await;
    }
    nodes
}

/// All that must hold on any bus.
async fn everything(url: &str) {
    let nodes = three_nodes(url).await;
    events_reach_all_nodes_in_order(&nodes).await;
    presence_is_that_of_the_cluster(&nodes).await;
    a_crowd_that_joins_at_once_ends_with_one_list(&nodes).await;
    cached_events_are_replayed_anywhere(&nodes).await;
    users_are_reached_and_watched_anywhere(&nodes).await;
    nothing_comes_to_a_node_without_interest(&nodes).await;
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
    clients[0].whisper("private-orders").await;
    for client in &mut clients[1..] {
        client.until("the whisper", |client| client.channels["private-orders"].whispers == 1).await;
    }
    assert_eq!(clients[1].events("private-orders", &nodes[0]).len(), 101);
    assert_eq!(clients[2].events("private-orders", &nodes[0]).len(), 100);
    assert_eq!(clients[0].channels["private-orders"].whispers, 0);
}

async fn presence_is_that_of_the_cluster(nodes: &[Node; 3]) {
    let mut ana = Client::on(&nodes[0], "presence-room", "ana").await;
    let mut ben = Client::on(&nodes[1], "presence-room", "ben").await;
    assert_eq!(ben.members("presence-room"), ["ana", "ben"]);
    let mut second_tab = Client::on(&nodes[2], "presence-room", "ana").await;
    assert_eq!(second_tab.members("presence-room"), ["ana", "ben"]);
    ana.until("ben", |ana| ana.members("presence-room").len() == 2).await;
    // Who has heard the tab's whisper has heard of its joining before.
    second_tab.whisper("presence-room").await;
    ben.until("a whisper", |ben| ben.channels["presence-room"].whispers == 1).await;
    drop(ana);
    ben.listen(Duration::from_millis(300)).await;
    assert_eq!(ben.members("presence-room"), ["ana", "ben"], "the other tab is there");
    drop(second_tab);
    ben.until("ana has gone", |ben| ben.members("presence-room") == ["ben"]).await;
    assert_eq!(ben.channels["presence-room"].leaves, ["ana"]);
}

async fn a_crowd_that_joins_at_once_ends_with_one_list(nodes: &[Node; 3]) {
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

async fn nothing_comes_to_a_node_without_interest(nodes: &[Node; 3]) {
    let mut client = Client::on(&nodes[0], "only-here", "").await;
    let before = nodes[2].metric("clarim_bus_bytes_total{direction=\"in\"}").await;
    for n in 0..200 {
        nodes[1].publish("only-here", n).await;
    }
    client.until("all events", |c| c.events("only-here", &nodes[1]).len() == 200).await;
    let after = nodes[2].metric("clarim_bus_bytes_total{direction=\"in\"}").await;
    assert!(after - before < 2_000, "{} bytes came", after - before);
}

#[tokio::test]
async fn on_redis() {
    let server = redis();
    everything(&format!("redis://127.0.0.1:{}", server.port)).await;
}

#[tokio::test]
async fn on_a_redis_cluster() {
    let cluster = RedisCluster::start();
    everything(&cluster.url()).await;
}

#[tokio::test]
async fn on_nats() {
    let server = nats(&[]);
    everything(&format!("nats://127.0.0.1:{}", server.port)).await;
}

/// A certificate for localhost that nobody has signed, and its key, as files.
fn certificate(folder: &Path) -> [String; 2] {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = [("cert.pem", made.cert.pem()), ("key.pem", made.signing_key.serialize_pem())];
    files.map(|(name, text)| {
        let file = folder.join(name);
        std::fs::write(&file, text).unwrap();
        file.to_string_lossy().into_owned()
    })
}

/// An event from one node to the other, on a bus whose certificate is trusted by SSL_CERT_FILE.
async fn over_tls(url: &str, certificate: &str) {
    let trusts = format!("SSL_CERT_FILE={certificate}");
    let (a, b) = (Node::start(url, &[&trusts]), Node::start(url, &[&trusts]));
    a.is_ready(1).await;
    let mut client = Client::on(&b, "news", "").await;
    assert_eq!(a.publish("news", 1).await.status, 200);
    client.until("the event", |client| client.events("news", &a) == [1]).await;
    // Who does not trust it is told why there is no bus.
    let wary = Node::start(url, &[]);
    assert_eq!(wary.get("/ready").await.status, 503);
}

#[tokio::test]
async fn on_redis_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(folder.path());
    let port = free_port();
    let tls = port.to_string();
    let arguments = ["--port", "0", "--bind", "127.0.0.1", "--save", "", "--tls-port", &tls];
    let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
    let _server = Program::start("redis-server", &[&arguments[..], &files].concat(), port);
    over_tls(&format!("rediss://localhost:{port}"), &cert).await;
}

#[tokio::test]
async fn on_nats_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(folder.path());
    let server = nats(&["--tls", "--tlscert", &cert, "--tlskey", &key]);
    over_tls(&format!("tls://localhost:{}", server.port), &cert).await;
}

#[tokio::test]
async fn clusters_with_different_prefixes_do_not_hear_each_other() {
    let server = redis();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let (a, b) = (Node::start(&url, &[]), Node::start(&url, &["REVERB_SCALING_CHANNEL=other"]));
    let (mut here, mut there) =
        (Client::on(&a, "news", "").await, Client::on(&b, "news", "").await);
    a.publish("news", 1).await;
    here.until("the event", |here| here.events("news", &a) == [1]).await;
    there.listen(Duration::from_millis(300)).await;
    assert!(there.channels["news"].events.is_empty());
}

#[tokio::test]
async fn a_node_that_stops_says_so() {
    let server = redis();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let lease = ["CLARIM_SCALING_LEASE=30"];
    let (stays, goes) = (Node::start(&url, &lease), Node::start(&url, &lease));
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
