//! Arbitrary messages on a cluster's subjects: the node does not panic, and its own members remain.
#![no_main]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use clarim_hub::app::{App, HistoryRule};
use clarim_hub::cluster::{Cluster, ClusterSettings, OnGap, Wire};
use clarim_hub::{
    Apps, BusCommand, ChannelKey, ConnectionAddr, ConnectionId, Node, NodeBus, NodeConfig, Output,
    OutputSink, Sockets, Worker, WorkerId, WorkerMessage,
};
use clarim_cluster::{NodeId, Versions, channel_subject, node_subject, nodes_subject};
use clarim_protocol::{ChannelName, Code, Frame};
use libfuzzer_sys::fuzz_target;

const ME: NodeId = NodeId(1);

#[derive(Debug, Arbitrary)]
enum Action<'a> {
    /// Arbitrary bytes.
    Raw {
        subject: u8,
        message: &'a [u8],
    },
    /// Arbitrary bytes after a valid header.
    ClusterMessage {
        subject: u8,
        version: u8,
        from: u8,
        word: &'a [u8],
    },
    Subscribe {
        channel: u8,
    },
    Wait {
        seconds: u8,
    },
    Up,
    Down,
}

const CHANNELS: [&str; 4] = ["news", "presence-a", "cache-c", "presence-cache-b"];

#[derive(Default)]
struct Inbox {
    entries: RefCell<VecDeque<WorkerMessage>>,
    told: RefCell<VecDeque<BusCommand>>,
}

impl OutputSink for Inbox {
    fn execute(&self, output: Output) {
        match output {
            Output::Worker(_, message) => self.entries.borrow_mut().push_back(message),
            Output::Bus(command) => self.told.borrow_mut().push_back(command),
            _ => {}
        }
    }
}

struct Nowhere;

impl Sockets for Nowhere {
    fn send(&mut self, _: ConnectionId, frame: Frame) {
        assert!(std::str::from_utf8(frame.payload()).is_ok() || frame.payload().len() < 126);
    }
    fn send_to_all(&mut self, _: &[ConnectionId], _: Option<ConnectionId>, _: Frame) {}
    fn close(&mut self, _: ConnectionId, _: Code, _: &str) {}
}

/// A bus that confirms everything at once and delivers nothing.
#[derive(Default)]
struct Bus {
    subscribed: Vec<String>,
    published: Vec<u64>,
}

impl Wire for Bus {
    fn subscribe(&mut self, subject: &str) {
        self.subscribed.push(subject.to_owned());
    }
    fn unsubscribe(&mut self, _: &str) {}
    fn publish(&mut self, _: &str, _: Bytes, ticket: u64) {
        self.published.push(ticket);
    }
    fn follow(&mut self, _: &str) {}
    fn unfollow(&mut self, _: &str) {}
    fn append(&mut self, _: &str, _: &HistoryRule, _: Bytes, _: Option<&str>, ticket: u64) {
        self.published.push(ticket);
    }
    fn read(&mut self, _: &str, _: &HistoryRule, _: u64, _: u64) {}
}

struct World {
    node: Arc<Node<Inbox>>,
    worker: Worker<Inbox>,
    cluster: Cluster<Inbox>,
    bus: Bus,
    clients: Vec<ConnectionId>,
    now: Duration,
}

impl World {
    fn new() -> Self {
        let mut app = App::new("1", "key", "secret");
        app.subscription_count = true;
        app.hooks.occupancy = true;
        app.hooks.members = true;
        let config = NodeConfig { bus: NodeBus::Cluster(ME), ..NodeConfig::new(1) };
        let node = Arc::new(Node::new(Apps::new([app]), config, Inbox::default()));
        let settings = ClusterSettings {
            prefix: "p".to_owned(),
            lease: Duration::from_secs(10),
            deadline: Duration::from_secs(1),
            is_ordered: true,
            on_gap: OnGap::Event,
            versions: Versions::OWN,
        };
        let cluster = Cluster::new(node.clone(), ME, settings);
        let worker = Worker::new(WorkerId(0), node.clone());
        let bus = Bus::default();
        let clients = Vec::new();
        let now = Duration::from_secs(1000);
        let mut world = Self { node, worker, cluster, bus, clients, now };
        world.cluster.start(now, &mut world.bus);
        world.cluster.up(now, &mut world.bus);
        world
    }

