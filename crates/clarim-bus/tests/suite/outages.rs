//! Servers that go away, and failovers.

use std::time::Duration;

use clarim_bus::suite::{self, Outcome, Probe};
use clarim_testing::{Proxy, RedisCluster, Sentinels, nats, redis};
use tokio::time::sleep;

use crate::servers::{Server, bus, nats_bus, redis_bus};

#[tokio::test]
async fn redis_outages() {
    let mut server = Server(redis());
    suite::run_with_outages(&redis_bus(&server.0), &mut server).await;
}

#[tokio::test]
async fn nats_outages() {
    let mut server = Server(nats(&[]));
    suite::run_with_outages(&nats_bus(&server.0), &mut server).await;
}

#[tokio::test]
async fn a_slow_network_loses_nothing() {
    let server = redis();
    let proxy = Proxy::to(server.port);
    let mut probe = Probe::connect(&bus(&format!("redis://127.0.0.1:{}", proxy.port))).await;
    probe.subscribe("slow").await;
    proxy.delay(Duration::from_millis(200));
    for id in 0..500 {
        probe.publish("slow", id.to_string(), id);
    }
    let expected: Vec<String> = (0..500).map(|id: u32| id.to_string()).collect();
    probe.expect_messages("slow", &expected).await;
    assert_eq!(probe.outcome(0).await, Outcome::Published(Some(1)));
}

#[tokio::test]
async fn redis_sentinel_failover() {
    let mut servers = Sentinels::start();
    let bus = bus(&servers.url());
    let mut publisher = Probe::connect(&bus).await;
    let mut subscriber = Probe::connect(&bus).await;
    subscriber.subscribe("kept").await;
    servers.servers[0].kill();
    subscriber.disconnected().await;
    subscriber.connected().await;
    let accepted = publisher.publish_until_accepted("kept", 1).await;
    subscriber.expect_messages("kept", &[accepted]).await;
    // The old master comes back as a replica, which no connection may use.
    servers.servers[0].restart();
    sleep(Duration::from_secs(3)).await;
    let accepted = publisher.publish_until_accepted("kept", 1000).await;
    subscriber.expect_messages("kept", &[accepted]).await;
}

#[tokio::test]
async fn redis_cluster_moves_a_slot() {
    let cluster = RedisCluster::start();
    let bus = bus(&cluster.url());
    let mut publisher = Probe::connect(&bus).await;
    let mut subscriber = Probe::connect(&bus).await;
    subscriber.subscribe("moves").await;
    subscriber.subscribe("stays").await;
    let from = cluster.master_of("moves");
    let to = cluster.other_master(from);
    cluster.move_slot(cluster.slot("moves"), from, to);
    subscriber.disconnected().await;
    subscriber.connected().await;
    let accepted = publisher.publish_until_accepted("moves", 1).await;
    subscriber.expect_messages("moves", &[accepted]).await;
    let accepted = publisher.publish_until_accepted("stays", 1000).await;
    subscriber.expect_messages("stays", &[accepted]).await;
}

#[tokio::test]
async fn redis_cluster_loses_a_master() {
    let mut cluster = RedisCluster::start();
    let bus = bus(&cluster.url());
    let mut publisher = Probe::connect(&bus).await;
    let mut subscriber = Probe::connect(&bus).await;
    subscriber.subscribe("kept").await;
    let master = cluster.master_of("kept");
    cluster.servers[master].kill();
    subscriber.disconnected().await;
    subscriber.connected().await;
    publisher.connected().await;
    let accepted = publisher.publish_until_accepted("kept", 1).await;
    subscriber.expect_messages("kept", &[accepted]).await;
}
