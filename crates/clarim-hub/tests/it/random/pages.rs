//! Pages on networks that break: each gets every event at least once and in order, or learns of a gap.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use clarim_hub::app::{App, HistoryRule};
use clarim_hub::{AppIndex, ConnectionAddr, DeliveryAcks};
use clarim_protocol::{Frame, PageId};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::harness::{self, Out, World, handover};

const CHANNELS: [&str; 3] = ["a", "b", "c"];
const PAGES: usize = 3;
const TTL: Duration = Duration::from_secs(20);

/// The last channel keeps few events, so pages miss too many of them.
const FEW: usize = 3;

#[derive(Debug, Clone)]
enum Action {
    Publish {
        channel: usize,
        except: Option<usize>,
    },
    Subscribe {
        page: usize,
        channel: usize,
    },
    Unsubscribe {
        page: usize,
        channel: usize,
    },
    /// The network delivers some frames to the page, and the page's replies.
    Deliver {
        page: usize,
        frames: usize,
    },
    /// The connection breaks. The server notices now, or only when the page is back.
    Break {
        page: usize,
        is_noticed: bool,
    },
    Reload {
        page: usize,
    },
    Connect {
        page: usize,
        worker: u16,
    },
    Pass {
        seconds: u64,
    },
    Run {
        worker: u16,
        entries: usize,
    },
    HandOver {
        workers: u16,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let page = 0..PAGES;
    let channel = 0..CHANNELS.len();
    let worker = 0..2u16;
    let at = (page.clone(), channel.clone());
    prop_oneof![
        9 => (channel, proptest::option::weighted(0.2, page.clone()))
            .prop_map(|(channel, except)| Action::Publish { channel, except }),
        6 => at.clone().prop_map(|(page, channel)| Action::Subscribe { page, channel }),
        1 => at.prop_map(|(page, channel)| Action::Unsubscribe { page, channel }),
        8 => (page.clone(), 1..12usize)
            .prop_map(|(page, frames)| Action::Deliver { page, frames }),
        3 => (page.clone(), any::<bool>())
            .prop_map(|(page, is_noticed)| Action::Break { page, is_noticed }),
        1 => page.clone().prop_map(|page| Action::Reload { page }),
        5 => (page, worker.clone()).prop_map(|(page, worker)| Action::Connect { page, worker }),
        5 => prop_oneof![4 => 1..3u64, 1 => 10..30u64]
            .prop_map(|seconds| Action::Pass { seconds }),
        3 => (worker, 1..6usize).prop_map(|(worker, entries)| Action::Run { worker, entries }),
        2 => (2..4u16).prop_map(|workers| Action::HandOver { workers }),
    ]
}

/// An event. Its data is its offset.
#[derive(Debug, Clone, Copy)]
struct Event {
    /// The page that must not get it, and that page's life then.
    except: Option<(usize, u64)>,
}

/// A page in a browser.
struct Page {
    id: String,
    /// Its connections so far.
    connections: u32,
    addr: Option<ConnectionAddr>,
    /// Frames that the server has sent and that have not arrived.
    network: VecDeque<Frame>,
    /// What it wants to hear, and has heard: the offset of the last event by channel.
    views: BTreeMap<usize, View>,
    /// Grows with each reload.
    life: u64,
}

#[derive(Debug, Default)]
struct View {
    /// Everything after this offset has to come. `None` before the first subscription is confirmed.
    heard: Option<u64>,
    /// Subscribed on the current connection, as far as the page knows.
    is_confirmed: bool,
    is_requested: bool,
}

struct Model {
    world: World,
    app: AppIndex,
    pages: Vec<Page>,
    events: Vec<Vec<Event>>,
    /// Connections that have broken without notice.
    zombies: Vec<ConnectionAddr>,
    /// A client that stays, so that offsets do not begin anew.
    listener: ConnectionAddr,
}

impl Model {
    fn new() -> Self {
        let mut app = App::new("one", "key", "secret");
        let mut few = HistoryRule::new("c");
        few.messages = FEW;
        app.history = vec![few, HistoryRule::new("*")];
        app.history.iter_mut().for_each(|rule| rule.ttl = TTL);
        let mut world = World::new(vec![app], 2);
        let app = world.node.apps().find_by_id("one").unwrap();
        let pages = (0..PAGES).map(|n| Page {
            id: format!("page-{n}"),
            connections: 0,
            addr: None,
            network: VecDeque::new(),
            views: BTreeMap::new(),
            life: 0,
        });
        let events = vec![Vec::new(); CHANNELS.len()];
        let listener = world.connect(app, 0).unwrap();
        for channel in CHANNELS {
            let message = json!({"event": "pusher:subscribe", "data": {"channel": channel}});
            world.receive(listener, &message.to_string());
        }
        Self { world, app, pages: pages.collect(), events, zombies: Vec::new(), listener }
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Publish { channel, except } => self.publish(channel, except),
            Action::Subscribe { page, channel } => self.subscribe(page, channel),
            Action::Unsubscribe { page, channel } => {
                if self.pages[page].views.get(&channel).is_some_and(|view| view.is_confirmed) {
                    self.pages[page].views.remove(&channel);
                    self.say(page, "pusher:unsubscribe", channel);
                    // Frames on their way concern the former subscription.
                    self.deliver(page, usize::MAX);
                }
            }
            Action::Deliver { page, frames } => self.deliver(page, frames),
            Action::Break { page, is_noticed } => self.cut(page, is_noticed),
            Action::Reload { page } => {
                if let Some(addr) = self.pages[page].addr.take() {
                    let now = self.world.now;
                    self.world.desk(addr).close_tab(addr.connection, now);
                    let page = &mut self.pages[page];
                    page.life += 1;
                    page.connections = 0;
                    page.network.clear();
                    page.views.clear();
                }
            }
            Action::Connect { page, worker } => self.connect(page, worker),
            Action::Pass { seconds } => {
                for _ in 0..seconds {
                    self.world.receive(self.listener, r#"{"event":"pusher:pong"}"#);
                    self.world.pass(Duration::from_secs(1));
                }
            }
            Action::Run { worker, entries } => self.world.run(worker, entries),
            Action::HandOver { workers } => self.hand_over(workers),
        }
        self.transmit();
    }

