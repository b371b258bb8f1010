//! The same with real threads, to find locks that are released too early and messages that are sent too late.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use clarim_hub::app::App;
use clarim_hub::{AppIndex, ConnectionId, DeliveryAcks, Node, WorkerId};
use serde_json::{Value, json};

use crate::harness::{self, Desk, Out, Outbound};

const THREADS: u16 = 4;
const CLIENTS: usize = 50;
const STEPS: usize = 500;
const USERS: u16 = 100;
const NOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Succeeded(BTreeSet<u16>),
    Added(u16),
    Removed(u16),
    /// The number of an event, and the thread that published it.
    Event(u16, usize),
    Other(String),
}

/// One subscription from beginning to end.
#[derive(Debug, Default)]
struct Story {
    members: BTreeSet<u16>,
    heard: Vec<Heard>,
}

/// A thread of the node, with its clients.
struct Crew {
    thread: u16,
    node: Arc<Node<Outbound>>,
    app: AppIndex,
    channel: String,
    desk: Desk,
    clients: Vec<ConnectionId>,
    /// The events that the subscribed clients have got since.
    stories: Vec<Option<Story>>,
    ended: Vec<Story>,
    published: usize,
    random: fastrand::Rng,
    /// Frames are shared: each is read once.
    read: HashMap<Vec<u8>, Heard>,
}

fn crews(channel: &str) -> Vec<Crew> {
    let node = harness::node(vec![App::new("one", "key", "secret")], THREADS, true);
    let app = node.apps().find_by_id("one").unwrap();
    let crew = |thread| Crew {
        thread,
        node: node.clone(),
        app,
        channel: channel.to_owned(),
        desk: Desk::new(WorkerId(thread), node.clone()),
        clients: Vec::new(),
        stories: Vec::new(),
        ended: Vec::new(),
        published: 0,
        random: fastrand::Rng::with_seed(u64::from(thread)),
        read: HashMap::new(),
    };
    (0..THREADS).map(crew).collect()
}

/// Does `work` for all crews at once.
fn at_once(crews: &mut [Crew], work: impl Fn(&mut Crew) + Sync) {
    let ready = Barrier::new(crews.len());
    thread::scope(|scope| {
        for crew in crews {
            let ready = &ready;
            let work = &work;
            scope.spawn(move || {
                ready.wait();
                work(crew);
            });
        }
    });
}

impl Crew {
    /// A new client, not subscribed yet.
    fn connect(&mut self) -> usize {
        let nonce = self.random.u64(..);
        self.clients.push(self.desk.connect(self.app, None, nonce, NOW).unwrap());
        self.stories.push(None);
        self.clients.len() - 1
    }

    fn join(&mut self, client: usize, user: u16) {
        let socket_id = self.desk.socket_id(self.clients[client]);
        let channel_data = json!({"user_id": user}).to_string();
        let key = &self.node.apps().get(self.app).key;
        let auth = key.sign_channel(socket_id, &self.channel, Some(&channel_data));
        let data = json!({"channel": self.channel, "auth": auth, "channel_data": channel_data});
        self.say(client, &json!({"event": "pusher:subscribe", "data": data}));
    }

    fn leave(&mut self, client: usize) {
        self.listen();
        let data = json!({"channel": self.channel});
        self.say(client, &json!({"event": "pusher:unsubscribe", "data": data}));
        self.ended.extend(self.stories[client].take());
    }

    fn hang_up(&mut self, client: usize) {
        self.listen();
        let connection = self.clients.swap_remove(client);
        self.ended.extend(self.stories.swap_remove(client));
        self.desk.hang_up(connection, NOW);
    }

    fn publish(&mut self) {
        let key = harness::key(self.app, &self.channel);
        let data = json!(json!([self.thread, self.published]).to_string()).to_string();
        let frame = harness::event("E", &key.name, &data);
        self.published += 1;
        self.node.publish(&key, &frame, None, DeliveryAcks::default(), NOW);
    }

    fn say(&mut self, client: usize, message: &Value) {
        self.desk.receive(self.clients[client], &message.to_string(), NOW);
    }

    fn random_step(&mut self) {
        let client = self.random.usize(..CLIENTS);
        if client >= self.clients.len() {
            self.connect();
            return;
        }
        match self.random.u32(..10) {
            0..4 => self.publish(),
            // The first client of the first thread stays: it hears all.
            _ if client == 0 => self.desk.run(self.random.usize(1..20), NOW),
            4..9 if self.stories[client].is_some() => self.leave(client),
            4..9 => {
                let user = self.random.u16(..USERS);
                self.join(client, user);
            }
            _ => self.hang_up(client),
        }
        self.listen();
    }

    fn listen(&mut self) {
        for (client, connection) in self.clients.iter().enumerate() {
            for out in self.desk.take(*connection) {
                let heard = match out {
                    Out::Frame(frame) => self
                        .read
                        .entry(frame.payload().to_vec())
                        .or_insert_with(|| read(harness::text(&frame).unwrap()))
                        .clone(),
                    Out::Close(code, reason) => Heard::Other(format!("{code} {reason}")),
                };
                match (&mut self.stories[client], heard) {
                    (story @ None, Heard::Succeeded(members)) => {
                        *story = Some(Story { members, heard: Vec::new() });
                    }
                    (None, Heard::Other(greeting)) if greeting.contains("established") => {}
                    (None, heard) => panic!("heard without a subscription: {heard:?}"),
                    (Some(story), heard) => story.heard.push(heard),
                }
            }
        }
    }

