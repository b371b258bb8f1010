//! Arbitrary messages of several clients: the hub does not panic, and is empty after all have left.
#![no_main]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbitrary::Arbitrary;
use clarim_hub::app::App;
use clarim_hub::{
    Apps, CACHE_TTL, ChannelKey, ConnectionAddr, ConnectionId, DeliveryAcks, Node, NodeConfig,
    Output, OutputSink, Sockets, Worker, WorkerId, WorkerMessage,
};
use clarim_protocol::{ChannelName, Code, Frame, SocketId, server};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Action<'a> {
    Connect,
    Say { client: u8, text: &'a str },
    Subscribe { client: u8, channel: u8, user: u8 },
    Unsubscribe { client: u8, channel: u8 },
    SignIn { client: u8, user: u8, watched: u8 },
    Whisper { client: u8, channel: u8 },
    Publish { channel: u8, except: u8 },
    Terminate { user: u8 },
    Leave { client: u8 },
    Wait { seconds: u8 },
}

const CHANNELS: [&str; 6] =
    ["news", "private-a", "presence-a", "presence-cache-b", "cache-c", "private-encrypted-cache-d"];

#[derive(Default)]
struct Inbox(Mutex<VecDeque<WorkerMessage>>);

impl OutputSink for Inbox {
    fn execute(&self, output: Output) {
        if let Output::Worker(_, message) = output {
            self.0.lock().expect("one thread").push_back(message);
        }
    }
}

/// Sockets that discard frames and remember which connections were closed.
#[derive(Default)]
struct Sink {
    closed: Vec<ConnectionId>,
}

impl Sockets for Sink {
    fn send(&mut self, _: ConnectionId, frame: Frame) {
        assert!(std::str::from_utf8(frame.payload()).is_ok() || frame.payload().len() < 126);
    }
    fn send_to_all(&mut self, _: &[ConnectionId], _: Option<ConnectionId>, _: Frame) {}
    fn close(&mut self, connection: ConnectionId, _: Code, _: &str) {
        self.closed.push(connection);
    }
}

struct World {
    worker: Worker<Inbox>,
    sink: Sink,
    clients: Vec<(ConnectionId, SocketId)>,
    now: Duration,
}

fn channel(n: u8) -> &'static str {
    CHANNELS[usize::from(n) % CHANNELS.len()]
}

impl World {
    fn new() -> Self {
        let mut app = App::new("1", "key", "secret");
        app.subscription_count = true;
        app.client_events_on_public = true;
        app.limits.presence_members = 3;
        let node = Arc::new(Node::new(Apps::new([app]), NodeConfig::new(1), Inbox::default()));
        let worker = Worker::new(WorkerId(0), node);
        Self { worker, sink: Sink::default(), clients: Vec::new(), now: Duration::ZERO }
    }

    fn client(&self, n: u8) -> Option<(ConnectionId, SocketId)> {
        self.clients.get(usize::from(n) % self.clients.len().max(1)).copied()
    }

    fn say(&mut self, client: u8, text: impl FnOnce(SocketId, &App) -> String) {
        let Some((id, socket_id)) = self.client(client) else { return };
        let node = self.worker.node().clone();
        let Some(app) = node.apps().iter().next() else { return };
        self.worker.receive(id, &text(socket_id, app), self.now, true, &mut self.sink);
    }

    fn act(&mut self, action: Action<'_>) {
        let node = self.worker.node().clone();
        let app = node.apps().find_by_key("key").expect("the one app");
        match action {
            Action::Connect if self.clients.len() < 20 => {
                node.apps().admit(app).expect("no limit");
                let nonce = self.clients.len() as u64 + 1;
                let (id, _) = self.worker.open(app, None, nonce, self.now);
                let seat = ConnectionAddr { worker: WorkerId(0), connection: id };
                self.clients.push((id, seat.socket_id(nonce)));
            }
            Action::Connect => {}
            Action::Say { client, text } => self.say(client, |_, _| text.to_owned()),
            Action::Subscribe { client, channel: c, user } => self.say(client, |id, app| {
                let data = format!("{{\"user_id\":{user}}}");
                let data = (user > 0).then_some(data.as_str());
                let auth = app.key.sign_channel(id, channel(c), data);
                let data = data.map(|d| format!(",\"channel_data\":{d:?}")).unwrap_or_default();
                format!(
                    r#"{{"event":"pusher:subscribe","data":{{"channel":"{}","auth":"{auth}"{data}}}}}"#,
                    channel(c)
                )
            }),
            Action::Unsubscribe { client, channel: c } => self.say(client, |_, _| {
                format!(r#"{{"event":"pusher:unsubscribe","data":{{"channel":"{}"}}}}"#, channel(c))
            }),
            Action::SignIn { client, user, watched } => self.say(client, |id, app| {
                let data = format!("{{\"id\":\"{user}\",\"watchlist\":[{watched},{user}]}}");
                let auth = app.key.sign_user(id, &data);
                format!(r#"{{"event":"pusher:signin","data":{{"auth":"{auth}","user_data":{data:?}}}}}"#)
            }),
            Action::Whisper { client, channel: c } => self.say(client, |_, _| {
                format!(r#"{{"event":"client-x","channel":"{}","data":[]}}"#, channel(c))
            }),
            Action::Publish { channel: c, except } => {
                let name = ChannelName::parse(channel(c), 200).expect("a valid name");
                let frame = server::cache_miss(&name);
                let except = self.client(except).map(|(_, id)| id);
                node.publish(&ChannelKey { app, name }, &frame, except, DeliveryAcks::default(), self.now);
            }
            Action::Terminate { user } => node.terminate(app, &user.to_string(), None),
            Action::Leave { client } => {
                if let Some((id, _)) = self.client(client) {
                    self.leave(id);
                }
            }
            Action::Wait { seconds } => {
                self.now += Duration::from_secs(u64::from(seconds));
                self.worker.sweep(0..self.worker.slots(), self.now, &mut self.sink);
                node.sweep(self.now);
            }
        }
    }

    fn leave(&mut self, id: ConnectionId) {
        self.worker.close(id, self.now);
        self.clients.retain(|(other, _)| *other != id);
    }

    /// Empties the worker's inbox, which the contract of `Worker` requires after each input.
    fn settle(&mut self) {
        let node = self.worker.node().clone();
        loop {
            let entry = node.sink().0.lock().expect("one thread").pop_front();
            match entry {
                Some(entry) => self.worker.process(entry, self.now, &mut self.sink),
                None => break,
            }
        }
        for id in std::mem::take(&mut self.sink.closed) {
            if self.clients.iter().any(|(other, _)| *other == id) {
                self.leave(id);
                self.settle();
            }
        }
    }
}

fuzz_target!(|actions: Vec<Action<'_>>| {
    let mut world = World::new();
    for action in actions {
        world.act(action);
        world.settle();
    }
    while let Some(&(id, _)) = world.clients.first() {
        world.leave(id);
        world.settle();
    }
    let node = world.worker.node().clone();
    node.sweep(world.now + CACHE_TTL);
    node.sweep(world.now + CACHE_TTL * 2);
    assert!(world.worker.is_empty());
    assert!(node.is_empty());
});
