//! The buses, and that each does what every bus must do.

use std::time::Duration;

use clarim_bus::{Address, Bus, Event, MemoryBus};
use clarim_testing::{
    Guard, Operator, Program, RedisCluster, Sentinels, nats, nats_cluster, redis, redis_with,
};

use crate::listener::Listener;
use crate::scenarios;

fn address(url: &str) -> Address {
    Address::parse(url).unwrap()
}

pub(crate) fn of_redis(server: &Program) -> Address {
    address(&server.url("redis"))
}

pub(crate) fn of_nats(server: &Program) -> Address {
    address(&server.url("nats"))
}

#[tokio::test]
async fn memory() {
    scenarios::all(&MemoryBus::new().into(), true).await;
}

#[tokio::test]
async fn one_redis() {
    let server = redis();
    scenarios::all(&of_redis(&server), true).await;
}

#[tokio::test]
async fn redis_with_a_password() {
    let server = redis_with(&["--requirepass", "s:cr/t"]);
    let port = server.port;
    scenarios::all(&address(&format!("redis://:s%3Acr%2Ft@127.0.0.1:{port}/2")), true).await;
}

/// Arguments for a user who may do what a bus needs; in a cluster it needs one right more.
const USER: [&str; 13] = [
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
async fn redis_with_a_user_who_may_do_little() {
    let server = redis_with(&USER);
    scenarios::all(&address(&format!("redis://bus:secret@127.0.0.1:{}", server.port)), true).await;
}

#[tokio::test]
async fn redis_cluster_with_a_user_who_may_do_little() {
    let user = [&USER[..], &["+cluster|slots"]].concat();
    let cluster = RedisCluster::guarded(Guard::default(), &user);
    let url = cluster.url().replace("://", "://bus:secret@");
    scenarios::all(&address(&url), true).await;
}

#[tokio::test]
async fn redis_that_sentinels_watch_over_with_passwords() {
    let guard = Guard { password: Some("hush"), certificate: None };
    let servers = Sentinels::guarded(guard);
    scenarios::all(&address(&servers.url()), true).await;
}

#[tokio::test]
async fn redis_that_sentinels_watch_over() {
    let servers = Sentinels::start();
    scenarios::all(&address(&servers.url()), true).await;
}

#[tokio::test]
async fn redis_cluster() {
    let cluster = RedisCluster::start();
    scenarios::all(&address(&cluster.url()), true).await;
}

#[tokio::test]
async fn one_nats() {
    let server = nats(&[]);
    scenarios::all(&of_nats(&server), false).await;
}

#[tokio::test]
async fn nats_with_a_password() {
    let server = nats(&["--user", "bus", "--pass", "s:cret"]);
    scenarios::all(&address(&format!("nats://bus:s%3Acret@127.0.0.1:{}", server.port)), false)
        .await;
}

#[tokio::test]
async fn nats_with_a_token() {
    let server = nats(&["--auth", "t0ken:/x"]);
    let port = server.port;
    scenarios::all(&address(&format!("nats://t0ken%3A%2Fx@127.0.0.1:{port}")), false).await;
}

#[tokio::test]
async fn nats_with_credentials() {
    let operator = Operator::new();
    let server = nats(&["-c", &operator.settings()]);
    let (port, file) = (server.port, operator.credentials());
    let url = format!("nats://127.0.0.1:{port}?credentials={file}");
    scenarios::all(&address(&url), false).await;
    // Who has none is told so, and gets no connection.
    let mut stranger = of_nats(&server).connect();
    assert!(matches!(stranger.next().await, Event::Down(reason) if reason.contains("uthoriz")));
}

#[tokio::test]
async fn several_nats_servers_of_which_one_goes() {
    let mut servers = nats_cluster(3);
    let hosts: Vec<String> = servers.iter().map(|s| format!("127.0.0.1:{}", s.port)).collect();
    let all = address(&format!("nats://{}", hosts.join(",")));
    let (mut talker, mut listener) = (Listener::new(&all).await, Listener::new(&all).await);
    listener.subscribe("kept").await;
    // Each server in its turn goes and comes back: whoever was on it finds another one.
    for (at, server) in servers.iter_mut().enumerate() {
        server.kill();
        for round in 0.. {
            talker.bus.publish("kept", format!("{at}").into(), round);
            let is_taken = talker.fate(round).await.is_some();
            let is_it = |event: &Event| match event {
                Event::Message { message, .. } => *message == at.to_string(),
                _ => false,
            };
            tokio::time::sleep(Duration::from_millis(100)).await;
            listener.drain_into().await;
            if is_taken && listener.seen.iter().any(is_it) {
                break;
            }
            assert!(round < 100, "nothing comes by the other servers");
        }
        server.restart();
    }
}

#[test]
fn a_wrong_address_is_refused_without_its_password() {
    for (url, sentence) in [
        ("localhost", "is no URL; it would be like redis://host:6379"),
        ("http://x", "http:// is no kind of bus"),
        ("redis://", "names no host; it would be like redis://host"),
        ("redis://a,b", "names several hosts; for a cluster it would be redis-cluster://"),
        ("redis://:hush@host:99999999", "is no address of Redis; it would be like redis://user"),
        ("redis-sentinel://:hush@a:1", "does not say which master"),
        ("redis-sentinel://:hush@a:x/m", "is no address of Redis"),
        ("nats://u:hush@?credentials=/no/file", "names no host"),
        (
            "nats://host?credentials=/no/file",
            "the file /no/file with the credentials cannot be read",
        ),
    ] {
        let error = Address::parse(url).unwrap_err().to_string();
        assert!(error.contains(sentence), "{url}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
    let shown = format!("{:?}", address("redis://:hush@host"));
    assert!(!shown.contains("hush"), "{shown}");
}

/// Who listens, as far as `listened` tells.
async fn found(address: &Address) -> Option<Vec<String>> {
    let mut listener = Listener::new(address).await;
    for subject in ["b:node:1", "a:node:2", "a:nodes"] {
        listener.subscribe(subject).await;
    }
    address.listened("*:node:*").await.unwrap()
}

#[tokio::test]
async fn redis_tells_what_is_listened_to() {
    let expected = Some(vec!["a:node:2".to_owned(), "b:node:1".to_owned()]);
    let server = redis();
    assert_eq!(found(&of_redis(&server)).await, expected);
    let cluster = RedisCluster::start();
    assert_eq!(found(&address(&cluster.url())).await, expected);
    let server = nats(&[]);
    assert_eq!(found(&of_nats(&server)).await, None);
}
