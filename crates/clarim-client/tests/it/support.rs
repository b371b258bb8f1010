//! A server for each test, and clients of it.

use std::future::Future;
use std::time::Duration;

use clarim_client::{Channel, Client, KeyAuthorizer, Options, Update};
use clarim_protocol::rest::Event;
use clarim_server::config::ServerConfig;
use clarim_server::{App, Server};
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
        let host = "127.0.0.1".to_owned();
        let drain = Duration::ZERO;
        let settings = settings.host(host).drain(drain);
        Self(Server::start(settings, vec![App::new("1", "key", "secret")], false).unwrap())
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
        let data = to_raw_value(data).unwrap();
        let event = Event {
            name: name.to_owned(),
            data: &data,
            channels: None,
            channel: Some(channel.to_owned()),
            socket_id: None,
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
