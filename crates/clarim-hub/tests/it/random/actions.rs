//! Random actions of random clients, with workers that run when chance wills, beside a model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clarim_hub::app::App;
use clarim_hub::{AppIndex, CACHE_TTL, ChannelKey, ConnectionAddr, DeliveryAcks};
use clarim_protocol::SocketId;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::model::{Published, Truth, View, Watchlist};
use crate::harness::{self, Out, World, handover};

const CHANNELS: [&str; 6] =
    ["news", "cache-rates", "private-doc", "presence-room", "presence-cache-hall", USER_CHANNEL];
const USER_CHANNEL: &str = "#server-to-user-u1";
const MAX_MEMBERS: usize = 3;

/// Numbers of clients are taken modulo the number of clients there are.
#[derive(Debug, Clone)]
enum Action {
    Connect { worker: u16 },
    Subscribe { client: usize, channel: usize, user: usize },
    Unsubscribe { client: usize, channel: usize },
    Whisper { client: usize, channel: usize },
    Publish { channel: usize, except: Option<usize> },
    SignIn { client: usize, user: usize, watched: Vec<usize> },
    HangUp { client: usize },
    Terminate { user: usize },
    Pass { seconds: u64 },
    Run { worker: u16, entries: usize },
    RunAll,
    HandOver { workers: u16 },
}

fn action() -> impl Strategy<Value = Action> {
    let client = 0..30usize;
    let channel = 0..CHANNELS.len();
    let user = 0..4usize;
    prop_oneof![
        4 => (0..4u16).prop_map(|worker| Action::Connect { worker }),
        10 => (client.clone(), channel.clone(), user.clone())
            .prop_map(|(client, channel, user)| Action::Subscribe { client, channel, user }),
        4 => (client.clone(), channel.clone())
            .prop_map(|(client, channel)| Action::Unsubscribe { client, channel }),
        4 => (client.clone(), channel.clone())
            .prop_map(|(client, channel)| Action::Whisper { client, channel }),
        8 => (channel, proptest::option::of(client.clone()))
            .prop_map(|(channel, except)| Action::Publish { channel, except }),
        3 => (client.clone(), user.clone(), proptest::collection::vec(user.clone(), 0..4))
            .prop_map(|(client, user, watched)| Action::SignIn { client, user, watched }),
        3 => client.prop_map(|client| Action::HangUp { client }),
        1 => user.prop_map(|user| Action::Terminate { user }),
        2 => prop_oneof![0..40u64, 1000..2000u64].prop_map(|seconds| Action::Pass { seconds }),
        8 => (0..4u16, 1..6usize).prop_map(|(worker, entries)| Action::Run { worker, entries }),
        2 => Just(Action::RunAll),
        2 => (1..=4u16).prop_map(|workers| Action::HandOver { workers }),
    ]
}

struct Client {
    /// Never given to another client.
    id: usize,
    addr: ConnectionAddr,
    socket_id: SocketId,
    /// The server has closed it; its socket is still there.
    closed: bool,
    user: Option<String>,
    watchlist: Watchlist,
    views: BTreeMap<usize, View>,
}

#[derive(Default)]
struct Channel {
    history: Vec<Published>,
    cached: Option<(u64, Duration)>,
}

struct Model {
    world: World,
    app: AppIndex,
    clients: Vec<Client>,
    channels: Vec<Channel>,
    ids: u64,
    /// The errors expected by the acting client.
    expected_errors: usize,
    errors: usize,
}

impl Model {
    fn new(workers: u16) -> Self {
        let mut app = App::new("one", "key", "secret");
        app.subscription_count = true;
        app.client_events_on_public = true;
        app.limits.presence_members = MAX_MEMBERS;
        let world = World::new(vec![app], workers);
        let app = world.node.apps().find_by_id("one").unwrap();
        let channels = CHANNELS.iter().map(|_| Channel::default()).collect();
        let clients = Vec::new();
        Self { world, app, clients, channels, ids: 0, expected_errors: 0, errors: 0 }
    }

    fn act(&mut self, action: &Action) {
        (self.expected_errors, self.errors) = (0, 0);
        match *action {
            Action::Connect { worker } => self.connect(worker % self.world.desks.len() as u16),
            Action::Subscribe { client, channel, user } => {
                self.with(client, |model, at| model.subscribe(at, channel, user));
            }
            Action::Unsubscribe { client, channel } => {
                self.with(client, |model, at| model.unsubscribe(at, channel));
            }
            Action::Whisper { client, channel } => {
                self.with(client, |model, at| model.whisper(at, channel));
            }
            Action::Publish { channel, except } => self.publish(channel, except),
            Action::SignIn { client, user, ref watched } => {
                self.with(client, |model, at| model.sign_in(at, user, watched));
            }
            Action::HangUp { client } => self.hang_up(client),
            Action::Terminate { user } => {
                self.world.node.terminate(self.app, &user_name(user), None);
            }
            Action::Pass { seconds } => self.world.pass(Duration::from_secs(seconds)),
            Action::Run { worker, entries } => {
                self.world.run(worker % self.world.desks.len() as u16, entries);
            }
            Action::RunAll => self.world.run_all(),
            Action::HandOver { workers } => self.hand_over(workers),
        }
        self.listen();
        assert_eq!(self.errors, self.expected_errors, "errors after {action:?}");
        self.check();
    }

