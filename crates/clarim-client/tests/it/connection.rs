//! Lost connections and reconnection.

use std::time::Duration;

use clarim_client::{Client, Error, Options, State, Update};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_websockets::{CloseCode, Message, ServerBuilder, WebSocketStream};

use crate::support::{World, event, ids, next, options, subscribed, within};

type Peer = WebSocketStream<TcpStream>;

/// A fake server.
struct Fake(TcpListener);

impl Fake {
    async fn start() -> (Self, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (Self(listener), port)
    }

    /// Accepts the next client and sends the greeting.
    async fn welcome(&self) -> Peer {
        let (stream, _) = within(self.0.accept()).await.unwrap();
        let (_, mut peer) = within(ServerBuilder::new().accept(stream)).await.unwrap();
        let data = json!({ "socket_id": "1.1", "activity_timeout": 30 }).to_string();
        say(&mut peer, &json!({ "event": "pusher:connection_established", "data": data })).await;
        peer
    }
}

async fn say(peer: &mut Peer, message: &serde_json::Value) {
    peer.send(Message::text(message.to_string())).await.unwrap();
}

async fn close(peer: &mut Peer, code: u16) {
    let code = CloseCode::try_from(code).unwrap();
    peer.send(Message::close(Some(code), "because")).await.unwrap();
}

#[tokio::test]
async fn after_a_restart_channels_are_subscribed_again_with_current_members() {
    let world = World::start();
    let port = world.port();
    let ana = world.connect("ana");
    let rui = world.connect("rui");
    let mut news = ana.channel("news");
    let mut room = ana.join("room");
    let at_rui = rui.join("room");
    for channel in [&news, &room, &at_rui] {
        subscribed(channel).await;
    }
    drop(at_rui);
    let World(server) = &world;
    server.stop();
    assert_eq!(within(ana.state_after(State::Connected)).await, State::Connecting);
    drop(world);
    // The port is free once the last client is disconnected.
    let world = loop {
        let free = TcpListener::bind(("127.0.0.1", port)).await;
        if free.is_ok() {
            drop(free);
            break World::start_at(port);
        }
        tokio::task::yield_now().await;
    };
    within(ana.connected()).await.unwrap();
    for channel in [&news, &room] {
        subscribed(channel).await;
    }
    world.publish("news", "back", &json!({})).await;
    assert_eq!(event(&mut news).await.0, "back");
    let mut successes = 0;
    while successes < 2 {
        if let Update::Subscribed(_) = next(&mut room).await {
            successes += 1;
        }
    }
    assert_eq!(ids(&room), ["ana"]);
}

#[tokio::test]
async fn an_unknown_key_is_refused_for_good() {
    let world = World::start();
    let options = Options::new("nobody").host("127.0.0.1", world.port());
    let client = Client::connect(options).unwrap();
    let error = within(client.connected()).await.unwrap_err();
    assert!(matches!(&error, Error::Refused { code: 4001, message } if message.contains("exist")));
    assert_eq!(client.state(), State::Failed);
    let refused = |error| matches!(error, Error::Refused { code: 4001, .. });
    assert!(refused(client.cause().unwrap()));
    assert!(refused(within(client.channel("news").subscribed()).await.unwrap_err()));
    assert!(refused(within(client.sign_in()).await.unwrap_err()));
    assert!(refused(client.channel("news").whisper("x", &1).unwrap_err()));
}

#[tokio::test]
async fn a_disconnected_client_reconnects_on_request() {
    let world = World::start();
    let client = world.connect("ana");
    let mut news = client.channel("news");
    subscribed(&news).await;
    let first = client.socket_id().unwrap();
    client.disconnect();
    assert_eq!(within(client.state_after(State::Connected)).await, State::Disconnected);
    assert_eq!(client.socket_id(), None);
    client.reconnect();
    within(client.connected()).await.unwrap();
    subscribed(&news).await;
    assert_ne!(client.socket_id().unwrap(), first);
    world.publish("news", "e", &json!({})).await;
    assert_eq!(event(&mut news).await.0, "e");
}

#[tokio::test]
async fn close_codes_have_the_effect_of_their_class() {
    let (server, port) = Fake::start().await;
    let pause = Duration::from_millis(400);
    let options = options(port, "ana").reconnect_after(pause, pause);
    let client = Client::connect(options).unwrap();
    let mut peer = server.welcome().await;
    within(client.connected()).await.unwrap();
    // After a stable connection, 4200 leads to an immediate reconnection.
    tokio::time::sleep(pause).await;
    close(&mut peer, 4200).await;
    let closed = Instant::now();
    let mut peer = server.welcome().await;
    assert!(closed.elapsed() < pause / 2, "{:?}", closed.elapsed());
    within(client.connected()).await.unwrap();
    close(&mut peer, 4100).await;
    let closed = Instant::now();
    let mut peer = server.welcome().await;
    assert!(closed.elapsed() >= pause / 2, "{:?}", closed.elapsed());
    within(client.connected()).await.unwrap();
    close(&mut peer, 4099).await;
    assert_eq!(within(client.state_after(State::Connected)).await, State::Failed);
    let error = client.connected().await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: 4099, .. }), "{error}");
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_then_disconnected() {
    let (server, port) = Fake::start().await;
    let short = Duration::from_millis(50);
    let client = Client::connect(options(port, "ana").activity_timeout(short, short)).unwrap();
    let mut peer = server.welcome().await;
    within(client.connected()).await.unwrap();
    let ping = within(peer.next()).await.unwrap().unwrap();
    assert!(ping.as_text().unwrap().contains("pusher:ping"));
    // Without a pong, the client reconnects.
    let mut peer = server.welcome().await;
    within(client.connected()).await.unwrap();
    let ping = within(peer.next()).await.unwrap().unwrap();
    assert!(ping.as_text().unwrap().contains("pusher:ping"));
    say(&mut peer, &json!({ "event": "pusher:pong", "data": {} })).await;
    say(&mut peer, &json!({ "event": "pusher:ping", "data": {} })).await;
    let pong = within(peer.next()).await.unwrap().unwrap();
    assert!(pong.as_text().unwrap().contains("pusher:pong"));
}

