//! Clients, and the events that each has received.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use crate::node::{Node, key};

/// A WebSocket client.
pub(crate) struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) id: String,
    pub(crate) channels: BTreeMap<String, View>,
    pub(crate) online: BTreeMap<String, bool>,
    pub(crate) closed: bool,
}

/// A subscription, as its client sees it.
#[derive(Debug, Default, Clone)]
pub(crate) struct View {
    pub(crate) succeeded: bool,
    pub(crate) members: BTreeSet<String>,
    pub(crate) leaves: Vec<String>,
    pub(crate) count: u64,
    /// Numbers of events by the publishing node, in the order of arrival.
    pub(crate) events: BTreeMap<u64, Vec<u64>>,
    /// Numbers of all events, in the order of arrival.
    pub(crate) order: Vec<u64>,
    /// The epoch at the subscription, and the offsets of all events, on a channel with history.
    pub(crate) epoch: String,
    pub(crate) offsets: Vec<u64>,
    /// Number of `clarim:gap` messages.
    pub(crate) gaps: u64,
    /// Numbers of whispers, in the order of arrival.
    pub(crate) whispers: Vec<u64>,
}

impl Client {
    pub(crate) async fn connect(node: &Node) -> Self {
        let url = format!("ws://127.0.0.1:{}/app/key?protocol=7", node.program.port);
        let (ws, _) = ClientBuilder::new().uri(&url).unwrap().connect().await.unwrap();
        let channels = BTreeMap::new();
        let online = BTreeMap::new();
        let mut client = Self { ws, id: String::new(), channels, online, closed: false };
        client.until("the greeting", |client| !client.id.is_empty()).await;
        client
    }

    /// A client that is subscribed to a channel; on a presence channel, as `user`.
    pub(crate) async fn on(node: &Node, channel: &str, user: &str) -> Self {
        let mut client = Self::connect(node).await;
        client.subscribe(channel, user).await;
        client
    }

    pub(crate) async fn subscribe(&mut self, channel: &str, user: &str) {
        self.ask(channel, user).await;
        self.until("the subscription", |client| client.channels[channel].succeeded).await;
    }

    pub(crate) async fn ask(&mut self, channel: &str, user: &str) {
        let member = channel
            .starts_with("presence-")
            .then(|| json!({ "user_id": user, "user_info": { "name": user } }).to_string());
        let auth = key().sign_channel(self.id.parse().unwrap(), channel, member.as_deref());
        self.channels.insert(channel.to_owned(), View::default());
        let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
        self.say(&json!({ "event": "pusher:subscribe", "data": data })).await;
    }

    pub(crate) async fn sign_in(&mut self, user: &str, watched: &[&str]) {
        let user_data = json!({ "id": user, "watchlist": watched }).to_string();
        let auth = key().sign_user(self.id.parse().unwrap(), &user_data);
        let data = json!({ "auth": auth, "user_data": user_data });
        self.say(&json!({ "event": "pusher:signin", "data": data })).await;
    }

    pub(crate) async fn whisper(&mut self, channel: &str, n: u64) {
        self.say(&json!({ "event": "client-e", "channel": channel, "data": { "n": n } })).await;
    }

    async fn say(&mut self, message: &Value) {
        self.ws.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Receives messages until the condition is true.
    pub(crate) async fn until(&mut self, what: &str, mut it: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(90);
        while !it(self) {
            let Ok(message) = timeout_at(until, self.ws.next()).await else {
                panic!("never: {what}; known: {:?}", self.channels);
            };
            assert!(self.hear(message), "the connection has ended; never: {what}");
        }
    }

    /// Receives messages for this time.
    pub(crate) async fn listen(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.closed
            && let Ok(message) = timeout_at(until, self.ws.next()).await
        {
            self.hear(message);
        }
    }

    /// Receives messages until it is done.
    pub(crate) async fn listen_until(&mut self, done: &Cell<bool>) {
        while !done.get() {
            self.listen(Duration::from_millis(20)).await;
        }
    }

    /// Handles a message, and returns whether the connection is open.
    fn hear(&mut self, message: Option<Result<Message, tokio_websockets::Error>>) -> bool {
        let Some(Ok(message)) = message else {
            self.closed = true;
            return false;
        };
        if message.is_close() {
            self.closed = true;
        }
        if let Some(text) = message.as_text() {
            self.hear_frame(&serde_json::from_str(text).unwrap());
        }
        true
    }

    fn hear_frame(&mut self, frame: &Value) {
        let event = frame["event"].as_str().unwrap();
        let data = match &frame["data"] {
            Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
            data => data.clone(),
        };
        match event {
            "pusher:connection_established" => self.id = data["socket_id"].as_str().unwrap().into(),
            "pusher_internal:watchlist_events" => {
                for change in data["events"].as_array().unwrap() {
                    for user in change["user_ids"].as_array().unwrap() {
                        let user = user.as_str().unwrap().to_owned();
                        self.online.insert(user, change["name"] == "online");
                    }
                }
            }
            _ => {
                let channel = frame["channel"].as_str().unwrap_or_default();
                if let Some(view) = self.channels.get_mut(channel) {
                    view.hear(event, &data);
                    view.offsets.extend(frame["offset"].as_u64());
                }
            }
        }
    }

    pub(crate) fn members(&self, channel: &str) -> Vec<&str> {
        self.channels[channel].members.iter().map(String::as_str).collect()
    }

    /// The numbers of the events of a node.
    pub(crate) fn events(&self, channel: &str, node: &Node) -> Vec<u64> {
        let events = &self.channels[channel].events;
        events.get(&u64::from(node.program.port)).cloned().unwrap_or_default()
    }
}

impl View {
    fn hear(&mut self, event: &str, data: &Value) {
        let user = || data["user_id"].as_str().unwrap().to_owned();
        match event {
            "pusher_internal:subscription_succeeded" => {
                assert!(!self.succeeded, "succeeded twice");
                self.succeeded = true;
                self.epoch = data["epoch"].as_str().unwrap_or_default().to_owned();
                let ids = data["presence"]["ids"].as_array();
                self.members =
                    ids.into_iter().flatten().map(|id| id.as_str().unwrap().into()).collect();
                return;
            }
            "pusher_internal:member_added" => assert!(self.members.insert(user()), "added twice"),
            "pusher_internal:member_removed" => {
                assert!(self.members.remove(&user()), "removed who was not there");
                self.leaves.push(user());
            }
            "pusher_internal:subscription_count" => {
                self.count = data["subscription_count"].as_u64().unwrap();
            }
            "clarim:gap" => self.gaps += 1,
            "client-e" => self.whispers.push(data["n"].as_u64().unwrap()),
            "E" => {
                let events = self.events.entry(data["node"].as_u64().unwrap()).or_default();
                let n = data["n"].as_u64().unwrap();
                assert!(events.last().is_none_or(|last| *last < n), "{n} behind {events:?}");
                events.push(n);
                self.order.push(n);
            }
            _ => return,
        }
        assert!(self.succeeded, "{event} before subscription_succeeded");
    }
}
