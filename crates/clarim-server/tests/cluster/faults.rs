//! What clients see when something breaks: nothing is lost outside the gap, nothing comes twice or out of
//! order, and in the end presence is what is true.

use std::cell::Cell;
use std::time::{Duration, Instant};

use clarim_testing::{Program, RedisCluster, Sentinels, nats, redis};
use tokio::time::sleep;

use crate::client::Client;
use crate::node::{LEASE, Node, eventually};

/// Nodes on one Redis, each by a way that can be broken, and a client of each on a presence channel.
struct Scene {
    nodes: Vec<Node>,
    clients: Vec<Client>,
    /// Of the next event of any node.
    n: usize,
}

const ROOM: &str = "presence-room";

impl Scene {
    async fn of(nodes: Vec<Node>) -> Self {
        for node in &nodes {
            node.is_ready(nodes.len() as u64 - 1).await;
        }
        let mut clients = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            clients.push(Client::on(node, ROOM, &format!("u{n}")).await);
        }
        let mut scene = Self { nodes, clients, n: 0 };
        scene.all_know_all().await;
        scene
    }

    async fn on_redis(server: &Program, nodes: usize) -> Self {
        Self::of((0..nodes).map(|_| Node::by_way(server.port, &[])).collect()).await
    }

    async fn all_know_all(&mut self) {
        let all = self.clients.len();
        for client in &mut self.clients {
            client.until("all members", |client| client.members(ROOM).len() == all).await;
        }
    }

    /// Each node publishes so many events. Whether each of them was taken by the bus.
    async fn publish(&mut self, count: usize) -> bool {
        let mut whole = true;
        for _ in 0..count {
            for node in &self.nodes {
                let reply = node.publish(ROOM, self.n).await;
                assert_eq!(reply.status, 200, "{reply:?}");
                whole &= !reply.is_local_only();
            }
            self.n += 1;
        }
        whole
    }

    /// All is well again: all that is published from here on reaches everybody, and all are there.
    async fn is_well(&mut self) {
        for node in &self.nodes {
            node.is_ready(self.nodes.len() as u64 - 1).await;
        }
        self.all_know_all().await;
        let first = self.n as u64;
        assert!(self.publish(20).await, "an event stayed on its node");
        for client in &mut self.clients {
            for node in &self.nodes {
                let all = |events: &[u64]| events.iter().filter(|n| **n >= first).count() == 20;
                client.until("all events", |client| all(&client.events(ROOM, node))).await;
            }
        }
    }

    /// Events that a client got of its own node: none is ever lost there.
    fn assert_nothing_local_was_lost(&self) {
        for (client, node) in self.clients.iter().zip(&self.nodes) {
            let expected: Vec<u64> = (0..self.n as u64).collect();
            assert_eq!(client.events(ROOM, node), expected, "local events");
        }
    }

    fn leaves(&self) -> Vec<usize> {
        self.clients.iter().map(|client| client.channels[ROOM].leaves.len()).collect()
    }
}

/// The bus goes away and comes back, while everybody publishes: what each client gets of the other nodes is
/// all but one gap, which is that of the bus.
async fn bus_killed_under_load(server: &mut Program, scene: &mut Scene) {
    let (nodes, published, is_done) = (&scene.nodes, Cell::new(scene.n), Cell::new(false));
    let load = async {
        while !is_done.get() {
            for node in nodes {
                assert_eq!(node.publish(ROOM, published.get()).await.status, 200);
            }
            published.set(published.get() + 1);
            sleep(Duration::from_millis(5)).await;
        }
    };
    let fault = async {
        sleep(Duration::from_millis(300)).await;
        server.kill();
        // The one that is on its way now may be lost, and the one before, if the bus had not sent it on yet.
        let from = published.get() as u64 - 1;
        sleep(Duration::from_secs(1)).await;
        server.restart();
        for node in nodes {
            node.is_ready(nodes.len() as u64 - 1).await;
        }
        let to = published.get() as u64;
        sleep(Duration::from_millis(300)).await;
        is_done.set(true);
        from..=to
    };
    let (first, ((), gap)) = (scene.n as u64, tokio::join!(load, fault));
    scene.n = published.get();
    assert!(*gap.start() > first && *gap.end() < scene.n as u64, "{gap:?}, {}", scene.n);
    let expected: Vec<u64> = (first..scene.n as u64).filter(|n| !gap.contains(n)).collect();
    for client in &mut scene.clients {
        for node in &scene.nodes {
            let outside = |client: &Client| {
                let events = client.events(ROOM, node).into_iter();
                events.filter(|n| *n >= first && !gap.contains(n)).collect::<Vec<_>>()
            };
            client.until("all outside the gap", |client| outside(client) == expected).await;
        }
    }
}

