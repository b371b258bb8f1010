//! Clients during faults: events are lost only during the fault, none arrives twice or out of order, and
//! presence is correct in the end.

use std::cell::Cell;
use std::time::{Duration, Instant};

use clarim_testing::{Program, RedisCluster, Sentinels, nats, redis};
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::client::Client;
use crate::node::{LEASE, Node, eventually};
use crate::scene::{ROOM, Scene, every_pair};
use crate::webhooks::Webhooks;

/// Events may be lost between all nodes.
fn no_pair(_: usize, _: usize) -> bool {
    false
}

async fn bus_killed_and_restarted(mut server: Program, nodes: Vec<Node>) {
    let mut scene = Scene::of(nodes).await;
    let fault = async |_: &[Node]| {
        server.kill();
        sleep(Duration::from_secs(1)).await;
        server.restart();
    };
    scene.under_load(fault, no_pair).await;
    scene.is_well().await;
    server.kill();
    for node in &scene.nodes {
        eventually("it is reported", async || node.get("/ready").await.status == 503).await;
        let ready = node.get("/ready").await.body;
        let reason = "connection to the bus has been down for ";
        assert!(ready.contains(reason), "{ready}");
        assert_eq!(node.get("/up").await.status, 200);
        assert_eq!(node.metric("clarim_bus_up").await, 0);
        assert!(node.metric("clarim_bus_losses_total").await >= 2);
    }
    let before = scene.nodes[0].metric("clarim_bus_messages_lost_total").await;
    assert!(!scene.publish(10).await, "answers say that events stay on their node");
    let lost = async || scene.nodes[0].metric("clarim_bus_messages_lost_total").await;
    eventually("it is counted", async || lost().await >= before + 10).await;
    // New subscriptions are confirmed, on this node only.
    let mut alone = Client::on(&scene.nodes[0], "presence-alone", "zoe").await;
    alone.subscribe(ROOM, "u0").await;
    drop(alone);
    server.restart();
    scene.is_well().await;
    assert_eq!(scene.leaves(), vec![0; scene.clients.len()], "no member was removed");
}

#[tokio::test]
async fn redis_killed_and_restarted() {
    let server = redis();
    let nodes = (0..3).map(|_| Node::by_way(server.port, &[])).collect();
    bus_killed_and_restarted(server, nodes).await;
}

#[tokio::test]
async fn nats_killed_and_restarted() {
    let server = nats(&[]);
    let url = server.url("nats");
    let nodes = (0..3).map(|_| Node::start(&url, &[])).collect();
    bus_killed_and_restarted(server, nodes).await;
}

#[tokio::test]
async fn redis_frozen_for_half_a_minute() {
    let server = redis();
    // No member is removed if the bus is down for less than four leases. A busy machine needs more than 30 s.
    let node = |_| Node::by_way(server.port, &["CLARIM_SCALING_LEASE=60"]);
    let mut scene = Scene::of((0..2).map(node).collect()).await;
    let long = json!({ "name": "E", "channel": "long", "data": "x".repeat(90_000) });
    let fault = async |nodes: &[Node]| {
        let before = nodes[0].metric("process_resident_memory_bytes").await;
        server.freeze();
        let begun = Instant::now();
        // 90 MB, while the bus accepts nothing.
        join_all((0..20).map(|_| async {
            for _ in 0..50 {
                assert_eq!(nodes[0].post("/apps/1/events", &long).await.status, 200);
            }
        }))
        .await;
        let memory = nodes[0].metric("process_resident_memory_bytes").await;
        assert!(memory < before + (40 << 20), "{before} bytes became {memory}");
        sleep(Duration::from_secs(30).saturating_sub(begun.elapsed())).await;
        server.thaw();
    };
    scene.under_load(fault, no_pair).await;
    scene.is_well().await;
    assert_eq!(scene.leaves(), [0, 0]);
}

#[tokio::test]
async fn a_failover_by_sentinels() {
    let mut servers = Sentinels::start();
    let url = servers.url();
    let mut scene = Scene::of((0..2).map(|_| Node::start(&url, &[])).collect()).await;
    let fault = async |nodes: &[Node]| {
        servers.servers[0].kill();
        is_lost(nodes).await;
    };
    scene.under_load(fault, no_pair).await;
    scene.is_well().await;
}

