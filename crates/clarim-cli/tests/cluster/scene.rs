//! Nodes under load, and clients that notice what is lost, doubled or out of order.

use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use clarim_testing::Program;
use futures_util::future::join_all;
use tokio::time::sleep;

use crate::client::Client;
use crate::node::Node;

/// Nodes on one bus, and a client of each node on a presence channel.
pub(crate) struct Scene {
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    /// Number of the next event of each node.
    n: usize,
}

pub(crate) const ROOM: &str = "presence-room";

impl Scene {
    pub(crate) async fn of(nodes: Vec<Node>) -> Self {
        for node in &nodes {
            node.is_ready(nodes.len() as u64 - 1).await;
        }
        let mut clients = Vec::new();
        for (n, node) in nodes.iter().enumerate() {
            clients.push(Client::on(node, ROOM, &format!("u{n}")).await);
        }
        let mut scene = Self { nodes, clients, n: 0 };
        scene.all_are_members().await;
        scene
    }

    pub(crate) async fn on_redis(server: &Program, nodes: usize) -> Self {
        Self::of((0..nodes).map(|_| Node::by_way(server.port, &[])).collect()).await
    }

    pub(crate) async fn all_are_members(&mut self) {
        let all = self.clients.len();
        for client in &mut self.clients {
            client.until("all members", |client| client.members(ROOM).len() == all).await;
        }
    }

    /// Publishes events on each node. Returns whether the bus accepted all of them.
    pub(crate) async fn publish(&mut self, count: usize) -> bool {
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

    /// Asserts that the fault is over: new events reach all clients, and all of them are members.
    pub(crate) async fn is_well(&mut self) {
        for node in &self.nodes {
            node.is_ready(self.nodes.len() as u64 - 1).await;
        }
        self.all_are_members().await;
        let first = self.n as u64;
        assert!(self.publish(20).await, "an event stayed on its node");
        for client in &mut self.clients {
            for node in &self.nodes {
                let all = |events: &[u64]| events.iter().filter(|n| **n >= first).count() == 20;
                client.until("all events", |client| all(&client.events(ROOM, node))).await;
            }
        }
    }

    /// Publishes on all nodes until `fault` returns. Each client must receive all events published before
    /// and after it, once and in order. Events published during the fault may be missing, but not on the
    /// publishing node, and not between nodes for which `is_whole` is true. Returns the numbers of all.
    pub(crate) async fn under_load(
        &mut self,
        fault: impl AsyncFnOnce(&[Node]),
        is_whole: impl Fn(usize, usize) -> bool,
    ) -> Range<u64> {
        let Self { nodes, clients, n } = self;
        let published = Cell::new(*n);
        let is_done = Cell::new(false);
        let first = *n as u64;
        let load = async {
            while !is_done.get() {
                for node in &*nodes {
                    assert_eq!(node.publish(ROOM, published.get()).await.status, 200);
                }
                published.set(published.get() + 1);
                sleep(Duration::from_millis(5)).await;
            }
        };
        let published_more = async |count: usize| {
            let until = published.get() + count;
            while published.get() < until {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let gap = async {
            published_more(20).await;
            // The current event may be lost, and the one before, if the bus had not forwarded it.
            let from = published.get() as u64 - 1;
            fault(nodes).await;
            for node in &*nodes {
                node.is_ready(nodes.len() as u64 - 1).await;
            }
            let to = published.get() as u64;
            published_more(20).await;
            is_done.set(true);
            from..=to
        };
        let hearing = join_all(clients.iter_mut().map(|client| client.listen_until(&is_done)));
        let ((), gap, _) = tokio::join!(load, gap, hearing);
        *n = published.get();
        assert!(*gap.start() > first && *gap.end() < *n as u64, "{gap:?}, {n}");
        for (to, client) in clients.iter_mut().enumerate() {
            for (from, node) in nodes.iter().enumerate() {
                let is_due =
                    |n: &u64| *n >= first && (to == from || is_whole(from, to) || !gap.contains(n));
                let expected: Vec<u64> = (first..*n as u64).filter(is_due).collect();
                let got = |client: &Client| -> Vec<u64> {
                    client.events(ROOM, node).into_iter().filter(is_due).collect()
                };
                client.until("all that is due", |client| got(client) == expected).await;
            }
        }
        first..*n as u64
    }

    pub(crate) fn leaves(&self) -> Vec<usize> {
        self.clients.iter().map(|client| client.channels[ROOM].leaves.len()).collect()
    }
}

/// Nothing is lost.
pub(crate) fn every_pair(_: usize, _: usize) -> bool {
    true
}