async fn bus_killed_and_started_again(mut server: Program, nodes: Vec<Node>) {
    let mut scene = Scene::of(nodes).await;
    bus_killed_under_load(&mut server, &mut scene).await;
    scene.is_well().await;
    server.kill();
    for node in &scene.nodes {
        eventually("it is told", async || node.get("/ready").await.status == 503).await;
        assert_eq!(node.get("/up").await.status, 200);
    }
    assert!(!scene.publish(10).await, "answers say that events stay on their node");
    // New subscriptions are made, on this node alone.
    let mut alone = Client::on(&scene.nodes[0], "presence-alone", "zoe").await;
    alone.subscribe(ROOM, "u0").await;
    drop(alone);
    server.restart();
    scene.is_well().await;
    scene.assert_nothing_local_was_lost();
    assert_eq!(scene.leaves(), vec![0; scene.clients.len()], "nobody was said to have left");
}

#[tokio::test]
async fn redis_killed_and_started_again() {
    let server = redis();
    let nodes = (0..3).map(|_| Node::by_way(server.port, &[])).collect();
    bus_killed_and_started_again(server, nodes).await;
}

#[tokio::test]
async fn nats_killed_and_started_again() {
    let server = nats(&[]);
    let url = format!("nats://127.0.0.1:{}", server.port);
    let nodes = (0..3).map(|_| Node::start(&url, &[])).collect();
    bus_killed_and_started_again(server, nodes).await;
}

#[tokio::test]
async fn redis_frozen_for_half_a_minute() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 2).await;
    server.freeze();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        // Until it is noticed, who publishes waits for the bus; then no longer.
        scene.publish(1).await;
        sleep(Duration::from_millis(500)).await;
    }
    let memory = scene.nodes[0].metric("process_resident_memory_bytes").await;
    assert!(memory < 200 << 20, "{memory} bytes");
    server.thaw();
    scene.is_well().await;
    scene.assert_nothing_local_was_lost();
}

#[tokio::test]
async fn a_failover_by_sentinels() {
    let mut servers = Sentinels::start();
    let url = servers.url();
    let mut scene = Scene::of((0..2).map(|_| Node::start(&url, &[])).collect()).await;
    assert!(scene.publish(10).await);
    servers.servers[0].kill();
    while scene.publish(1).await {}
    scene.is_well().await;
    scene.assert_nothing_local_was_lost();
}

#[tokio::test]
async fn a_slot_moves_and_a_master_dies() {
    let mut cluster = RedisCluster::start();
    let url = cluster.url();
    let mut scene = Scene::of((0..2).map(|_| Node::start(&url, &[])).collect()).await;
    let subject = format!("reverb:channel:1:{ROOM}");
    let from = cluster.master_of(&subject);
    let to = cluster.other_master(from);
    cluster.move_slot(cluster.slot(&subject), from, to);
    scene.is_well().await;
    cluster.servers[to].kill();
    while scene.publish(1).await {}
    scene.is_well().await;
    scene.assert_nothing_local_was_lost();
    assert_eq!(scene.leaves(), [0, 0]);
}

