//! Publishing to the bus of a cluster.

use std::time::Duration;

use clarim::queue::Worker;
use clarim::{Clarim, Delivery, Error, Settings};
use clarim_bus::Bus;
use clarim_server::Server;
use clarim_server::config::Scaling;
use clarim_testing::{nats, redis};
use serde_json::json;

use crate::support::{Client, World, app, server_settings};

fn settings(url: &str, more: &[(&'static str, &str)]) -> Settings {
    let kind = if url.starts_with("nats") { "nats" } else { "redis" };
    let typed = [
        ("BROADCAST_CONNECTION", kind),
        ("CLARIM_SCALING_URL", url),
        ("REVERB_APP_ID", "123456"),
        ("REVERB_APP_KEY", "reverb-key"),
        ("REVERB_APP_SECRET", "reverb-secret"),
    ];
    let all = [&typed[..], more].concat();
    let get = |name: &str| all.iter().find(|(known, _)| *known == name);
    Settings::from_variables(|name| get(name).map(|(_, value)| (*value).to_owned())).unwrap()
}

fn node(url: &str) -> World {
    let settings = server_settings().scaling(Scaling::new(Bus::parse(url).unwrap()));
    World(Server::start(settings, vec![app()], false).unwrap())
}

async fn publish(clarim: &Clarim, channel: &str, n: u32) -> Result<(), Error> {
    clarim.on(channel).name("hello").with(n).delivery(Delivery::now()).send().await
}

/// Each client gets the events, in order.
async fn assert_events(clients: &mut [Client], count: u32) {
    for client in clients {
        for n in 0..count {
            let expected = ("hello".to_owned(), "private-news".to_owned(), json!(n));
            assert_eq!(client.event().await, expected);
        }
    }
}

async fn clients(nodes: &[World]) -> Vec<Client> {
    let mut clients = Vec::new();
    for node in nodes {
        let mut client = node.connect().await;
        client.subscribe("private-news").await;
        clients.push(client);
    }
    clients
}

/// The application only writes jobs. A worker, in another process, publishes them.
async fn a_queue_worker_publishes(url: &str) {
    let nodes = [node(url), node(url)];
    let mut clients = clients(&nodes).await;
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("queue.sqlite").display());
    let queue = [("QUEUE_CONNECTION", "sqlite"), ("DATABASE_URL", &*file)];
    let application = Clarim::new(settings(url, &queue)).unwrap();
    for n in 0..20 {
        application.on("private-news").name("hello").with(n).send().await.unwrap();
    }
    drop(application);
    let publishing = Clarim::new(settings(url, &queue)).unwrap();
    let worker = Worker::new(&publishing).unwrap().poll(Duration::from_millis(5));
    worker.run_until(assert_events(&mut clients, 20)).await;
}

#[tokio::test]
async fn a_queue_worker_publishes_onto_redis() {
    let server = redis();
    a_queue_worker_publishes(&server.url("redis")).await;
}

#[tokio::test]
async fn a_queue_worker_publishes_onto_nats() {
    let server = nats(&[]);
    a_queue_worker_publishes(&server.url("nats")).await;
}

#[tokio::test]
async fn an_event_reaches_the_clients_of_all_nodes_without_http() {
    let mut server = redis();
    let url = server.url("redis");
    let nodes = [node(&url), node(&url)];
    let mut clients = clients(&nodes).await;
    let clarim = Clarim::new(settings(&url, &[])).unwrap();
    for n in 0..100 {
        publish(&clarim, "private-news", n).await.unwrap();
    }
    assert_events(&mut clients, 100).await;
    // One of the nodes keeps the last event of a cache channel without subscribers.
    publish(&clarim, "cache-rates", 2).await.unwrap();
    for client in &mut clients {
        client.subscribe("cache-rates").await;
        let mut next = client.receive().await;
        if next["event"] == "pusher:cache_miss" {
            // The subscription came before the event.
            next = client.receive().await;
        }
        assert_eq!((&next["event"], &next["data"]), (&json!("hello"), &json!("2")));
    }
    // Without the bus, events fail with a temporary error.
    server.kill();
    let error = loop {
        match publish(&clarim, "private-news", 3).await {
            Err(error) => break error,
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().starts_with("cannot publish to the bus (redis): "), "{error}");
}