    /// The node is saved, dropped and restored. No page must notice.
    fn hand_over(&mut self, workers: u16) {
        // Those that are closed by now are gone.
        self.world.run_all();
        self.transmit();
        let Self { world, pages, zombies, listener, .. } = self;
        let pages = pages.iter_mut().filter_map(|page| page.addr.as_mut());
        let all: Vec<&mut ConnectionAddr> = pages.chain(zombies).chain([listener]).collect();
        let ids = all.iter().map(|addr| world.desk(**addr).socket_id(addr.connection));
        let ids: Vec<_> = ids.collect();
        let addresses = handover::hand_over(world, workers);
        for (addr, id) in all.into_iter().zip(ids) {
            *addr = addresses[&id];
        }
    }

    fn publish(&mut self, channel: usize, except: Option<usize>) {
        let except = except.filter(|page| self.pages[*page].addr.is_some());
        let socket_id = except.map(|page| {
            let addr = self.pages[page].addr.unwrap();
            self.world.desk(addr).socket_id(addr.connection)
        });
        self.events[channel]
            .push(Event { except: except.map(|page| (page, self.pages[page].life)) });
        let key = harness::key(self.app, CHANNELS[channel]);
        let data = format!("\"{}\"", self.events[channel].len());
        let frame = harness::event("E", &key.name, &data);
        let acks = DeliveryAcks::default();
        self.world.node.publish(&key, &frame, socket_id, acks, self.world.now);
    }

    fn connect(&mut self, at: usize, worker: u16) {
        let page = &mut self.pages[at];
        if page.addr.is_some() {
            return;
        }
        page.connections += 1;
        let id: PageId = format!("{}.{}", page.id, page.connections).parse().unwrap();
        let addr = self.world.connect_page(self.app, worker, Some(&id)).unwrap();
        page.addr = Some(addr);
        // The server notices a zombie now.
        self.world.run_all();
        // As pusher-js does on every connection.
        let channels: Vec<usize> = self.pages[at].views.keys().copied().collect();
        channels.into_iter().for_each(|channel| self.subscribe(at, channel));
    }

    fn subscribe(&mut self, at: usize, channel: usize) {
        let page = &mut self.pages[at];
        let view = page.views.entry(channel).or_default();
        if page.addr.is_some() && !view.is_requested {
            view.is_requested = true;
            self.say(at, "pusher:subscribe", channel);
        }
    }

    fn say(&mut self, at: usize, event: &str, channel: usize) {
        if let Some(addr) = self.pages[at].addr {
            let message = json!({"event": event, "data": {"channel": CHANNELS[channel]}});
            self.world.receive(addr, &message.to_string());
        }
        self.transmit();
    }

    fn cut(&mut self, at: usize, is_noticed: bool) {
        let Some(addr) = self.pages[at].addr.take() else { return };
        if is_noticed {
            self.world.hang_up(addr)
        } else {
            self.zombies.push(addr)
        }
        let page = &mut self.pages[at];
        page.network.clear();
        for view in page.views.values_mut() {
            (view.is_confirmed, view.is_requested) = (false, false);
        }
    }