#[tokio::test]
async fn a_slot_moves_and_a_master_dies() {
    let mut cluster = RedisCluster::start();
    let url = cluster.url();
    let mut scene = Scene::of((0..2).map(|_| Node::start(&url, &[])).collect()).await;
    let subject = format!("reverb:channel:1:{ROOM}");
    let from = cluster.master_of(&subject);
    let to = cluster.other_master(from);
    let losses = async |nodes: &[Node]| nodes[0].metric("clarim_bus_losses_total").await;
    let before = losses(&scene.nodes).await;
    let fault = async |nodes: &[Node]| {
        cluster.move_slot(cluster.slot(&subject), from, to);
        eventually("it is noticed", async || losses(nodes).await > before).await;
    };
    scene.under_load(fault, no_pair).await;
    scene.is_well().await;
    let fault = async |nodes: &[Node]| {
        cluster.servers[to].kill();
        is_lost(nodes).await;
    };
    scene.under_load(fault, no_pair).await;
    scene.is_well().await;
    assert_eq!(scene.leaves(), [0, 0]);
}

async fn is_lost(nodes: &[Node]) {
    for node in nodes {
        eventually("it is noticed", async || node.metric("clarim_bus_up").await == 0).await;
    }
}

#[tokio::test]
async fn a_node_killed() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 3).await;
    // This node no longer publishes.
    let mut victim = scene.nodes.pop().unwrap();
    let _client = scene.clients.pop().unwrap();
    let begun = Cell::new(Instant::now());
    let fault = async |nodes: &[Node]| {
        victim.program.kill();
        begun.set(Instant::now());
        for node in nodes {
            node.is_ready(1).await;
        }
        assert!(
            begun.get().elapsed() < LEASE + Duration::from_secs(4),
            "{:?}",
            begun.get().elapsed()
        );
    };
    scene.under_load(fault, every_pair).await;
    for client in &mut scene.clients {
        client.until("it has gone", |client| client.members(ROOM) == ["u0", "u1"]).await;
        assert_eq!(client.channels[ROOM].leaves, ["u2"], "announced once");
    }
    assert!(begun.get().elapsed() < Duration::from_secs(15), "{:?}", begun.get().elapsed());
    scene.is_well().await;
}

/// Returns the number of nodes that are subscribed to a channel on Redis.
async fn subscribed(server: &Program, channel: &str) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    let subject = format!("reverb:channel:1:{channel}");
    stream.write_all(format!("PUBSUB NUMSUB {subject}\r\n").as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    loop {
        let line = lines.next_line().await.unwrap().unwrap();
        if let Some(count) = line.strip_prefix(':') {
            return count.parse().unwrap();
        }
    }
}

#[tokio::test]
async fn the_clients_of_a_killed_node_that_was_alone_on_their_channels_have_left() {
    let server = redis();
    let hooks = Webhooks::start();
    let url = server.url("redis");
    let nodes: Vec<Node> = (0..3).map(|_| Node::start(&url, &[&hooks.setting()])).collect();
    for node in &nodes {
        node.is_ready(2).await;
    }
    let [mut victim, second, third] = <[Node; 3]>::try_from(nodes).unwrap();
    let mut zoe = Client::on(&victim, "presence-zoe", "zoe").await;
    let _yan = Client::on(&victim, "presence-zoe", "yan").await;
    let _doc = Client::on(&victim, "private-doc", "").await;
    let shared = Client::on(&victim, "presence-shared", "zoe").await;
    let mut ben = Client::on(&second, "presence-shared", "ben").await;
    let mut expected = vec![
        "channel_occupied presence-shared",
        "channel_occupied presence-zoe",
        "channel_occupied private-doc",
        "member_added presence-shared ben",
        "member_added presence-shared zoe",
        "member_added presence-zoe yan",
        "member_added presence-zoe zoe",
    ];
    eventually("the backend knows all", async || hooks.events() == expected).await;
    // Another node knows who is there, and gets no events.
    for (channel, nodes) in [("presence-zoe", 1), ("private-doc", 1), ("presence-shared", 2)] {
        assert_eq!(subscribed(&server, channel).await, nodes, "{channel}");
    }
    assert_eq!(third.publish("presence-zoe", 1).await.status, 200);
    zoe.until("the event", |client| client.channels["presence-zoe"].order == [1]).await;
    victim.program.kill();
    drop(shared);
    for node in [&second, &third] {
        node.is_ready(1).await;
    }
    let left = [
        "channel_vacated presence-zoe",
        "channel_vacated private-doc",
        "member_removed presence-shared zoe",
        "member_removed presence-zoe yan",
        "member_removed presence-zoe zoe",
    ];
    expected.extend(left);
    expected.sort_unstable();
    eventually("the backend knows who has left", async || hooks.events() == expected).await;
    ben.until("she has gone", |client| client.members("presence-shared") == ["ben"]).await;
    // Nothing comes twice.
    ben.listen(LEASE * 2).await;
    assert_eq!(hooks.events(), expected);
}