    fn subject(&self, n: u8) -> String {
        let n = usize::from(n) % (CHANNELS.len() + 2);
        match CHANNELS.get(n) {
            Some(name) => {
                let name = ChannelName::parse(name, 200).expect("a valid name");
                channel_subject("p", "1", &name)
            }
            None if n == CHANNELS.len() => nodes_subject("p"),
            None => node_subject("p", ME),
        }
    }

    fn act(&mut self, action: Action<'_>) {
        let now = self.now;
        match action {
            Action::Raw { subject, message } => {
                let subject = self.subject(subject);
                self.cluster.message(&subject, message, |_, _| None, now, &mut self.bus);
            }
            Action::ClusterMessage { subject, version, from, word } => {
                let subject = self.subject(subject);
                let from = u64::from(from % 4).to_le_bytes();
                let message = [&[0xC1, 2 + version % 2], &from[..], word].concat();
                self.cluster.message(&subject, &message, |_, _| None, now, &mut self.bus);
            }
            Action::Subscribe { channel } if self.clients.len() < 10 => self.subscribe(channel),
            Action::Subscribe { .. } => {}
            Action::Wait { seconds } => {
                self.now += Duration::from_secs(u64::from(seconds));
                self.worker.sweep(0..self.worker.slots(), self.now, &mut Nowhere);
                self.node.sweep(self.now);
                self.cluster.tick(self.now, &mut self.bus);
            }
            Action::Up => self.cluster.up(now, &mut self.bus),
            Action::Down => self.cluster.down(now),
        }
    }

    fn subscribe(&mut self, channel: u8) {
        let name = CHANNELS[usize::from(channel) % CHANNELS.len()];
        let app = self.node.apps().find_by_key("key").expect("the one app");
        self.node.apps().admit(app).expect("no limit");
        let nonce = self.clients.len() as u64 + 1;
        let (id, _) = self.worker.open(app, None, nonce, self.now);
        self.clients.push(id);
        let seat = ConnectionAddr { worker: WorkerId(0), connection: id };
        let key = &self.node.apps().get(app).key;
        let member = format!(r#"{{"user_id":"u{nonce}"}}"#);
        let auth = key.sign_channel(seat.socket_id(nonce), name, Some(&member));
        let text = format!(
            r#"{{"event":"pusher:subscribe","data":{{"channel":"{name}","auth":"{auth}","channel_data":{member:?}}}}}"#
        );
        self.worker.receive(id, &text, self.now, true, &mut Nowhere);
    }

    fn settle(&mut self) {
        loop {
            let entry = self.node.sink().entries.borrow_mut().pop_front();
            if let Some(entry) = entry {
                self.worker.process(entry, self.now, &mut Nowhere);
                continue;
            }
            let told = self.node.sink().told.borrow_mut().pop_front();
            if let Some(told) = told {
                self.cluster.execute(told, self.now, &mut self.bus);
            } else if let Some(subject) = self.bus.subscribed.pop() {
                self.cluster.subscribed(&subject, false, self.now);
            } else if let Some(ticket) = self.bus.published.pop() {
                self.cluster.published(ticket, Some(1), self.now);
            } else {
                return;
            }
        }
    }
}

fuzz_target!(|actions: Vec<Action<'_>>| {
    let mut world = World::new();
    world.subscribe(1);
    world.settle();
    for action in actions {
        world.act(action);
        world.settle();
    }
    let name = ChannelName::parse("presence-a", 200).expect("a valid name");
    let app = world.node.apps().find_by_key("key").expect("the one app");
    let users = world.node.users(&ChannelKey { app, name });
    assert!(users.iter().any(|id| id.as_str() == "u1"), "{users:?}");
});
