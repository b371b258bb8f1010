//! A server for each test, and clients of it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clarim_client::{
    Authorization, Authorizer, BoxFuture, Channel, Client, Error, KeyAuthorizer, Options, Update,
    UserAuthorization,
};
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest::Event;
use clarim_server::config::{ServerConfig, Tls};
use clarim_server::{App, HistoryRule, Server};
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};

/// Timeout for a step of a test; generous, since machines may be busy.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(TIMEOUT, future).await.expect("in time")
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
        Self::start_at(0)
    }

    pub(crate) fn start_at(port: u16) -> Self {
        Self::start_with(ServerConfig::default().port(port))
    }

    pub(crate) fn start_with(settings: ServerConfig) -> Self {
        Self::serve(settings, App::new("1", "key", "secret"))
    }

    /// A server with a self-signed certificate, whose file is returned.
    pub(crate) fn with_tls(folder: &Path) -> (Self, PathBuf) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let cert = folder.join("cert.pem");
        let key = folder.join("key.pem");
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let tls = Some(Tls::new(cert.clone(), key));
        (Self::start_with(ServerConfig::default().tls(tls).port(0)), cert)
    }

    /// A server that keeps the events of some channels.
    pub(crate) fn with_history(rules: Vec<HistoryRule>) -> Self {
        let mut app = App::new("1", "key", "secret");
        app.history = rules;
        Self::serve(ServerConfig::default().port(0), app)
    }

    fn serve(settings: ServerConfig, app: App) -> Self {
        let settings = settings.host("127.0.0.1".to_owned()).drain(Duration::ZERO);
        Self(Server::start(settings, vec![app], false).unwrap())
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.address().unwrap().port()
    }

    /// Options of a user of this server.
    pub(crate) fn options(&self, user: &str) -> Options {
        options(self.port(), user)
    }

    pub(crate) fn connect(&self, user: &str) -> Client {
        Client::connect(self.options(user)).unwrap()
    }

    pub(crate) async fn publish(&self, channel: &str, name: &str, data: &Value) {
        self.publish_text(channel, name, &data.to_string()).await;
    }

    pub(crate) async fn publish_text(&self, channel: &str, name: &str, data: &str) {
        self.publish_except(channel, name, data, None).await;
    }

    /// Publishes to all subscribers but one.
    pub(crate) async fn publish_except(
        &self,
        channel: &str,
        name: &str,
        data: &str,
        socket_id: Option<String>,
    ) {
        let data = to_raw_value(data).unwrap();
        let event = Event {
            name: name.to_owned(),
            data: &data,
            channels: None,
            channel: Some(channel.to_owned()),
            socket_id,
            info: None,
            idempotency_key: None,
        };
        self.0.publisher().publish("1", &event).await.unwrap();
    }
}

/// Options of a user, with short delays to keep tests fast.
pub(crate) fn options(port: u16, user: &str) -> Options {
    let authorizer =
        KeyAuthorizer::new("key", "secret").user(user, json!({ "name": user.to_uppercase() }));
    Options::new("key")
        .host("127.0.0.1", port)
        .authorizer(authorizer)
        .reconnect_after(Duration::from_millis(20), Duration::from_millis(200))
}

/// Authorizes all channels, with this key for encrypted ones.
#[derive(Debug)]
pub(crate) struct WithKey(pub(crate) [u8; 32]);

impl Authorizer for WithKey {
    fn channel<'a>(
        &'a self,
        socket_id: &'a str,
        channel: &'a str,
    ) -> BoxFuture<'a, Result<Authorization, Error>> {
        Box::pin(async move {
            if !channel.starts_with("private-encrypted-") {
                let authorizer = KeyAuthorizer::new("key", "secret").user("ana", json!({}));
                return authorizer.channel(socket_id, channel).await;
            }
            let auth = AppKey::new("key", "secret");
            let auth = auth.sign_channel(socket_id.parse().unwrap(), channel, None);
            let answer = json!({ "auth": auth, "shared_secret": STANDARD.encode(self.0) });
            Ok(serde_json::from_value(answer).unwrap())
        })
    }

    fn user<'a>(&'a self, socket_id: &'a str) -> BoxFuture<'a, Result<UserAuthorization, Error>> {
        Box::pin(async move {
            let authorizer = KeyAuthorizer::new("key", "secret").user("ana", json!({}));
            Authorizer::user(&authorizer, socket_id).await
        })
    }
}

/// Data of an encrypted channel.
pub(crate) fn seal(key: [u8; 32], data: &Value) -> Value {
    let cipher = XSalsa20Poly1305::new(&key.into());
    let nonce = [1; 24];
    let ciphertext = cipher.encrypt(&nonce.into(), data.to_string().as_bytes()).unwrap();
    json!({ "nonce": STANDARD.encode(nonce), "ciphertext": STANDARD.encode(ciphertext) })
}

pub(crate) async fn subscribed(channel: &Channel) {
    within(channel.subscribed()).await.unwrap();
}

pub(crate) async fn next(channel: &mut Channel) -> Update {
    within(channel.next()).await.expect("an update, but the client is gone")
}

/// Name and data of the next event.
pub(crate) async fn event(channel: &mut Channel) -> (String, Value) {
    let event = within(channel.event()).await.expect("an event, but the client is gone");
    let data = event.data().unwrap();
    (event.name, data)
}

/// Ids of the members.
pub(crate) fn ids(channel: &Channel) -> Vec<&str> {
    let mut ids: Vec<&str> = channel.here().iter().map(|member| member.id.as_str()).collect();
    ids.sort_unstable();
    ids
}