#[tokio::test]
async fn a_node_frozen_for_longer_than_its_lease() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 3).await;
    let frozen = scene.nodes.pop().unwrap();
    let client = scene.clients.pop().unwrap();
    let fault = async |nodes: &[Node]| {
        frozen.program.freeze();
        for node in nodes {
            node.is_ready(1).await;
        }
        sleep(LEASE).await;
    };
    scene.under_load(fault, every_pair).await;
    for client in &mut scene.clients {
        client.until("it has gone", |client| client.members(ROOM) == ["u0", "u1"]).await;
    }
    frozen.program.thaw();
    scene.nodes.push(frozen);
    scene.clients.push(client);
    scene.is_well().await;
    // The frozen node's own client saw nobody leave.
    assert_eq!(scene.leaves(), [1, 1, 0]);
}

#[tokio::test]
async fn a_node_cut_off_from_redis() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 3).await;
    let fault = async |nodes: &[Node]| {
        nodes[2].way().cut();
        is_lost(&nodes[2..]).await;
        let reply = nodes[2].publish("elsewhere", 0).await;
        assert_eq!((reply.status, reply.is_local_only()), (200, true));
        for node in &nodes[..2] {
            node.is_ready(1).await;
            assert!(!node.publish("elsewhere", 0).await.is_local_only());
        }
        nodes[2].way().mend();
    };
    // Between the other two nodes nothing is lost.
    scene.under_load(fault, |from, to| from != 2 && to != 2).await;
    scene.is_well().await;
    assert_eq!(scene.leaves(), [1, 1, 0]);
    // It has missed events of the others, and they have missed its own.
    for client in &mut scene.clients {
        client.until("the gap", |client| client.channels[ROOM].gaps == 1).await;
    }
}

#[tokio::test]
async fn two_nodes_cut_off_from_each_other() {
    // Two separate Redis servers, with one node each.
    let server = redis();
    let other = redis();
    let mut scene = Scene::on_redis(&server, 2).await;
    let fault = async |nodes: &[Node]| {
        // The proxy of the second node leads to another Redis server, as after a split.
        nodes[1].way().redirect(other.port);
        for node in nodes {
            node.is_ready(0).await;
            // The node that has reconnected waits for the other one for a while.
            let is_whole = async || !node.publish("elsewhere", 0).await.is_local_only();
            eventually("each bus takes what it is given", is_whole).await;
        }
        nodes[1].way().redirect(server.port);
    };
    scene.under_load(fault, no_pair).await;
    scene.is_well().await;
    assert_eq!(scene.leaves(), [1, 1]);
}

