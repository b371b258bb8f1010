//! Events from the application to a subscriber.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clarim::{Broadcast, Channel, Clarim, Delivery, Settings, SocketId};
use clarim_server::Server;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Client, MASTER_KEY, World, app, server_settings};

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", private = "orders.{user.id}", presence = "rooms.{room}", now)]
struct OrderShipped {
    room: u32,
    user: User,
}

#[derive(Serialize)]
struct User {
    id: u64,
    name: &'static str,
}

fn shipped() -> OrderShipped {
    OrderShipped { room: 3, user: User { id: 7, name: "Ana" } }
}

#[derive(Serialize, Broadcast)]
#[broadcast(private = "orders.{0}", name = "order.paid", with = "payload", when = "is_due")]
struct OrderPaid(u64, bool);

impl OrderPaid {
    fn payload(&self) -> Value {
        json!({ "order": self.0 })
    }

    fn is_due(&self) -> bool {
        self.1
    }
}

#[derive(Serialize, Broadcast)]
#[broadcast(encrypted = "vault", channel = "news", now)]
struct Opened {
    pin: String,
}

async fn every_kind_receives(clarim: &Clarim, port: u16) {
    let mut client = Client::connect(port).await;
    for channel in ["orders", "private-orders.7", "presence-rooms.3"] {
        client.subscribe(channel).await;
    }
    clarim.broadcast(shipped()).await.unwrap();
    let data = json!({ "room": 3, "user": { "id": 7, "name": "Ana" } });
    for channel in ["orders", "private-orders.7", "presence-rooms.3"] {
        let expected = ("App\\Events\\OrderShipped".to_owned(), channel.to_owned(), data.clone());
        assert_eq!(client.event().await, expected);
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn every_kind_of_channel_receives_events_over_http() {
    let world = World::start();
    every_kind_receives(&world.clarim(), world.0.address().unwrap().port()).await;
}

#[tokio::test]
async fn every_kind_of_channel_receives_events_in_process() {
    let server = Server::start(server_settings(), vec![app()], false).unwrap();
    let port = server.address().unwrap().port();
    let clarim = Clarim::with_server(Settings::default(), server, &app());
    every_kind_receives(&clarim, port).await;
    clarim.server().unwrap().stop();
}

#[tokio::test]
async fn name_payload_and_condition_come_from_the_type() {
    let world = World::start();
    let clarim = world.clarim();
    let mut client = world.connect().await;
    client.subscribe("private-orders.7").await;
    clarim.broadcast(OrderPaid(7, false)).now().await.unwrap();
    clarim.broadcast(OrderPaid(7, true)).now().await.unwrap();
    let (name, _, data) = client.event().await;
    assert_eq!((name.as_str(), data), ("order.paid", json!({ "order": 7 })));
    client.expect_nothing().await;
}

#[tokio::test]
async fn the_socket_that_caused_the_event_is_excluded() {
    let world = World::start();
    let clarim = world.clarim();
    let mut own = world.connect().await;
    let mut other = world.connect().await;
    own.subscribe("orders").await;
    other.subscribe("orders").await;
    clarim.broadcast(shipped()).to_others(SocketId(own.id)).await.unwrap();
    assert_eq!(other.event().await.1, "orders");
    own.expect_nothing().await;
    clarim.broadcast(shipped()).to_others(None).await.unwrap();
    assert_eq!(own.event().await.1, "orders");
}

#[tokio::test]
async fn encrypted_channels_get_ciphertext_and_others_plain_text() {
    let world = World::start();
    let mut client = world.connect().await;
    client.subscribe("private-encrypted-vault").await;
    client.subscribe("news").await;
    world.clarim().broadcast(Opened { pin: "ç1234".to_owned() }).await.unwrap();
    assert_eq!(client.event().await.2, json!({ "pin": "ç1234" }));
    let (name, channel, data) = client.event().await;
    assert_eq!(name, "App\\Events\\Opened");
    assert_eq!(channel, "private-encrypted-vault");

    let part = |name: &str| STANDARD.decode(data[name].as_str().unwrap()).unwrap();
    let key = Sha256::digest([channel.as_bytes(), &MASTER_KEY].concat());
    let nonce: [u8; 24] = part("nonce").try_into().unwrap();
    let cipher = XSalsa20Poly1305::new_from_slice(&key).unwrap();
    let opened = cipher.decrypt(&nonce.into(), &part("ciphertext")[..]).unwrap();
    assert_eq!(opened, r#"{"pin":"ç1234"}"#.as_bytes());
}

#[tokio::test]
async fn more_than_a_hundred_channels_are_published_in_parts() {
    let world = World::start();
    let mut client = world.connect().await;
    let names: Vec<String> = (0..250).map(|n| format!("news.{n}")).collect();
    let mut event = world.clarim().on(names[0].as_str()).now();
    for name in &names[1..] {
        client.subscribe(name).await;
        // A channel that is named twice gets the event once.
        event = event.and(name.as_str()).and(name.as_str());
    }
    event.name("said").with(json!({ "n": 1 })).send().await.unwrap();
    for name in &names[1..] {
        assert_eq!(client.event().await, ("said".to_owned(), name.clone(), json!({ "n": 1 })));
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn anonymous_events_have_channel_name_payload_and_delivery() {
    let world = World::start();
    let clarim = world.clarim();
    let mut client = world.connect().await;
    client.subscribe("private-x").await;
    clarim.on(Channel::private("x")).name("y").with([1, 2]).send().await.unwrap();
    assert_eq!(client.event().await, ("y".to_owned(), "private-x".to_owned(), json!([1, 2])));
    clarim.on("private-x").delivery(Delivery::now()).send().await.unwrap();
    assert_eq!(client.event().await.0, "AnonymousEvent");
}

#[tokio::test]
async fn the_namespace_is_the_applications() {
    let world = World::start();
    let mut client = world.connect().await;
    client.subscribe("orders").await;
    for (namespace, name) in
        [("Shop\\Broadcast", "Shop\\Broadcast\\OrderShipped"), ("", "OrderShipped")]
    {
        let settings = world.settings().namespace(namespace);
        Clarim::new(settings).unwrap().broadcast(shipped()).await.unwrap();
        assert_eq!(client.event().await.0, name);
    }
}
