//! A real server for each test, and a WebSocket client.

use std::cell::RefCell;
use std::io;
use std::sync::Once;
use std::time::Duration;

use clarim::{Clarim, Settings};
use clarim_protocol::SocketId;
use clarim_protocol::auth::AppKey;
use clarim_server::config::ServerConfig;
use clarim_server::{App, Server};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

/// Timeout for a step of a test; generous, since machines may be busy.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) const MASTER_KEY: [u8; 32] = [7; 32];

pub(crate) fn app() -> App {
    App::new("123456", "reverb-key", "reverb-secret")
}

pub(crate) fn app_key() -> AppKey {
    AppKey::new("reverb-key", "reverb-secret")
}

pub(crate) fn server_settings() -> ServerConfig {
    let host = "127.0.0.1".to_owned();
    let drain = Duration::ZERO;
    ServerConfig::default().host(host).port(0).drain(drain)
}

/// A server, stopped at the end of the test.
pub(crate) struct World(pub(crate) Server);

impl Drop for World {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl World {
    pub(crate) fn start() -> Self {
        Self::start_with(app())
    }

    pub(crate) fn start_with(app: App) -> Self {
        Self(Server::start(server_settings(), vec![app], false).unwrap())
    }

    pub(crate) fn settings(&self) -> Settings {
        settings_for(self.0.address().unwrap().port())
    }

    /// The application, over HTTP.
    pub(crate) fn clarim(&self) -> Clarim {
        Clarim::new(self.settings()).unwrap()
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.0.address().unwrap().port()).await
    }
}

/// Settings of an application whose server listens on this port.
pub(crate) fn settings_for(port: u16) -> Settings {
    Settings::http("123456", "reverb-key", "reverb-secret")
        .port(port)
        .master_key(clarim::MasterKey::new(MASTER_KEY))
        .timeout(TIMEOUT)
}

/// A connected WebSocket client.
pub(crate) struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) id: SocketId,
}

impl Client {
    pub(crate) async fn connect(port: u16) -> Self {
        Self::connect_as("reverb-key", port).await
    }

    pub(crate) async fn connect_as(key: &str, port: u16) -> Self {
        let uri = format!("ws://127.0.0.1:{port}/app/{key}?protocol=7&client=test");
        let connecting = ClientBuilder::new().uri(&uri).unwrap();
        let (ws, _) = timeout(TIMEOUT, connecting.connect()).await.unwrap().unwrap();
        let mut client = Self { ws, id: SocketId { nonce: 0, place: 0 } };
        let greeting = client.receive().await;
        let data: Value = serde_json::from_str(greeting["data"].as_str().unwrap()).unwrap();
        client.id = data["socket_id"].as_str().unwrap().parse().unwrap();
        client
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.ws.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> Value {
        let message = timeout(TIMEOUT, self.ws.next()).await.expect("a message in time");
        let message = message.expect("a message, but the connection has ended").unwrap();
        serde_json::from_str(message.as_text().unwrap()).unwrap()
    }

    /// Subscribes with a signature of the backend.
    pub(crate) async fn subscribe(&mut self, channel: &str) {
        let data = channel.starts_with("presence-").then(|| json!({ "user_id": "7" }).to_string());
        let auth = app_key().sign_channel(self.id, channel, data.as_deref());
        self.subscribe_with(&json!({ "channel": channel, "auth": auth, "channel_data": data }))
            .await;
    }

    /// Subscribes with the backend's answer.
    pub(crate) async fn subscribe_with(&mut self, data: &Value) {
        self.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
        let answer = self.receive().await;
        assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{answer}");
    }

    /// The next event: its name, its channel, and its data, which is JSON.
    pub(crate) async fn event(&mut self) -> (String, String, Value) {
        let event = self.receive().await;
        let text =
            |name: &str| event[name].as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
        (text("event"), text("channel"), serde_json::from_str(&text("data")).unwrap())
    }

    /// The code with which the server closes the connection. It must be the next message.
    pub(crate) async fn close_code(&mut self) -> u16 {
        let message = timeout(TIMEOUT, self.ws.next()).await.expect("an end in time");
        let message = message.expect("a close frame").unwrap();
        message.as_close().unwrap_or_else(|| panic!("{message:?}")).0.into()
    }

    /// Checks that nothing was received: the answer to a ping is the next message.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(&json!({ "event": "pusher:ping", "data": {} })).await;
        assert_eq!(self.receive().await["event"], "pusher:pong");
    }
}

thread_local! {
    static LOGGED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Begins to record the log of this thread, and returns its reader. There is one subscriber for the whole
/// process, since a call site caches whether any subscriber is interested when it logs for the first time.
pub(crate) fn log() -> impl Fn() -> String {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).init();
    });
    LOGGED.take();
    || String::from_utf8(LOGGED.with_borrow(Vec::clone)).unwrap()
}

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGGED.with_borrow_mut(|logged| logged.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
