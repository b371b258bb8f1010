//! What the tests share: a server of their own each, a WebSocket client and a signed HTTP client.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clarim_hub::app::App;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{SocketId, rest};
use clarim_server::Server;
use clarim_server::config::{Scaling, ServerConfig, Tls, Token, Webhook};
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_websockets::{ClientBuilder, Message, WebSocketStream};

/// Timeout for a step of a test, generous enough for a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// The configuration of a server.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) workers: u16,
    pub(crate) path: &'static str,
    pub(crate) max_request_bytes: usize,
    pub(crate) drain: Duration,
    pub(crate) outbox_bytes: usize,
    pub(crate) outbox_timeout: Duration,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_connections_per_address: Option<u32>,
    pub(crate) max_handshakes_per_address: Option<u32>,
    pub(crate) fallback: bool,
    pub(crate) compression: bool,
    pub(crate) metrics_token: Option<&'static str>,
    pub(crate) inspector_token: Option<&'static str>,
    /// Whether the pages of development mode are served.
    pub(crate) development: bool,
    pub(crate) webhooks: HashMap<String, Vec<Webhook>>,
    /// Whether the server has a stream of events.
    pub(crate) events: bool,
    /// The collector of traces.
    pub(crate) traces: Option<String>,
    pub(crate) scaling: Option<Scaling>,
    /// Certificate and key.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 2,
            path: "",
            max_request_bytes: 200_000,
            drain: Duration::ZERO,
            outbox_bytes: 1 << 20,
            outbox_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            max_connections_per_address: None,
            max_handshakes_per_address: None,
            fallback: true,
            compression: false,
            metrics_token: None,
            inspector_token: None,
            development: false,
            webhooks: HashMap::new(),
            events: false,
            traces: None,
            scaling: None,
            tls: None,
        }
    }
}

impl Setup {
    /// The only place that knows the server's own settings.
    pub(crate) fn settings(self) -> ServerConfig {
        ServerConfig::default()
            .host("127.0.0.1")
            .port(0)
            .path(self.path)
            .max_request_bytes(self.max_request_bytes)
            .tls(self.tls.map(|(cert, key)| Tls::new(cert, key)))
            .workers(NonZeroU16::new(self.workers).unwrap())
            .drain(self.drain)
            .outbox_bytes(self.outbox_bytes)
            .outbox_timeout(self.outbox_timeout)
            .handshake_timeout(self.handshake_timeout)
            .max_connections_per_address(self.max_connections_per_address)
            .max_handshakes_per_address(self.max_handshakes_per_address)
            .fallback(self.fallback)
            .compression(self.compression)
            .metrics_token(self.metrics_token.map(Token::new))
            .inspector_token(self.inspector_token.map(Token::new))
            .webhooks(self.webhooks)
            .events(self.events)
            .traces(self.traces.map(|url| url.parse::<hyper::Uri>().unwrap()))
            .scaling(self.scaling)
    }

    pub(crate) fn start(self, apps: Vec<App>) -> Harness {
        let prefix = self.path;
        let development = self.development;
        let keys = apps.iter().map(|app| (app.id.clone(), app.key.clone())).collect();
        let server = Server::start(self.settings(), apps, development).unwrap();
        Harness { address: server.address().unwrap(), server: Some(server), apps: keys, prefix }
    }
}

/// A server with one app of default settings.
pub(crate) fn start() -> Harness {
    Setup::default().start(vec![app()])
}

/// A server with one app of the given settings.
pub(crate) fn start_with(change: impl FnOnce(&mut App)) -> Harness {
    Setup::default().start(vec![app_with(change)])
}

/// The app of most tests.
pub(crate) fn app() -> App {
    App::new("123456", "reverb-key", "reverb-secret")
}

pub(crate) fn app_with(change: impl FnOnce(&mut App)) -> App {
    let mut app = app();
    change(&mut app);
    app
}

/// A running server, stopped at the end of the test.
#[derive(Debug)]
pub(crate) struct Harness {
    pub(crate) address: SocketAddr,
    pub(crate) server: Option<Server>,
    apps: Vec<(String, AppKey)>,
    pub(crate) prefix: &'static str,
}

impl Drop for Harness {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.stop();
        }
    }
}