    fn finish(&mut self) {
        self.desk.run(usize::MAX, NOW);
        self.listen();
    }
}

fn read(text: &str) -> Heard {
    let frame: Value = serde_json::from_str(text).unwrap();
    let data: Value = serde_json::from_str(frame["data"].as_str().unwrap()).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as u16;
    match frame["event"].as_str().unwrap() {
        "pusher_internal:subscription_succeeded" => {
            let ids = data["presence"]["ids"].as_array().unwrap();
            Heard::Succeeded(ids.iter().map(number).collect())
        }
        "pusher_internal:member_added" => Heard::Added(number(&data["user_id"])),
        "pusher_internal:member_removed" => Heard::Removed(number(&data["user_id"])),
        "E" => Heard::Event(number(&data[0]), data[1].as_u64().unwrap() as usize),
        _ => Heard::Other(text.to_owned()),
    }
}

/// The members before the first step of a story and after each.
fn states(story: &Story) -> Vec<BTreeSet<u16>> {
    let mut members = story.members.clone();
    let mut states = vec![members.clone()];
    for heard in &story.heard {
        step(&mut members, heard);
        states.push(members.clone());
    }
    states
}

/// The members at the end of a story.
fn last_state(story: &Story) -> BTreeSet<u16> {
    let mut members = story.members.clone();
    story.heard.iter().for_each(|heard| step(&mut members, heard));
    members
}

/// Panics if the step contradicts what was known.
fn step(members: &mut BTreeSet<u16>, heard: &Heard) {
    match heard {
        Heard::Added(user) => assert!(members.insert(*user), "{user} was added twice"),
        Heard::Removed(user) => assert!(members.remove(user), "{user} was not there"),
        Heard::Event(..) => {}
        Heard::Succeeded(_) | Heard::Other(_) => panic!("unexpected: {heard:?}"),
    }
}

/// Whether the story is a part of `whole` without gaps that begins in a state with its first member list.
fn is_part(story: &Story, whole: &Story, states: &[BTreeSet<u16>]) -> bool {
    let begins =
        |&at: &usize| states[at] == story.members && whole.heard[at..].starts_with(&story.heard);
    (0..states.len()).any(|at| begins(&at))
}

fn assert_nothing_is_left(mut crews: Vec<Crew>) {
    at_once(&mut crews, |crew| {
        while !crew.clients.is_empty() {
            crew.hang_up(0);
        }
    });
    for crew in &mut crews {
        crew.finish();
        assert!(crew.desk.is_empty());
    }
    assert!(crews[0].node.is_empty());
    assert_eq!(crews[0].node.apps().connections(crews[0].app), 0);
}

#[test]
fn threads_agree_on_one_order_of_events_joins_and_leaves() {
    let mut crews = crews("presence-crowd");
    let observer = crews[0].connect();
    crews[0].join(observer, USERS);
    crews[0].listen();
    at_once(&mut crews, |crew| {
        for _ in 0..STEPS {
            crew.random_step();
        }
    });
    crews.iter_mut().for_each(Crew::finish);

    let whole = crews[0].stories[observer].take().unwrap();
    let states = states(&whole);
    for crew in &crews {
        let of_this_thread = whole.heard.iter().filter_map(|heard| match heard {
            Heard::Event(thread, number) => (*thread == crew.thread).then_some(*number),
            _ => None,
        });
        assert!(of_this_thread.eq(0..crew.published), "events of thread {}", crew.thread);
        for story in crew.ended.iter().chain(crew.stories.iter().flatten()) {
            assert!(is_part(story, &whole, &states), "{story:?} is no part of {whole:?}");
        }
        for story in crew.stories.iter().flatten() {
            assert!(whole.heard.ends_with(&story.heard), "{story:?} ends too early");
        }
    }
    let stories: usize = crews.iter().map(|crew| crew.ended.len()).sum();
    assert!(stories > 100, "only {stories} subscriptions have come and gone");
    let key = harness::key(crews[0].app, "presence-crowd");
    let users = crews[0].node.users(&key);
    let users: BTreeSet<u16> = users.iter().map(|id| id.as_str().parse().unwrap()).collect();
    assert_eq!(states.last(), Some(&users));
    assert_nothing_is_left(crews);
}

#[test]
fn members_that_join_at_the_same_time_see_each_other() {
    for _ in 0..5 {
        let mut crews = crews("presence-rush");
        at_once(&mut crews, |crew| {
            for n in 0..CLIENTS {
                let client = crew.connect();
                crew.join(client, crew.thread * CLIENTS as u16 + n as u16);
            }
        });
        crews.iter_mut().for_each(Crew::finish);
        let all: BTreeSet<u16> = (0..THREADS * CLIENTS as u16).collect();
        for story in crews.iter().flat_map(|crew| crew.stories.iter().flatten()) {
            assert_eq!(last_state(story), all);
        }
        assert_eq!(crews.iter().flat_map(|crew| crew.stories.iter().flatten()).count(), all.len());
        assert_nothing_is_left(crews);
    }
}
