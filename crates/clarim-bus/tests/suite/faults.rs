//! What happens when a bus goes away, and comes back.

use std::time::{Duration, Instant};

use clarim_bus::{Address, Bus, Event};
use clarim_testing::{Program, Proxy, RedisCluster, Sentinels, nats, redis};

use crate::buses::{of_nats, of_redis};
use crate::listener::Listener;

async fn wait_for_down(bus: &mut Listener) {
    bus.wait("that it is lost", |event| matches!(event, Event::Down(_))).await;
}

async fn wait_for_up(bus: &mut Listener) {
    bus.wait("that it is back", |event| *event == Event::Up).await;
}

/// Publishes until a message is taken; the number of the one that was.
async fn until_taken(bus: &mut Listener, subject: &str, mut ticket: u64) -> u64 {
    loop {
        bus.bus.publish(subject, ticket.to_string().into(), ticket);
        if bus.fate(ticket).await.is_some() {
            return ticket;
        }
        ticket += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn killed_and_started_again(mut server: Program, address: &Address) {
    let (mut talker, mut listener) = (Listener::new(address).await, Listener::new(address).await);
    listener.subscribe("kept").await;
    listener.subscribe("given up meanwhile").await;
    for ticket in 0..200 {
        talker.bus.publish("kept", "before".into(), ticket);
    }
    server.kill();
    for bus in [&mut talker, &mut listener] {
        wait_for_down(bus).await;
    }
    // Each of them is told what has become of it, and what is published now is lost at once.
    talker.bus.publish("kept", "lost".into(), 200);
    for ticket in 0..=200 {
        talker.fate(ticket).await;
    }
    listener.bus.unsubscribe("given up meanwhile");
    listener.bus.subscribe("new meanwhile");
    server.restart();
    for bus in [&mut talker, &mut listener] {
        wait_for_up(bus).await;
    }
    listener.seen.clear();
    for (ticket, subject) in (300..).zip(["kept", "given up meanwhile", "new meanwhile"]) {
        talker.bus.publish(subject, "after".into(), ticket);
        assert!(talker.fate(ticket).await.is_some());
    }
    assert_eq!(listener.messages("kept", 1).await, [b"after"], "and not what was lost");
    assert_eq!(listener.messages("new meanwhile", 1).await, [b"after"]);
    let rest = listener.drain().await;
    assert!(!rest.iter().any(|event| matches!(event, Event::Message { .. })), "{rest:?}");
}

async fn frozen(server: Program, address: &Address) {
    let (mut talker, mut listener) = (Listener::new(address).await, Listener::new(address).await);
    listener.subscribe("kept").await;
    server.freeze();
    let begun = Instant::now();
    // More than is kept: the rest is lost at once, and memory stays bounded.
    let chunk = vec![0; 1 << 20];
    for ticket in 0..40 {
        talker.bus.publish("kept", chunk.clone().into(), ticket);
    }
    for ticket in 0..40 {
        assert_eq!(talker.fate(ticket).await, None);
    }
    wait_for_down(&mut talker).await;
    wait_for_down(&mut listener).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "noticed after {:?}", begun.elapsed());
    server.thaw();
    wait_for_up(&mut talker).await;
    wait_for_up(&mut listener).await;
    listener.drain().await;
    let taken = until_taken(&mut talker, "kept", 100).await;
    assert_eq!(listener.messages("kept", 1).await, [taken.to_string().into_bytes()]);
}

#[tokio::test]
async fn redis_killed_and_started_again() {
    let server = redis();
    let address = of_redis(&server);
    killed_and_started_again(server, &address).await;
}

#[tokio::test]
async fn nats_killed_and_started_again() {
    let server = nats(&[]);
    let address = of_nats(&server);
    killed_and_started_again(server, &address).await;
}

#[tokio::test]
async fn redis_frozen() {
    let server = redis();
    let address = of_redis(&server);
    frozen(server, &address).await;
}

#[tokio::test]
async fn nats_frozen() {
    let server = nats(&[]);
    let address = of_nats(&server);
    frozen(server, &address).await;
}

#[tokio::test]
async fn a_bus_that_is_not_there_yet_is_waited_for() {
    let mut server = redis();
    let mut bus = {
        server.kill();
        Listener { bus: of_redis(&server).connect(), seen: Default::default() }
    };
    bus.bus.subscribe("early");
    wait_for_down(&mut bus).await;
    server.restart();
    wait_for_up(&mut bus).await;
    bus.bus.publish("early", "at last".into(), 1);
    assert_eq!(bus.messages("early", 1).await, [b"at last"]);
}

#[tokio::test]
async fn a_slow_way_loses_nothing() {
    let server = redis();
    let proxy = Proxy::to(server.port);
    let address = Address::parse(&format!("redis://127.0.0.1:{}", proxy.port)).unwrap();
    let mut bus = Listener::new(&address).await;
    bus.subscribe("slow").await;
    proxy.delay(Duration::from_millis(200));
    for ticket in 0..500 {
        bus.bus.publish("slow", ticket.to_string().into(), ticket);
    }
    let expected: Vec<Vec<u8>> = (0..500).map(|n: u32| n.to_string().into_bytes()).collect();
    assert_eq!(bus.messages("slow", 500).await, expected);
    assert_eq!(bus.fate(0).await, Some(Some(1)));
}

#[tokio::test]
async fn sentinels_name_another_master() {
    let mut servers = Sentinels::start();
    let address = Address::parse(&servers.url()).unwrap();
    let (mut talker, mut listener) = (Listener::new(&address).await, Listener::new(&address).await);
    listener.subscribe("kept").await;
    servers.servers[0].kill();
    wait_for_down(&mut listener).await;
    wait_for_up(&mut listener).await;
    let taken = until_taken(&mut talker, "kept", 1).await;
    assert_eq!(listener.messages("kept", 1).await, [taken.to_string().into_bytes()]);
    // The old master comes back as a replica; nobody listens to it.
    servers.servers[0].restart();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let taken = until_taken(&mut talker, "kept", 1000).await;
    assert_eq!(listener.messages("kept", 1).await, [taken.to_string().into_bytes()]);
}

#[tokio::test]
async fn a_slot_of_the_cluster_moves() {
    let cluster = RedisCluster::start();
    let address = Address::parse(&cluster.url()).unwrap();
    let (mut talker, mut listener) = (Listener::new(&address).await, Listener::new(&address).await);
    listener.subscribe("moves").await;
    listener.subscribe("stays").await;
    let from = cluster.master_of("moves");
    let to = cluster.other_master(from);
    cluster.move_slot(cluster.slot("moves"), from, to);
    wait_for_down(&mut listener).await;
    wait_for_up(&mut listener).await;
    let taken = until_taken(&mut talker, "moves", 1).await;
    assert_eq!(listener.messages("moves", 1).await, [taken.to_string().into_bytes()]);
    let taken = until_taken(&mut talker, "stays", 1000).await;
    assert_eq!(listener.messages("stays", 1).await, [taken.to_string().into_bytes()]);
}

#[tokio::test]
async fn a_master_of_the_cluster_dies() {
    let mut cluster = RedisCluster::start();
    let address = Address::parse(&cluster.url()).unwrap();
    let (mut talker, mut listener) = (Listener::new(&address).await, Listener::new(&address).await);
    listener.subscribe("kept").await;
    let master = cluster.master_of("kept");
    cluster.servers[master].kill();
    wait_for_down(&mut listener).await;
    wait_for_up(&mut listener).await;
    wait_for_up(&mut talker).await;
    let taken = until_taken(&mut talker, "kept", 1).await;
    assert_eq!(listener.messages("kept", 1).await, [taken.to_string().into_bytes()]);
}
