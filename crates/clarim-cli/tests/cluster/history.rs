//! Subscribers of a channel with history, through faults. Every event that a node has accepted is heard once
//! and in order, by subscribers whose connections move from node to node all the time. A subscriber that
//! misses something gets a gap.

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarim_client::{Client, Options, Update};
use clarim_testing::{
    Program, Proxy, RedisCluster, Sentinels, nats_with_jetstream, redis, redis_with,
};
use serde_json::json;
use tokio::time::{sleep, timeout};

use crate::node::{Node, eventually, post};

const CHANNEL: &str = "news";
const HISTORY: &str = "CLARIM_APP_HISTORY=news:10000:10m";
const SUBSCRIBERS: usize = 6;
/// Number of events before a fault, and again when it is over.
const STRETCH: u64 = 50;

/// Everything that a subscriber has heard.
#[derive(Debug, Default, Clone)]
struct Record {
    events: Vec<u64>,
    gaps: Vec<String>,
}

/// A subscriber, behind a proxy that connects it to one node after the other.
struct Subscriber {
    way: Proxy,
    record: Arc<Mutex<Record>>,
    _client: Client,
}

impl Subscriber {
    async fn on(node: &Node) -> Self {
        let way = Proxy::to(node.program.port);
        let options = Options::new("key")
            .host("127.0.0.1", way.port)
            .reconnect_after(Duration::from_millis(50), Duration::from_millis(500));
        let client = Client::connect(options).unwrap();
        let mut channel = client.channel(CHANNEL);
        channel.subscribed().await.unwrap();
        let record: Arc<Mutex<Record>> = Arc::default();
        let heard = record.clone();
        tokio::spawn(async move {
            while let Some(update) = channel.next().await {
                let mut record = heard.lock().unwrap();
                match update {
                    Update::Event(event) => record.events.push(event.data().unwrap()),
                    Update::Gap { reason, .. } => record.gaps.push(reason.to_string()),
                    Update::Missed(count) => panic!("the test has not read {count} updates"),
                    _ => {}
                }
            }
        });
        Self { way, record, _client: client }
    }

    fn record(&self) -> Record {
        self.record.lock().unwrap().clone()
    }
}