    /// Puts what the server has sent onto the network.
    fn transmit(&mut self) {
        self.world.take(self.listener);
        for at in 0..self.pages.len() {
            let Some(addr) = self.pages[at].addr else { continue };
            let mut is_closed = false;
            for out in self.world.take(addr) {
                match out {
                    Out::Frame(frame) => self.pages[at].network.push_back(frame),
                    Out::Close(..) => is_closed = true,
                }
            }
            if is_closed {
                self.world.desk(addr).close_reply(addr.connection);
                self.cut(at, true);
            }
        }
        self.zombies.retain(|addr| {
            let is_closed = self.world.take(*addr).iter().any(|out| matches!(out, Out::Close(..)));
            if is_closed {
                self.world.hang_up(*addr);
            }
            !is_closed
        });
    }

    fn deliver(&mut self, at: usize, frames: usize) {
        for _ in 0..frames {
            let Some(frame) = self.pages[at].network.pop_front() else { return };
            let Some(addr) = self.pages[at].addr else { return };
            match harness::text(&frame) {
                Some(text) => {
                    let frame: Value = serde_json::from_str(text).unwrap();
                    if frame["event"] == "pusher:ping" {
                        self.world.receive(addr, r#"{"event":"pusher:pong"}"#);
                    } else if let Some(channel) = frame["channel"].as_str() {
                        let channel = CHANNELS.iter().position(|name| *name == channel).unwrap();
                        self.hear(at, channel, &frame);
                    }
                }
                None => {
                    let now = self.world.now;
                    self.world.desk(addr).pong_frame(addr.connection, frame.payload(), now);
                }
            }
        }
    }

    fn hear(&mut self, at: usize, channel: usize, frame: &Value) {
        let page = &mut self.pages[at];
        // Of a subscription that it has ended.
        let Some(view) = page.views.get_mut(&channel) else { return };
        let data: Value = match &frame["data"] {
            Value::String(data) => serde_json::from_str(data).unwrap(),
            data => data.clone(),
        };
        let must_hear =
            |offset: u64| self.events[channel][offset as usize - 1].except != Some((at, page.life));
        match frame["event"].as_str().unwrap() {
            "pusher_internal:subscription_succeeded" => {
                view.is_confirmed = true;
                let offset = data["offset"].as_u64().unwrap();
                match view.heard {
                    Some(heard) if data["recovered"] == true => {
                        let hole = (heard + 1..=offset).find(|offset| must_hear(*offset));
                        assert_eq!(hole, None, "page {at} is behind what it has acknowledged");
                        view.heard = Some(heard.max(offset));
                    }
                    // A gap has to follow if it has missed something.
                    Some(_) => {}
                    None => view.heard = Some(offset),
                }
            }
            "clarim:gap" => {
                view.heard = data["offset"].as_u64();
            }
            "E" => {
                let heard = view.heard.expect("an event before the subscription");
                let offset = frame["offset"].as_u64().unwrap();
                assert_eq!(data, Value::from(offset));
                if offset > heard {
                    let hole = (heard + 1..offset).find(|offset| must_hear(*offset));
                    assert_eq!(hole, None, "page {at} missed an event of {}", CHANNELS[channel]);
                    view.heard = Some(offset);
                }
            }
            other => panic!("what is {other}?"),
        }
    }

    fn end(mut self) {
        for at in 0..PAGES {
            self.act(&Action::Connect { page: at, worker: 0 });
        }
        self.world.run_all();
        self.transmit();
        for at in 0..PAGES {
            self.deliver(at, usize::MAX);
            let page = &self.pages[at];
            for (channel, view) in &page.views {
                let heard = view.heard.expect("a confirmed subscription");
                let all = self.events[*channel].len() as u64;
                let except = |n: u64| self.events[*channel][n as usize - 1].except;
                let missed = (heard + 1..=all).find(|n| except(*n) != Some((at, page.life)));
                assert_eq!(missed, None, "page {at} never got an event of {}", CHANNELS[*channel]);
            }
        }
        let open = self.pages.iter().filter_map(|page| page.addr).chain(self.zombies);
        for addr in open.chain([self.listener]) {
            self.world.hang_up(addr);
        }
        self.world.assert_empty();
    }
}

proptest! {
    // Make failures found here into transcripts.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_page_that_is_back_gets_each_event_in_order_or_a_gap(
        actions in proptest::collection::vec(action(), 1..120),
    ) {
        let mut model = Model::new();
        for action in &actions {
            model.act(action);
        }
        model.end();
    }
}