impl Harness {
    pub(crate) async fn dial(&self) -> Stream {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Box::new(stream)
    }

    /// A client of the first app that has read its greeting.
    pub(crate) async fn connect(&self) -> Client {
        self.connect_to(0).await
    }

    /// A client of an app that has read its greeting.
    pub(crate) async fn connect_to(&self, app: usize) -> Client {
        let key = &self.apps[app].1;
        let path = format!("/app/{}?protocol=7&client=test", key.key());
        let mut client = self.open(&path, &[]).await;
        client.key = key.clone();
        client.greeted().await;
        client
    }

    /// A client right after its handshake.
    pub(crate) async fn open(&self, path: &str, headers: &[(&'static str, &str)]) -> Client {
        self.open_on(self.dial().await, path, headers).await
    }

    pub(crate) async fn open_on(
        &self,
        stream: Stream,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Client {
        let uri = format!("ws://{}{}{path}", self.address, self.prefix).parse().unwrap();
        let mut builder = ClientBuilder::from_uri(uri);
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            builder = builder.add_header(HeaderName::from_static(name), value).unwrap();
        }
        let (ws, response) = within(builder.connect_on(stream)).await.unwrap();
        let key = self.apps[0].1.clone();
        Client { ws, key, id: String::new(), headers: response.headers().clone() }
    }

    /// The HTTP API of the first app.
    pub(crate) fn api(&self) -> Api<'_> {
        self.api_of(0)
    }

    pub(crate) fn api_of(&self, app: usize) -> Api<'_> {
        let (id, key) = &self.apps[app];
        Api { harness: self, id, key }
    }

    /// Publishes one event with this JSON as its data.
    pub(crate) async fn publish(&self, channel: &str, event: &str, data: &Value) {
        let body = json!({ "name": event, "channel": channel, "data": data.to_string() });
        let reply = self.api().post("/events", &body).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    }

    /// Sends an unsigned request on a separate connection.
    pub(crate) async fn request(&self, method: &str, target: &str, body: &[u8]) -> Reply {
        HttpConnection::new(self.dial().await).await.request(method, target, body).await
    }

    pub(crate) fn running(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Stops the server and waits for its end.
    pub(crate) async fn end(mut self) {
        let server = self.server.take().unwrap();
        server.stop();
        tokio::task::spawn_blocking(|| server.wait()).await.unwrap().unwrap();
    }

    /// Waits until the server has no state of connections.
    pub(crate) async fn becomes_empty(&self) {
        let server = self.running();
        eventually(|| server.is_empty() && server.connections(&self.apps[0].0) == 0).await;
    }
}

/// Any byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Io for S {}
pub(crate) type Stream = Box<dyn Io>;

/// TLS over a connection to the server.
pub(crate) async fn secure(harness: &Harness, connector: &TlsConnector) -> io::Result<Stream> {
    secure_on(TcpStream::connect(harness.address).await?, connector).await
}

pub(crate) async fn secure_on(stream: TcpStream, connector: &TlsConnector) -> io::Result<Stream> {
    let name = "localhost".try_into().unwrap();
    Ok(Box::new(within(connector.connect(name, stream)).await?))
}

/// A connection with a small receive buffer.
pub(crate) async fn dial_narrow(harness: &Harness) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    socket.connect(harness.address).await.unwrap()
}

/// A WebSocket client.
pub(crate) struct Client {
    ws: WebSocketStream<Stream>,
    key: AppKey,
    /// Its socket id, once greeted.
    pub(crate) id: String,
    /// The headers of the handshake response.
    pub(crate) headers: HeaderMap,
}

