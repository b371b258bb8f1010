//! Straight onto the bus of a cluster.

use std::time::Duration;

use clarim::{Clarim, Delivery, Error, Settings};
use clarim_bus::Address;
use clarim_server::Server;
use clarim_server::settings::{Scaling, ServerSettings};
use clarim_testing::redis;
use serde_json::json;

use crate::support::{Client, World, app, server_settings};

fn settings(url: &str) -> Settings {
    let typed = [
        ("BROADCAST_CONNECTION", "redis"),
        ("CLARIM_SCALING_URL", url),
        ("REVERB_APP_ID", "123456"),
        ("REVERB_APP_KEY", "reverb-key"),
        ("REVERB_APP_SECRET", "reverb-secret"),
    ];
    let get = |name: &str| typed.iter().find(|(known, _)| *known == name);
    Settings::from_variables(|name| get(name).map(|(_, value)| (*value).to_owned())).unwrap()
}

fn node(url: &str) -> World {
    let scaling = Some(Scaling::new(Address::parse(url).unwrap()));
    let settings = ServerSettings { scaling, ..server_settings() };
    World(Server::start(settings, vec![app()], false).unwrap())
}

async fn publish(clarim: &Clarim, channel: &str, n: u32) -> Result<(), Error> {
    clarim.on(channel).name("hello").with(n).delivery(Delivery::now()).send().await
}

#[tokio::test]
async fn an_event_reaches_the_clients_of_all_nodes_without_http() {
    let mut server = redis();
    let url = format!("redis://127.0.0.1:{}", server.port);
    let nodes = [node(&url), node(&url)];
    let mut clients: Vec<Client> = Vec::new();
    for node in &nodes {
        let mut client = node.connect().await;
        client.subscribe("private-news").await;
        clients.push(client);
    }
    let clarim = Clarim::new(settings(&url)).unwrap();
    for n in 0..100 {
        publish(&clarim, "private-news", n).await.unwrap();
    }
    for client in &mut clients {
        for n in 0..100 {
            let expected = ("hello".to_owned(), "private-news".to_owned(), json!(n));
            assert_eq!(client.event().await, expected);
        }
    }
    // The last event of a cache channel that nobody was on: one of the nodes keeps it.
    publish(&clarim, "cache-rates", 2).await.unwrap();
    for client in &mut clients {
        client.subscribe("cache-rates").await;
        let mut next = client.receive().await;
        if next["event"] == "pusher:cache_miss" {
            // Subscribed before the event had come that far.
            next = client.receive().await;
        }
        assert_eq!((&next["event"], &next["data"]), (&json!("hello"), &json!("2")));
    }
    // The bus goes: what it does not take can be tried again.
    server.kill();
    let error = loop {
        match publish(&clarim, "private-news", 3).await {
            Err(error) => break error,
            Ok(()) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert!(error.is_temporary(), "{error}");
    assert!(error.to_string().starts_with("the bus (redis): "), "{error}");
}