#[tokio::test]
async fn a_slow_bus() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 2).await;
    let fault = async |nodes: &[Node]| {
        for node in nodes {
            node.way().delay(Duration::from_millis(200));
        }
        for node in nodes {
            // A round trip.
            let is_slow = async || node.measured("clarim_bus_lag_seconds").await >= 0.4;
            eventually("it is measured", is_slow).await;
        }
    };
    scene.under_load(fault, every_pair).await;
    scene.is_well().await;
    let begun = Instant::now();
    let late = Client::on(&scene.nodes[0], "presence-late", "zoe").await;
    assert_eq!(late.members("presence-late"), ["zoe"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(scene.leaves(), [0, 0]);
}

#[tokio::test]
async fn subscribers_of_a_node_that_was_cut_off_are_sent_away() {
    let server = redis();
    let settings = ["CLARIM_SCALING_GAP=reconnect"];
    let nodes = [Node::by_way(server.port, &settings), Node::by_way(server.port, &settings)];
    for node in &nodes {
        node.is_ready(1).await;
    }
    let mut stays = Client::on(&nodes[0], "news", "").await;
    let mut goes = Client::on(&nodes[1], "news", "").await;
    nodes[1].way().cut();
    is_lost(&nodes[1..]).await;
    assert_eq!(nodes[0].publish("news", 1).await.status, 200);
    nodes[1].way().mend();
    goes.until("the end", |client| client.closed).await;
    let mut back = Client::on(&nodes[1], "news", "").await;
    assert_eq!(nodes[0].publish("news", 2).await.status, 200);
    for client in [&mut stays, &mut back] {
        client.until("an event", |client| client.channels["news"].order.last() == Some(&2)).await;
    }
    assert!(!stays.closed && goes.channels["news"].order.is_empty());
}

#[tokio::test]
async fn a_monitor_on_redis_delays_no_subscription() {
    let server = redis();
    let url = server.url("redis");
    let port = server.port.to_string();
    let mut monitor = std::process::Command::new("redis-cli")
        .args(["-p", &port, "PSUBSCRIBE", "*"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Longer than the test may take.
    let nodes = [(); 2].map(|()| Node::start(&url, &["CLARIM_SCALING_TIMEOUT=60000"]));
    for node in &nodes {
        node.is_ready(1).await;
    }
    let begun = Instant::now();
    let ana = Client::on(&nodes[0], ROOM, "ana").await;
    let ben = Client::on(&nodes[1], ROOM, "ben").await;
    assert_eq!((ana.members(ROOM), ben.members(ROOM)), (vec!["ana"], vec!["ana", "ben"]));
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    monitor.kill().unwrap();
    monitor.wait().unwrap();
}

#[tokio::test]
async fn a_strict_node_refuses_events_while_the_bus_is_down() {
    let mut server = redis();
    let node = Node::by_way(server.port, &["CLARIM_SCALING_STRICT=true"]);
    node.is_ready(0).await;
    assert_eq!(node.publish("news", 1).await.status, 200);
    server.kill();
    eventually("it is reported", async || node.get("/ready").await.status == 503).await;
    let reply = node.publish("news", 2).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("nothing was published"), "{reply:?}");
    assert!(reply.head.contains("retry-after"));
}

#[tokio::test]
async fn a_strict_node_refuses_events_until_the_others_are_back_or_dead() {
    let mut server = redis();
    let url = server.url("redis");
    // The other node is awaited for two leases, and a busy machine needs time for the first request.
    let settings = ["CLARIM_SCALING_STRICT=true", "CLARIM_SCALING_LEASE=8"];
    let node = Node::start(&url, &settings);
    let mut other = Node::start(&url, &[]);
    node.is_ready(1).await;
    server.kill();
    eventually("it is reported", async || node.get("/ready").await.status == 503).await;
    other.program.kill();
    server.restart();
    eventually("the bus is back", async || node.get("/ready").await.status == 200).await;
    let reply = node.publish("news", 1).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.body.contains("1 nodes are not back"), "{reply:?}");
    let is_accepted = async || node.publish("news", 2).await.status == 200;
    eventually("the other node is dead", is_accepted).await;
}

#[tokio::test]
async fn a_node_starts_without_its_bus() {
    let mut server = redis();
    server.kill();
    let node = Node::by_way(server.port, &[]);
    assert_eq!(node.get("/up").await.status, 200);
    assert_eq!(node.get("/ready").await.status, 503);
    let mut client = Client::on(&node, ROOM, "ana").await;
    node.publish(ROOM, 1).await;
    client.until("the event", |client| client.events(ROOM, &node) == [1]).await;
    server.restart();
    node.is_ready(0).await;
}