    /// Calls `act` with a client that the server listens to.
    fn with(&mut self, client: usize, act: impl FnOnce(&mut Self, usize)) {
        if let Some(at) = client.checked_rem(self.clients.len())
            && !self.clients[at].closed
        {
            act(self, at);
        }
    }

    fn connect(&mut self, worker: u16) {
        let addr = self.world.connect(self.app, worker).unwrap();
        let socket_id = self.world.desk(addr).socket_id(addr.connection);
        self.ids += 1;
        self.clients.push(Client {
            id: self.ids as usize,
            addr,
            socket_id,
            closed: false,
            user: None,
            watchlist: Watchlist::default(),
            views: BTreeMap::new(),
        });
    }

    fn subscribe(&mut self, at: usize, channel: usize, user: usize) {
        let name = CHANNELS[channel];
        let presence = name.starts_with("presence-");
        let user = presence.then(|| user_name(user));
        let channel_data = user.as_ref().map(|user| json!({"user_id": user}).to_string());
        let mut members = self.users(channel);
        let full = user.as_ref().is_some_and(|user| !members.contains(user))
            && members.len() >= MAX_MEMBERS;
        let client = &mut self.clients[at];
        let stranger = name == USER_CHANNEL && client.user.as_deref() != Some("u1");
        if stranger || client.views.contains_key(&channel) || full {
            self.expected_errors = 1;
        } else {
            members.extend(user.clone());
            let cached = name.contains("cache-").then(|| {
                let (id, published) = self.channels[channel].cached?;
                (published + CACHE_TTL > self.world.now).then_some(id)
            });
            let next = self.channels[channel].history.len();
            client.views.insert(channel, View { user, next, cached, members, ..View::default() });
        }
        let key = &self.world.node.apps().get(self.app).key;
        let auth = key.sign_channel(client.socket_id, name, channel_data.as_deref());
        let data = json!({"channel": name, "auth": auth, "channel_data": channel_data});
        self.say(at, &json!({"event": "pusher:subscribe", "data": data}));
    }

    fn unsubscribe(&mut self, at: usize, channel: usize) {
        self.clients[at].views.remove(&channel);
        let data = json!({"channel": CHANNELS[channel]});
        self.say(at, &json!({"event": "pusher:unsubscribe", "data": data}));
    }

    fn whisper(&mut self, at: usize, channel: usize) {
        self.ids += 1;
        let client = &self.clients[at];
        match client.views.get(&channel) {
            Some(view) if CHANNELS[channel] != USER_CHANNEL => {
                let user = view.user.clone();
                let event = Published { id: self.ids, except: Some(client.id), user };
                self.channels[channel].history.push(event);
            }
            _ => self.expected_errors = 1,
        }
        let message = json!({"event": "client-e", "channel": CHANNELS[channel], "data": self.ids});
        self.say(at, &message);
    }

    fn publish(&mut self, channel: usize, except: Option<usize>) {
        self.ids += 1;
        let except = except
            .and_then(|client| client.checked_rem(self.clients.len()))
            .map(|at| (self.clients[at].id, self.clients[at].socket_id));
        let key = self.key(channel);
        let frame = harness::event("E", &key.name, &format!("\"{}\"", self.ids));
        let socket_id = except.map(|(_, socket_id)| socket_id);
        self.world.node.publish(&key, &frame, socket_id, DeliveryAcks::default(), self.world.now);
        let except = except.map(|(id, _)| id);
        self.channels[channel].history.push(Published { id: self.ids, except, user: None });
        self.channels[channel].cached = Some((self.ids, self.world.now));
    }

    fn sign_in(&mut self, at: usize, user: usize, watched: &[usize]) {
        let user = user_name(user);
        let watched: Vec<String> = watched.iter().map(|user| user_name(*user)).collect();
        let user_data = json!({"id": user, "watchlist": watched}).to_string();
        let client = &mut self.clients[at];
        match &client.user {
            Some(already) if *already != user => self.expected_errors = 1,
            Some(_) => {}
            None => {
                client.watchlist.0 = watched.into_iter().map(|user| (user, None)).collect();
                client.user = Some(user);
            }
        }
        let auth = self.world.node.apps().get(self.app).key.sign_user(client.socket_id, &user_data);
        let data = json!({"auth": auth, "user_data": user_data});
        self.say(at, &json!({"event": "pusher:signin", "data": data}));
    }

