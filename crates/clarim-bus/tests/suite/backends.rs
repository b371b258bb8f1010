//! Every backend, and every way to authenticate.

use std::time::Duration;

use clarim_bus::suite::{self, Outcome, Probe, Reports};
use clarim_bus::{Bus, BusEvent, FileBus, MemoryBus};
use clarim_testing::{
    Guard, Operator, RedisCluster, Sentinels, nats, nats_cluster, redis, redis_with,
};
use tokio::time::sleep;

use crate::servers::{bus, nats_bus, redis_bus};

#[tokio::test]
async fn memory() {
    suite::run(&MemoryBus::new().into(), Reports::Receivers).await;
}

#[tokio::test]
async fn file() {
    let folder = tempfile::tempdir().unwrap();
    let bus = FileBus::open(&folder.path().join("history.db")).unwrap();
    suite::run(&bus.into(), Reports::Receivers).await;
}

#[tokio::test]
async fn memory_reports_the_first_subscriber_too() {
    let bus = Bus::new(MemoryBus::new());
    let mut a = Probe::connect(&bus).await;
    let mut b = Probe::connect(&bus).await;
    assert!(a.subscribe("news").await);
    assert!(!b.subscribe("news").await);
}

#[tokio::test]
async fn memory_disconnects_a_slow_consumer() {
    let bus = Bus::new(MemoryBus::new());
    let mut publisher = Probe::connect(&bus).await;
    let mut slow = Probe::connect(&bus).await;
    slow.subscribe("news").await;
    for id in 0..80 {
        publisher.publish("news", vec![0; 1 << 20], id);
        publisher.outcome(id).await;
    }
    assert!(slow.disconnected().await.starts_with("slow consumer: more than 67108864 bytes"));
    slow.connected().await;
}

#[tokio::test]
async fn redis_single() {
    let server = redis();
    suite::run(&redis_bus(&server), Reports::Receivers).await;
}

#[tokio::test]
async fn redis_with_a_password() {
    let server = redis_with(&["--requirepass", "s:cr/t"]);
    let url = format!("redis://:s%3Acr%2Ft@127.0.0.1:{}/2", server.port);
    suite::run(&bus(&url), Reports::Receivers).await;
}

/// A user with the rights that a bus needs. In a cluster it needs one more.
pub(crate) const USER: &[&str] = &[
    "--user",
    "bus",
    "on",
    ">secret",
    "resetchannels",
    "&*",
    "-@all",
    "+@pubsub",
    "+hello",
    "+select",
    "+client",
    "+ping",
    "+role",
];

#[tokio::test]
async fn redis_with_a_restricted_user() {
    let server = redis_with(USER);
    let url = format!("redis://bus:secret@127.0.0.1:{}", server.port);
    suite::run(&bus(&url), Reports::Receivers).await;
}

#[tokio::test]
async fn redis_cluster_with_a_restricted_user() {
    let user = [USER, &["+cluster|slots"]].concat();
    let cluster = RedisCluster::guarded(Guard::default(), &user);
    let url = cluster.url().replace("://", "://bus:secret@");
    suite::run(&bus(&url), Reports::Receivers).await;
}

#[tokio::test]
async fn redis_sentinel_with_passwords() {
    let servers = Sentinels::guarded(Guard { password: Some("hush"), certificate: None });
    suite::run(&bus(&servers.url()), Reports::Receivers).await;
}

#[tokio::test]
async fn redis_sentinel() {
    let servers = Sentinels::start();
    suite::run(&bus(&servers.url()), Reports::Receivers).await;
}

#[tokio::test]
async fn redis_cluster() {
    let cluster = RedisCluster::start();
    suite::run(&bus(&cluster.url()), Reports::Receivers).await;
}

#[tokio::test]
async fn nats_single() {
    let server = nats(&[]);
    suite::run(&nats_bus(&server), Reports::FirstSubscriber).await;
}

#[tokio::test]
async fn nats_loses_only_the_message_that_it_cannot_carry() {
    let server = nats(&[]);
    let mut probe = Probe::connect(&nats_bus(&server)).await;
    probe.subscribe("news").await;
    // NATS accepts 1 MiB.
    for (id, bytes) in [(1, 1 << 20), (2, (1 << 20) + 1), (3, 10 << 20), (4, 1 << 20)] {
        probe.publish("news", vec![0; bytes], id);
        let is_accepted = bytes == 1 << 20;
        assert_eq!(probe.outcome(id).await != Outcome::Lost, is_accepted, "{bytes} bytes");
    }
    let sizes: Vec<usize> = probe.messages("news", 2).await.iter().map(|m| m.len()).collect();
    assert_eq!(sizes, [1 << 20; 2]);
}

#[tokio::test]
async fn nats_with_a_password() {
    let server = nats(&["--user", "bus", "--pass", "s:cret"]);
    let url = format!("nats://bus:s%3Acret@127.0.0.1:{}", server.port);
    suite::run(&bus(&url), Reports::FirstSubscriber).await;
}

#[tokio::test]
async fn nats_with_a_token() {
    let server = nats(&["--auth", "t0ken:/x"]);
    let url = format!("nats://t0ken%3A%2Fx@127.0.0.1:{}", server.port);
    suite::run(&bus(&url), Reports::FirstSubscriber).await;
}

#[tokio::test]
async fn nats_with_a_credentials_file() {
    let operator = Operator::new();
    let server = nats(&["-c", &operator.settings()]);
    let url = format!("nats://127.0.0.1:{}?credentials={}", server.port, operator.credentials());
    suite::run(&bus(&url), Reports::FirstSubscriber).await;
    let error = Probe::new(&nats_bus(&server)).disconnected().await;
    assert!(error.contains("uthoriz"), "without credentials: {error}");
}

#[tokio::test]
async fn nats_cluster_survives_the_loss_of_any_server() {
    let mut servers = nats_cluster(3);
    let hosts: Vec<String> = servers.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
    let bus = bus(&format!("nats://{}", hosts.join(",")));
    let mut publisher = Probe::connect(&bus).await;
    let mut subscriber = Probe::connect(&bus).await;
    subscriber.subscribe("kept").await;
    for (at, server) in servers.iter_mut().enumerate() {
        server.kill();
        let sent = at.to_string();
        for id in 0.. {
            publisher.publish("kept", sent.clone(), id);
            let is_accepted = publisher.outcome(id).await != Outcome::Lost;
            sleep(Duration::from_millis(100)).await;
            let is_sent = |event: &BusEvent| match event {
                BusEvent::Message { payload, .. } => *payload == sent,
                _ => false,
            };
            let is_received = subscriber.drain().await.iter().any(is_sent);
            if is_accepted && is_received {
                break;
            }
            assert!(id < 100, "no message arrives over the other servers");
        }
        server.restart();
    }
}

/// The subjects of nodes, as far as the bus lists them.
async fn subjects(bus: &Bus) -> Option<Vec<String>> {
    let mut probe = Probe::connect(bus).await;
    for subject in ["b:node:1", "a:node:2", "a:nodes"] {
        probe.subscribe(subject).await;
    }
    bus.subjects("*:node:*").await.unwrap()
}

#[tokio::test]
async fn redis_lists_subjects_and_nats_does_not() {
    let expected = Some(vec!["a:node:2".to_owned(), "b:node:1".to_owned()]);
    let server = redis();
    assert_eq!(subjects(&redis_bus(&server)).await, expected);
    let cluster = RedisCluster::start();
    assert_eq!(subjects(&bus(&cluster.url())).await, expected);
    let server = nats(&[]);
    assert_eq!(subjects(&nats_bus(&server)).await, None);
}
