//! Clients of a cluster: each applies the messages of its channels, and panics on messages it must not get.

use std::collections::{BTreeMap, BTreeSet};

use clarim_hub::{AppIndex, ConnectionAddr, DeliveryAcks};
use clarim_protocol::SocketId;
use serde_json::{Value, json};

use crate::cluster::net::Net;
use crate::harness::{self, Out};

/// A client, on one of the nodes.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) node: usize,
    pub(crate) addr: ConnectionAddr,
    pub(crate) socket_id: SocketId,
    pub(crate) user: Option<String>,
    pub(crate) watchlist: BTreeMap<String, bool>,
    pub(crate) channels: BTreeMap<String, View>,
    pub(crate) refused: Vec<String>,
}

/// A subscription as its client sees it.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) user: String,
    pub(crate) succeeded: bool,
    /// The members as `subscription_succeeded` listed them.
    pub(crate) list: Option<BTreeSet<String>>,
    /// Up to which number events were published when the subscription was known to have succeeded.
    pub(crate) since: Option<u64>,
    pub(crate) members: BTreeSet<String>,
    /// Number of `member_removed` messages.
    pub(crate) leaves: usize,
    pub(crate) count: u64,
    /// Events, by the node that published them, in the order they came in.
    pub(crate) events: BTreeMap<u64, Vec<u64>>,
    /// Events by node and number, in the order they came in.
    pub(crate) order: Vec<(u64, u64)>,
    pub(crate) cache_miss: bool,
    /// Number of `clarim:gap` messages.
    pub(crate) gaps: usize,
    /// Up to which number events were published when the last gap was known.
    pub(crate) gap_at: Option<u64>,
    is_gap_new: bool,
}

impl Client {
    pub(crate) fn connect(net: &mut Net, node: usize) -> Self {
        let app = app(net, node);
        let addr = net.places[node].world.connect(app, 0).unwrap();
        let socket_id = net.places[node].world.desk(addr).socket_id(addr.connection);
        let watchlist = BTreeMap::new();
        let channels = BTreeMap::new();
        Self { node, addr, socket_id, user: None, watchlist, channels, refused: Vec::new() }
    }

    pub(crate) fn subscribe(&mut self, net: &mut Net, channel: &str, user: &str) {
        let index = app(net, self.node);
        let key = net.places[self.node].world.node.apps().get(index).key.clone();
        let member = channel
            .starts_with("presence-")
            .then(|| json!({"user_id": user, "user_info": {"name": user}}).to_string());
        let auth = key.sign_channel(self.socket_id, channel, member.as_deref());
        let data = json!({"channel": channel, "auth": auth, "channel_data": member});
        if !self.channels.contains_key(channel) {
            let view = View { user: user.to_owned(), ..View::default() };
            self.channels.insert(channel.to_owned(), view);
            self.say(net, &json!({"event": "pusher:subscribe", "data": data}));
        }
    }

    pub(crate) fn unsubscribe(&mut self, net: &mut Net, channel: &str) {
        self.hear(net);
        if self.channels.remove(channel).is_some() {
            let data = json!({"channel": channel});
            self.say(net, &json!({"event": "pusher:unsubscribe", "data": data}));
            // Messages that were sent before may still arrive.
            net.places[self.node].world.take(self.addr);
        }
    }

    pub(crate) fn sign_in(&mut self, net: &mut Net, user: &str, watched: &[String]) {
        if self.user.is_some() {
            return;
        }
        let index = app(net, self.node);
        let key = net.places[self.node].world.node.apps().get(index).key.clone();
        let user_data = json!({"id": user, "watchlist": watched}).to_string();
        let auth = key.sign_user(self.socket_id, &user_data);
        self.user = Some(user.to_owned());
        self.watchlist = watched.iter().map(|user| (user.clone(), false)).collect();
        let data = json!({"auth": auth, "user_data": user_data});
        self.say(net, &json!({"event": "pusher:signin", "data": data}));
    }

    pub(crate) fn hang_up(self, net: &mut Net) {
        net.places[self.node].world.hang_up(self.addr);
        let now = net.now;
        net.places[self.node].obey(now);
    }

    pub(crate) fn say(&self, net: &mut Net, message: &Value) {
        let now = net.now;
        let place = &mut net.places[self.node];
        place.world.receive(self.addr, &message.to_string());
        place.obey(now);
    }