/// Publishes event `n` until a node has accepted it.
async fn publish(ports: &[u16], n: u64) {
    let key = format!("event-{n}");
    let body =
        json!({ "name": "E", "channel": CHANNEL, "data": n.to_string(), "idempotency_key": key });
    for port in ports.iter().cycle().skip(usize::try_from(n).unwrap()) {
        let request = post(*port, "/apps/1/events", &body);
        match timeout(Duration::from_secs(10), request).await {
            Ok(Ok(reply)) if reply.status == 200 => return,
            Ok(Ok(reply)) => assert_eq!(reply.status, 503, "{reply:?}"),
            // The node is down, or does not respond: it may or may not have the event.
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// The effect of a fault on subscribers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hear {
    /// All events.
    All,
    /// All events, or a gap where some are missing.
    AllOrGap,
    /// A gap: the store has lost its events.
    Gap,
}

/// Publishes events, and moves subscribers, until `fault` is over.
async fn through(mut nodes: Vec<Node>, fault: impl AsyncFnOnce(&mut Vec<Node>), hear: Hear) {
    for node in &nodes {
        node.is_ready(nodes.len() as u64 - 1).await;
    }
    let ports: Vec<u16> = nodes.iter().map(|node| node.program.port).collect();
    let mut subscribers = Vec::new();
    for node in nodes.iter().cycle().take(SUBSCRIBERS) {
        subscribers.push(Subscriber::on(node).await);
    }
    let last = Cell::new(0);
    let is_done = Cell::new(false);
    let publishing = async {
        while !is_done.get() {
            publish(&ports, last.get() + 1).await;
            last.set(last.get() + 1);
            sleep(Duration::from_millis(5)).await;
        }
    };
    let moving = async {
        for (n, subscriber) in subscribers.iter().cycle().enumerate() {
            sleep(Duration::from_millis(150)).await;
            if is_done.get() {
                break;
            }
            // Another node in each round.
            subscriber.way.redirect(ports[(n + n / SUBSCRIBERS + 1) % ports.len()]);
        }
    };
    let published_more = async |count: u64| {
        let until = last.get() + count;
        eventually("more events", async || last.get() >= until).await;
    };
    let causing = async {
        published_more(STRETCH).await;
        fault(&mut nodes).await;
        for node in &nodes {
            node.is_ready(nodes.len() as u64 - 1).await;
        }
        published_more(STRETCH).await;
        is_done.set(true);
    };
    tokio::join!(publishing, moving, causing);
    let last = last.get();
    for (n, subscriber) in subscribers.iter().enumerate() {
        subscriber.way.redirect(nodes[n % nodes.len()].program.port);
        eventually("the last event", async || subscriber.record().events.last() == Some(&last))
            .await;
        check(&subscriber.record(), last, hear);
    }
}

fn check(Record { events, gaps }: &Record, last: u64, hear: Hear) {
    assert!(events.is_sorted_by(|a, b| a < b), "doubled, or out of order: {events:?}");
    let missing: Vec<u64> = (1..=last).filter(|n| events.binary_search(n).is_err()).collect();
    match hear {
        Hear::All => {
            assert!(missing.is_empty() && gaps.is_empty(), "of {last}: {missing:?}, {gaps:?}");
        }
        Hear::AllOrGap => {
            assert!(missing.is_empty() || !gaps.is_empty(), "of {last}: {missing:?}, {gaps:?}");
        }
        Hear::Gap => assert!(!gaps.is_empty(), "of {last}: {missing:?}"),
    }
}

fn three_nodes(url: &str) -> Vec<Node> {
    (0..3).map(|_| Node::start(url, &[HISTORY])).collect()
}

#[tokio::test]
async fn a_node_is_killed() {
    let server = redis();
    let fault = async |nodes: &mut Vec<Node>| killed_for_a_second(&mut nodes[0].program).await;
    through(three_nodes(&server.url("redis")), fault, Hear::All).await;
}

#[tokio::test]
async fn nodes_are_started_anew_one_after_the_other() {
    let server = redis();
    let fault = async |nodes: &mut Vec<Node>| {
        for node in nodes {
            node.program.interrupt();
            sleep(Duration::from_secs(1)).await;
            node.program.restart();
            node.is_ready(2).await;
        }
    };
    through(three_nodes(&server.url("redis")), fault, Hear::All).await;
}

#[tokio::test]
async fn redis_is_killed_and_has_saved_its_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let mut server = redis_with(&["--appendonly", "yes", "--appendfsync", "always", "--dir", path]);
    let nodes = three_nodes(&server.url("redis"));
    through(nodes, async |_| killed_for_a_second(&mut server).await, Hear::All).await;
}

#[tokio::test]
async fn redis_is_killed_and_has_saved_nothing() {
    let mut server = redis();
    let nodes = three_nodes(&server.url("redis"));
    through(nodes, async |_| killed_for_a_second(&mut server).await, Hear::Gap).await;
}

#[tokio::test]
async fn nats_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = nats_with_jetstream(folder.path(), &[]);
    let nodes = three_nodes(&server.url("nats"));
    through(nodes, async |_| killed_for_a_second(&mut server).await, Hear::All).await;
}

async fn killed_for_a_second(server: &mut Program) {
    server.kill();
    sleep(Duration::from_secs(1)).await;
    server.restart();
}

#[tokio::test]
async fn the_bus_is_frozen() {
    let server = redis();
    let nodes = three_nodes(&server.url("redis"));
    let fault = async |_: &mut Vec<Node>| {
        server.freeze();
        sleep(Duration::from_secs(30)).await;
        server.thaw();
    };
    through(nodes, fault, Hear::All).await;
}

#[tokio::test]
async fn a_node_is_without_the_bus() {
    let server = redis();
    let nodes = (0..3).map(|_| Node::by_way(server.port, &[HISTORY])).collect();
    let fault = async |nodes: &mut Vec<Node>| {
        nodes[0].way().cut();
        sleep(Duration::from_secs(5)).await;
        nodes[0].way().mend();
    };
    through(nodes, fault, Hear::All).await;
}

/// Redis copies to replicas without waiting for them, so the last events may be lost.
#[tokio::test]
async fn a_replica_takes_over() {
    let mut servers = Sentinels::start();
    let nodes = three_nodes(&servers.url());
    let fault = async |nodes: &mut Vec<Node>| {
        servers.servers[0].kill();
        for node in nodes {
            eventually("it is noticed", async || node.metric("clarim_bus_up").await == 0).await;
        }
    };
    through(nodes, fault, Hear::AllOrGap).await;
}

#[tokio::test]
async fn the_history_moves_to_another_master() {
    let cluster = RedisCluster::start();
    let nodes = three_nodes(&cluster.url());
    let subject = format!("reverb:channel:1:{CHANNEL}");
    let from = cluster.master_of(&subject);
    let to = cluster.other_master(from);
    let fault = async |_: &mut Vec<Node>| {
        cluster.move_slot(cluster.slot(&subject), from, to);
        sleep(Duration::from_secs(1)).await;
    };
    through(nodes, fault, Hear::All).await;
}