impl Client {
    /// Reads the greeting.
    pub(crate) async fn greeted(&mut self) {
        let greeting = self.receive().await;
        assert_eq!(greeting["event"], "pusher:connection_established");
        self.id = greeting["data"]["$text"]["socket_id"].as_str().unwrap().to_owned();
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text.to_owned())).await;
    }

    pub(crate) async fn send_message(&mut self, message: Message) {
        within(self.ws.send(message)).await.unwrap();
    }

    /// The next frame of any kind but pings, which the WebSocket replies to; `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            let message = within(self.ws.next()).await.map(Result::unwrap);
            if !message.as_ref().is_some_and(Message::is_ping) {
                return message;
            }
        }
    }

    /// Waits for a ping, to which the WebSocket replies.
    pub(crate) async fn pinged(&mut self) {
        while !within(self.ws.next()).await.unwrap().unwrap().is_ping() {}
    }

    /// The next frame, which must be a text, as [`normal`] JSON.
    pub(crate) async fn receive(&mut self) -> Value {
        let message = self.next().await.expect("a message, but the connection has ended");
        let text = message.as_text().unwrap_or_else(|| panic!("not a text: {message:?}"));
        normal(serde_json::from_str(text).unwrap())
    }

    /// Asserts that this is the next frame. JSON strings in `data` are compared as JSON.
    #[track_caller]
    pub(crate) fn expect(&mut self, frame: Value) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move { assert_eq!(self.receive().await, normal(frame), "expected at {caller}") }
    }

    /// Asserts that nothing was received: the reply to a ping is the next frame.
    #[track_caller]
    pub(crate) fn expect_nothing(&mut self) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            self.send(&json!({ "event": "pusher:ping", "data": {} })).await;
            let pong = json!({ "event": "pusher:pong", "data": {} });
            assert_eq!(self.receive().await, pong, "nothing expected at {caller}");
        }
    }

    /// Expects an error frame with this code. Returns its message.
    pub(crate) async fn expect_error(&mut self, code: impl Into<Option<u16>>) -> String {
        let error = self.receive().await;
        assert_eq!(error["event"], "pusher:error", "{error}");
        assert_eq!(error["data"]["code"], json!(code.into()), "{error}");
        error["data"]["message"].as_str().unwrap().to_owned()
    }

    /// Expects the errors of a refused subscription: for the connection, and in two forms for the channel.
    pub(crate) async fn expect_refusal(
        &mut self,
        channel: &str,
        code: impl Into<Option<u16>>,
    ) -> String {
        let message = self.expect_error(code).await;
        for event in ["pusher:subscription_error", "pusher_internal:subscription_error"] {
            let error = self.receive().await;
            assert_eq!(error["event"], event);
            assert_eq!(error["channel"], channel);
            assert_eq!(error["data"]["error"], message.as_str());
        }
        message
    }

    /// Expects a close frame with this code and then the end. Returns its reason.
    pub(crate) async fn expect_close(&mut self, code: u16) -> String {
        let message = self.next().await.expect("a close frame");
        let (found, reason) = message.as_close().unwrap_or_else(|| panic!("{message:?}"));
        assert_eq!(u16::from(found), code, "{reason}");
        let reason = reason.to_owned();
        assert!(within(self.ws.next()).await.is_none());
        reason
    }

    /// The signature for a channel.
    pub(crate) fn auth(&self, channel: &str, channel_data: Option<&str>) -> String {
        self.key.sign_channel(self.socket_id(), channel, channel_data)
    }

    pub(crate) fn socket_id(&self) -> SocketId {
        self.id.parse().unwrap()
    }

    /// Sends a subscription request, signed if the channel needs it.
    pub(crate) async fn ask(&mut self, channel: &str, channel_data: Option<&str>) {
        let mut data = json!({ "channel": channel });
        if channel.starts_with("private-") || channel.starts_with("presence-") {
            data["auth"] = self.auth(channel, channel_data).into();
        }
        if let Some(channel_data) = channel_data {
            data["channel_data"] = channel_data.into();
        }
        self.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    }

    /// Subscribes to a channel other than a presence channel.
    pub(crate) async fn subscribe(&mut self, channel: &str) {
        self.ask(channel, None).await;
        self.expect(succeeded(channel)).await;
    }

    /// Joins a presence channel as a [`member`]. Returns its members, with the new one.
    pub(crate) async fn join(&mut self, channel: &str, user: u32) -> Value {
        self.ask(channel, Some(&member(user).to_string())).await;
        let succeeded = self.receive().await;
        assert_eq!(succeeded["event"], "pusher_internal:subscription_succeeded", "{succeeded}");
        succeeded["data"]["$text"]["presence"].clone()
    }

    pub(crate) async fn unsubscribe(&mut self, channel: &str) {
        let data = json!({ "channel": channel });
        self.send(&json!({ "event": "pusher:unsubscribe", "data": data })).await;
    }

    pub(crate) async fn whisper(&mut self, channel: &str, event: &str, data: &Value) {
        self.send(&json!({ "event": event, "channel": channel, "data": data })).await;
    }

    /// Signs in as a user.
    pub(crate) async fn sign_in(&mut self, user_data: &Value) {
        let user_data = user_data.to_string();
        let auth = self.key.sign_user(self.socket_id(), &user_data);
        let data = json!({ "auth": auth, "user_data": user_data });
        self.send(&json!({ "event": "pusher:signin", "data": data })).await;
        let data = json!({ "user_data": user_data });
        self.expect(json!({ "event": "pusher:signin_success", "data": data })).await;
    }
}