    /// The node is saved, dropped and restored. No client must notice.
    fn hand_over(&mut self, workers: u16) {
        let addresses = handover::hand_over(&mut self.world, workers);
        for client in &mut self.clients {
            client.addr = addresses[&client.socket_id];
        }
    }

    fn hang_up(&mut self, client: usize) {
        if let Some(at) = client.checked_rem(self.clients.len()) {
            let client = self.clients.swap_remove(at);
            self.world.hang_up(client.addr);
        }
    }

    fn say(&mut self, at: usize, message: &Value) {
        self.world.receive(self.clients[at].addr, &message.to_string());
    }

    /// Applies the frames of all clients. Most of the pinged ones reply.
    fn listen(&mut self) {
        for addr in self.hear().into_iter().filter(|addr| addr.connection.0 % 3 < 2) {
            self.world.receive(addr, r#"{"event":"pusher:pong"}"#);
        }
        // An input may have let a worker run.
        assert_eq!(self.hear(), [], "nobody is pinged twice");
    }

    /// The clients that were pinged.
    fn hear(&mut self) -> Vec<ConnectionAddr> {
        let mut pinged = Vec::new();
        for client in &mut self.clients {
            for out in self.world.take(client.addr) {
                let Out::Frame(frame) = out else {
                    client.closed = true;
                    client.user = None;
                    client.watchlist = Watchlist::default();
                    client.views.clear();
                    continue;
                };
                // A ping control frame, beside the event.
                let Some(text) = harness::text(&frame) else { continue };
                let frame: Value = serde_json::from_str(text).unwrap();
                match frame["event"].as_str().unwrap() {
                    "pusher:connection_established"
                    | "pusher:signin_success"
                    | "pusher:subscription_error"
                    | "pusher_internal:subscription_error" => {}
                    "pusher:error" => match frame["data"]["message"].as_str().unwrap() {
                        "Terminated by the application" | "Pong reply not received in time" => {}
                        _ => self.errors += 1,
                    },
                    "pusher:ping" => pinged.push(client.addr),
                    "pusher_internal:watchlist_events" => client.watchlist.hear(&frame),
                    _ => {
                        let name = frame["channel"].as_str().unwrap();
                        let at = CHANNELS.iter().position(|channel| *channel == name).unwrap();
                        let view = client.views.get_mut(&at).expect("no subscription");
                        view.hear(client.id, &frame, &self.channels[at].history);
                    }
                }
            }
        }
        pinged
    }

    /// The directory always knows the truth; so do the clients of workers with nothing left to do.
    fn check(&mut self) {
        let node = self.world.node.clone();
        assert_eq!(node.apps().connections(self.app) as usize, self.clients.len());
        for (at, name) in CHANNELS.iter().enumerate() {
            let truth = Truth {
                history: &self.channels[at].history,
                presence: name.starts_with("presence-"),
                users: self.users(at),
                subscribers: self.clients.iter().filter(|c| c.views.contains_key(&at)).count(),
            };
            let state = node.channel(&self.key(at), self.world.now);
            assert_eq!(state.subscriptions, truth.subscribers, "{name}");
            let users = node.users(&self.key(at));
            assert_eq!(users.len(), truth.users.len());
            assert!(users.iter().all(|user| truth.users.contains(user.as_str())));
            for client in &mut self.clients {
                if node.sink().is_empty(client.addr.worker)
                    && let Some(view) = client.views.get_mut(&at)
                {
                    view.assert_current(client.id, &truth);
                }
            }
        }
        let online: BTreeSet<&String> = self.clients.iter().flat_map(|c| &c.user).collect();
        for client in self.clients.iter().filter(|c| node.sink().is_empty(c.addr.worker)) {
            for (user, seen) in &client.watchlist.0 {
                assert_eq!(*seen, Some(online.contains(user)), "{user}, as {} knows", client.id);
            }
        }
    }

    fn end(mut self) {
        self.act(&Action::RunAll);
        while !self.clients.is_empty() {
            self.act(&Action::HangUp { client: 0 });
        }
        self.world.assert_empty();
    }

    fn users(&self, channel: usize) -> BTreeSet<String> {
        let views = self.clients.iter().filter_map(|client| client.views.get(&channel));
        views.filter_map(|view| view.user.clone()).collect()
    }

    fn key(&self, channel: usize) -> ChannelKey {
        harness::key(self.app, CHANNELS[channel])
    }
}

fn user_name(user: usize) -> String {
    format!("u{user}")
}

proptest! {
    // Make failures found here into transcripts.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_client_gets_the_true_state_in_order_and_leaves_nothing_behind(
        workers in 1..=4u16,
        actions in proptest::collection::vec(action(), 1..150),
    ) {
        let mut model = Model::new(workers);
        for action in &actions {
            model.act(action);
        }
        model.end();
    }
}