#[tokio::test]
async fn a_node_killed() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 3).await;
    scene.nodes[2].program.kill();
    let begun = Instant::now();
    scene.nodes.pop();
    scene.clients.pop();
    for client in &mut scene.clients {
        client.until("it has gone", |client| client.members(ROOM) == ["u0", "u1"]).await;
        assert_eq!(client.channels[ROOM].leaves, ["u2"], "announced once");
    }
    assert!(begun.elapsed() < LEASE + Duration::from_secs(4), "{:?}", begun.elapsed());
    scene.is_well().await;
}

#[tokio::test]
async fn a_node_frozen_for_longer_than_its_lease() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 3).await;
    scene.nodes[2].program.freeze();
    for client in &mut scene.clients[..2] {
        client.until("it has gone", |client| client.members(ROOM) == ["u0", "u1"]).await;
    }
    sleep(LEASE).await;
    scene.nodes[2].program.thaw();
    scene.is_well().await;
    // The frozen node's own client was never told that anybody had left: nobody had.
    assert_eq!(scene.leaves(), [1, 1, 0]);
}

#[tokio::test]
async fn a_node_cut_off_from_redis() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 3).await;
    scene.nodes[2].way().cut();
    for client in &mut scene.clients[..2] {
        client.until("it has gone", |client| client.members(ROOM) == ["u0", "u1"]).await;
    }
    eventually("it is told", async || scene.nodes[2].get("/ready").await.status == 503).await;
    let reply = scene.nodes[2].publish(ROOM, scene.n).await;
    assert_eq!((reply.status, reply.is_local_only()), (200, true));
    for node in &scene.nodes[..2] {
        assert!(!node.publish(ROOM, scene.n).await.is_local_only());
    }
    scene.n += 1;
    scene.nodes[2].way().mend();
    scene.is_well().await;
    scene.assert_nothing_local_was_lost();
    assert_eq!(scene.leaves(), [1, 1, 0]);
}

#[tokio::test]
async fn two_nodes_cut_off_from_each_other() {
    // Two Redis servers that no longer agree: each node is alone with its own.
    let (server, other) = (redis(), redis());
    let mut scene = Scene::on_redis(&server, 2).await;
    // The way of the second node leads to another Redis, as after a split.
    scene.nodes[1].way().redirect(other.port);
    for (client, own) in scene.clients.iter_mut().zip(["u0", "u1"]) {
        client.until("the other has gone", |client| client.members(ROOM) == [own]).await;
    }
    assert!(scene.publish(5).await, "each bus takes what it is given");
    scene.nodes[1].way().redirect(server.port);
    scene.is_well().await;
    scene.assert_nothing_local_was_lost();
    assert_eq!(scene.leaves(), [1, 1]);
}

#[tokio::test]
async fn a_slow_bus() {
    let server = redis();
    let mut scene = Scene::on_redis(&server, 2).await;
    for node in &scene.nodes {
        node.way().delay(Duration::from_millis(200));
    }
    scene.is_well().await;
    let begun = Instant::now();
    let late = Client::on(&scene.nodes[0], "presence-late", "zoe").await;
    assert_eq!(late.members("presence-late"), ["zoe"]);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    scene.assert_nothing_local_was_lost();
    assert_eq!(scene.leaves(), [0, 0]);
}

#[tokio::test]
async fn a_strict_node_refuses_what_it_cannot_pass_on() {
    let mut server = redis();
    let node = Node::by_way(server.port, &["CLARIM_SCALING_STRICT=true"]);
    node.is_ready(0).await;
    assert_eq!(node.publish("news", 1).await.status, 200);
    server.kill();
    eventually("it is told", async || node.get("/ready").await.status == 503).await;
    let reply = node.publish("news", 2).await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("nothing was published"), "{reply:?}");
    assert!(reply.head.contains("retry-after"));
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