/// `channel_data` of a user.
pub(crate) fn member(user: u32) -> Value {
    json!({ "user_id": user.to_string(), "user_info": { "name": format!("User {user}") } })
}

pub(crate) fn succeeded(channel: &str) -> Value {
    let event = "pusher_internal:subscription_succeeded";
    json!({ "event": event, "channel": channel, "data": "{}" })
}

/// An event as received by subscribers, with its data as a JSON string.
pub(crate) fn event(channel: &str, event: &str, data: &Value) -> Value {
    json!({ "event": event, "channel": channel, "data": data.to_string() })
}

/// Replaces `data` that is a JSON string with `{"$text": …}`.
fn normal(mut frame: Value) -> Value {
    let data = frame.get("data").and_then(Value::as_str);
    if let Some(Ok(inner)) = data.map(serde_json::from_str::<Value>) {
        frame["data"] = json!({ "$text": inner });
    }
    frame
}

/// An app's HTTP API.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Api<'a> {
    harness: &'a Harness,
    id: &'a str,
    key: &'a AppKey,
}

impl Api<'_> {
    pub(crate) fn app_key(&self) -> &AppKey {
        self.key
    }

    /// Path and query of a signed request. `path` follows `/apps/ID`.
    pub(crate) fn sign(
        &self,
        method: &str,
        path: &str,
        params: &[(&str, &str)],
        body: &[u8],
    ) -> String {
        let path = format!("/apps/{}{path}", rest::encode_segment(self.id));
        let query = rest::sign(self.key, method, &path, params, body, unix_time());
        format!("{}{path}?{query}", self.harness.prefix)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Reply {
        let target = self.sign("POST", path, &[], body.as_bytes());
        self.harness.request("POST", &target, body.as_bytes()).await
    }

    pub(crate) async fn get(&self, path: &str, params: &[(&str, &str)]) -> Reply {
        self.harness.request("GET", &self.sign("GET", path, params, b""), b"").await
    }

    /// The JSON of a path, which must exist.
    pub(crate) async fn read(&self, path: &str, info: &str) -> Value {
        let params = [("info", info)];
        let reply = self.get(path, if info.is_empty() { &[] } else { &params }).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    pub(crate) async fn of<B>(response: Response<B>) -> Self
    where
        B: hyper::body::Body<Error: std::fmt::Debug>,
    {
        let (head, body) = response.into_parts();
        let body = within(body.collect()).await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        Self { status: head.status.as_u16(), headers: head.headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A connection that is kept alive.
#[derive(Debug)]
pub(crate) struct HttpConnection(http1::SendRequest<Full<Bytes>>);

impl HttpConnection {
    pub(crate) async fn new(stream: Stream) -> Self {
        let (sender, connection) = within(http1::handshake(TokioIo::new(stream))).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn request(&mut self, method: &str, target: &str, body: &[u8]) -> Reply {
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(target)
            .header(HOST, "localhost")
            .body(Full::new(Bytes::copy_from_slice(body)))
            .unwrap();
        within(self.0.ready()).await.unwrap();
        Reply::of(within(self.0.send_request(request)).await.unwrap()).await
    }
}

pub(crate) fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Fails when a future takes too long.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        let result = timeout(TIMEOUT, future).await;
        result.unwrap_or_else(|_| panic!("nothing happened for {TIMEOUT:?} at {caller}"))
    }
}

/// Polls until the condition is true.
#[track_caller]
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + TIMEOUT;
        while !condition() {
            assert!(Instant::now() < deadline, "still not so: {caller}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