    /// Applies the messages that have arrived. Panics on one that must not arrive.
    pub(crate) fn hear(&mut self, net: &mut Net) {
        for out in net.places[self.node].world.take(self.addr) {
            let Out::Frame(frame) = out else { panic!("closed: {out:?}") };
            let frame: Value = serde_json::from_str(harness::text(&frame).unwrap()).unwrap();
            self.hear_frame(&frame);
        }
    }

    fn hear_frame(&mut self, frame: &Value) {
        let event = frame["event"].as_str().unwrap();
        if event == "pusher_internal:watchlist_events" {
            for change in inner(frame)["events"].as_array().unwrap() {
                for user in change["user_ids"].as_array().unwrap() {
                    let online = change["name"] == "online";
                    self.watchlist.insert(user.as_str().unwrap().to_owned(), online);
                }
            }
            return;
        }
        if event == "pusher:subscription_error" {
            let channel = frame["channel"].as_str().unwrap();
            self.channels.remove(channel);
            self.refused.push(channel.to_owned());
        }
        let Some(channel) = frame["channel"].as_str() else { return };
        let Some(view) = self.channels.get_mut(channel) else {
            assert!(event.ends_with(":subscription_error"), "no subscription: {frame}");
            return;
        };
        view.hear(event, frame);
    }
}

impl View {
    /// Records up to which number events have been published.
    pub(crate) fn observe(&mut self, published: u64) {
        if self.succeeded {
            self.since.get_or_insert(published);
        }
        if std::mem::take(&mut self.is_gap_new) {
            self.gap_at = Some(published);
        }
    }

    fn hear(&mut self, event: &str, frame: &Value) {
        let user = || inner(frame)["user_id"].as_str().unwrap().to_owned();
        if event == "pusher_internal:subscription_succeeded" {
            assert!(!self.succeeded, "succeeded twice");
            self.succeeded = true;
            if let Some(ids) = inner(frame)["presence"]["ids"].as_array() {
                self.members = ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
                assert_eq!(self.members.len(), ids.len(), "a member is listed twice");
                assert!(self.members.contains(&self.user), "oneself is not in the list");
                self.list = Some(self.members.clone());
            }
            return;
        }
        assert!(self.succeeded, "a frame before subscription_succeeded: {frame}");
        match event {
            "pusher_internal:member_added" => {
                assert!(self.members.insert(user()), "added twice: {frame}");
            }
            "pusher_internal:member_removed" => {
                assert!(self.members.remove(&user()), "removed who was not there: {frame}");
                self.leaves += 1;
            }
            "pusher_internal:subscription_count" => {
                self.count = inner(frame)["subscription_count"].as_u64().unwrap();
            }
            "pusher:cache_miss" => self.cache_miss = true,
            "clarim:gap" => {
                self.gaps += 1;
                self.is_gap_new = true;
            }
            "E" | "client-e" => {
                let data = inner(frame);
                let node = data["node"].as_u64().unwrap();
                let events = self.events.entry(node).or_default();
                let id = data["id"].as_u64().unwrap();
                assert!(events.last().is_none_or(|last| *last < id), "out of order: {frame}");
                events.push(id);
                self.order.push((node, id));
            }
            _ => panic!("what is this? {frame}"),
        }
    }
}

pub(crate) fn app(net: &Net, node: usize) -> AppIndex {
    net.places[node].world.node.apps().find_by_id("one").unwrap()
}

/// Publishes an event that contains its node and its number on that node.
pub(crate) fn publish(
    net: &mut Net,
    node: usize,
    channel: &str,
    except: Option<SocketId>,
    id: u64,
) {
    let now = net.now;
    let key = harness::key(app(net, node), channel);
    let data = json!(json!({"node": node, "id": id}).to_string()).to_string();
    let place = &mut net.places[node];
    let frame = harness::event("E", &key.name, &data);
    place.world.node.publish(&key, &frame, except, DeliveryAcks::default(), now);
    place.obey(now);
}

fn inner(frame: &Value) -> Value {
    match &frame["data"] {
        Value::String(text) => serde_json::from_str(text).unwrap(),
        data => data.clone(),
    }
}