#[tokio::test]
async fn a_client_keeps_trying_until_a_server_listens() {
    let (server, port) = Fake::start().await;
    drop(server);
    let client = Client::connect(options(port, "ana")).unwrap();
    let news = client.channel("news");
    assert_eq!(within(client.state_after(State::Initialized)).await, State::Connecting);
    let _world = World::start_at(port);
    subscribed(&news).await;
}

/// The cause of a client that gets no connection.
async fn cause(options: Options) -> String {
    let client = Client::connect(options).unwrap();
    loop {
        if let Some(error) = client.cause() {
            assert!(matches!(error, Error::Connect { .. }), "{error}");
            return error.to_string();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_cause_of_a_missing_connection_is_known() {
    let (server, port) = Fake::start().await;
    drop(server);
    let closed = within(cause(options(port, "ana"))).await;
    assert!(closed.contains(&port.to_string()) && closed.contains("refused"), "{closed}");
    let unknown = within(cause(options(port, "ana").host("no-such-host.invalid", 80))).await;
    assert!(unknown.contains("no-such-host.invalid"), "{unknown}");
    let world = World::start();
    let path = within(cause(world.options("ana").path("/elsewhere"))).await;
    assert!(path.contains("404"), "{path}");
    let folder = tempfile::tempdir().unwrap();
    let (untrusted, _) = World::with_tls(folder.path());
    let certificate = within(cause(untrusted.options("ana").tls(true))).await;
    assert!(certificate.contains("UnknownIssuer"), "{certificate}");
}

#[tokio::test]
async fn waiting_ends_when_there_is_no_connection() {
    let (server, port) = Fake::start().await;
    drop(server);
    let client = Client::connect(options(port, "ana")).unwrap();
    let news = client.channel("news");
    let (connected, subscribed, signed_in) =
        tokio::join!(client.connected(), news.subscribed(), client.sign_in());
    for error in [connected.unwrap_err(), subscribed.unwrap_err(), signed_in.unwrap_err()] {
        assert!(matches!(error, Error::NotConnected { state: State::Unavailable, .. }));
        assert!(error.to_string().contains("refused"), "{error}");
    }
    client.disconnect();
    let error = within(news.subscribed()).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected { state: State::Disconnected, cause: None }));
}

#[tokio::test]
async fn waiting_ends_when_the_server_does_not_answer() {
    let (server, port) = Fake::start().await;
    let client = Client::connect(options(port, "ana")).unwrap();
    let _peer = server.welcome().await;
    within(client.connected()).await.unwrap();
    let news = client.channel("news");
    tokio::time::pause();
    let (subscribed, signed_in) = tokio::join!(news.subscribed(), client.sign_in());
    for (error, subject) in
        [(subscribed.unwrap_err(), "news"), (signed_in.unwrap_err(), "the user")]
    {
        assert_eq!(error.to_string(), format!("{subject}: no answer from the server within 30s"));
    }
}

#[tokio::test]
async fn a_lost_connection_has_a_cause() {
    let (server, port) = Fake::start().await;
    let pause = Duration::from_secs(60);
    let client = Client::connect(options(port, "ana").reconnect_after(pause, pause)).unwrap();
    let mut peer = server.welcome().await;
    within(client.connected()).await.unwrap();
    assert!(client.cause().is_none());
    close(&mut peer, 4100).await;
    within(client.state_after(State::Connected)).await;
    let error = client.cause().unwrap();
    assert_eq!(error.to_string(), "the connection was lost: because (code 4100)");
}

#[tokio::test]
async fn channels_end_with_the_last_client() {
    let world = World::start();
    let client = world.connect("ana");
    let mut news = client.channel("news");
    subscribed(&news).await;
    drop(client.clone());
    world.publish("news", "e", &json!({})).await;
    assert_eq!(event(&mut news).await.0, "e");
    drop(client);
    assert!(within(news.next()).await.is_none());
    assert!(matches!(within(news.subscribed()).await, Ok(()) | Err(Error::Dropped)));
    assert!(news.whisper("x", &1).is_err());
}

#[test]
fn invalid_options_are_errors() {
    let error = Client::connect(Options::new("key").host("ws://x/", 1)).unwrap_err();
    assert!(error.to_string().contains("without scheme"), "{error}");
}
