//! Channels with history in a cluster: all clients hear the entries of the log in its order, through every
//! fault of nodes and bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clarim_hub::app::{App, HistoryRule};
use clarim_hub::{ConnectionAddr, Delivery, DeliveryAck, DeliveryAcks};
use serde_json::{Value, json};

use crate::cluster::net::{LEASE, Net};
use crate::cluster::view;
use crate::harness::{self, Out};

fn app() -> App {
    let mut app = App::new("one", "key", "secret");
    app.ping_interval = Duration::from_secs(1_000_000);
    app.history = vec![HistoryRule::new("news")];
    app
}

/// A client with one subscription that keeps its position, as `@clarim/js` does.
#[derive(Debug)]
struct Client {
    node: usize,
    addr: ConnectionAddr,
    /// Epoch and offset.
    position: Option<(String, u64)>,
    is_subscribed: bool,
    gaps: Vec<String>,
    /// The numbers of the events that were received.
    heard: Vec<u64>,
}

impl Client {
    fn connect(net: &mut Net, node: usize) -> Self {
        let app = view::app(net, node);
        let addr = net.places[node].world.connect(app, 0).unwrap();
        let client = Self {
            node,
            addr,
            position: None,
            is_subscribed: false,
            gaps: Vec::new(),
            heard: Vec::new(),
        };
        client.subscribe(net);
        client
    }

    fn subscribe(&self, net: &mut Net) {
        let since =
            self.position.as_ref().map(|(epoch, offset)| json!({"epoch": epoch, "offset": offset}));
        let data = json!({"channel": "news", "since": since});
        let message = json!({"event": "pusher:subscribe", "data": data}).to_string();
        let now = net.now;
        let place = &mut net.places[self.node];
        place.world.receive(self.addr, &message);
        place.obey(now);
    }

    /// Connects again, to another node.
    fn move_to(&mut self, net: &mut Net, node: usize, is_alive: bool) {
        if is_alive {
            self.hear(net);
            let now = net.now;
            let place = &mut net.places[self.node];
            place.world.hang_up(self.addr);
            place.obey(now);
        }
        let app = view::app(net, node);
        self.node = node;
        self.addr = net.places[node].world.connect(app, 0).unwrap();
        self.is_subscribed = false;
        self.subscribe(net);
    }

    /// Applies what has arrived. Panics on an event that is not the next one.
    fn hear(&mut self, net: &mut Net) {
        for out in net.places[self.node].world.take(self.addr) {
            let Out::Frame(frame) = out else { panic!("closed: {out:?}") };
            let frame: Value = serde_json::from_str(harness::text(&frame).unwrap()).unwrap();
            let data: Value = match &frame["data"] {
                Value::String(data) => serde_json::from_str(data).unwrap(),
                data => data.clone(),
            };
            match frame["event"].as_str().unwrap() {
                "pusher_internal:subscription_succeeded" => {
                    self.is_subscribed = true;
                    self.place(&data);
                }
                "clarim:gap" => {
                    self.gaps.push(data["reason"].as_str().unwrap().to_owned());
                    self.place(&data);
                }
                "E" => {
                    let offset = frame["offset"].as_u64();
                    let (_, last) = self.position.as_mut().expect("an event before a position");
                    if offset.is_some_and(|offset| offset <= *last) {
                        continue;
                    }
                    assert_eq!(offset, Some(*last + 1), "{:?}", self.heard);
                    *last += 1;
                    self.heard.push(data["id"].as_u64().unwrap());
                }
                "pusher:connection_established" => {}
                event => panic!("{event}"),
            }
        }
    }

    fn place(&mut self, data: &Value) {
        if let Some(epoch) = data["epoch"].as_str() {
            self.position = Some((epoch.to_owned(), data["offset"].as_u64().unwrap()));
        }
    }
}

/// Publishes on a node. The outcome is 1 if the event was stored, 2 if not; 0 until it is known.
fn publish(net: &mut Net, node: usize, id: u64) -> Arc<AtomicU32> {
    publish_once(net, node, id, None)
}

/// Publishes with an idempotency key.
fn publish_once(net: &mut Net, node: usize, id: u64, once: Option<&str>) -> Arc<AtomicU32> {
    let outcome = Arc::<AtomicU32>::default();
    let shared = outcome.clone();
    let ack = DeliveryAck::new(move |Delivery { is_stored, placed, .. }| {
        // A node that dies places nothing.
        let is_placed = is_stored && placed.len() == 1;
        shared.store(if is_placed { 1 } else { 2 }, Ordering::Relaxed);
    });
    let key = harness::key(view::app(net, node), "news");
    let data = Value::from(json!({"id": id}).to_string()).to_string();
    let frame = harness::event("E", &key.name, &data);
    let now = net.now;
    let place = &mut net.places[node];
    let once = once.map(Into::into);
    let acks = DeliveryAcks::of(&ack);
    place.world.node.publish_once(&key, &frame, None, once.as_ref(), acks, now);
    drop(ack);
    place.obey(now);
    outcome
}

fn stored(outcome: &AtomicU32) -> bool {
    outcome.load(Ordering::Relaxed) == 1
}

fn clients(net: &mut Net) -> Vec<Client> {
    let clients = (0..net.places.len()).map(|node| Client::connect(net, node)).collect();
    net.settle();
    clients
}

#[test]
fn all_nodes_deliver_in_the_order_of_the_log() {
    let mut net = Net::new(3, app(), true);
    let mut clients = clients(&mut net);
    let outcomes: Vec<_> = (0..30).map(|id| publish(&mut net, (id % 3) as usize, id)).collect();
    net.settle();
    assert!(outcomes.iter().all(|outcome| stored(outcome)));
    for client in &mut clients {
        client.hear(&mut net);
    }
    assert_eq!(clients[0].heard.len(), 30);
    assert!(
        clients.iter().all(|client| client.heard == clients[0].heard && client.gaps.is_empty())
    );
}

#[test]
fn a_client_that_comes_to_another_node_gets_what_it_missed() {
    let mut net = Net::new(2, app(), true);
    let mut client = Client::connect(&mut net, 0);
    net.settle();
    publish(&mut net, 1, 1);
    net.settle();
    client.hear(&mut net);
    // Its node dies. Nobody is subscribed anywhere.
    net.replace(0);
    for id in 2..12 {
        publish(&mut net, 1, id);
    }
    net.settle();
    client.move_to(&mut net, 1, false);
    net.settle();
    client.hear(&mut net);
    assert_eq!(client.heard, (1..12).collect::<Vec<_>>());
    assert!(client.gaps.is_empty());
}

#[test]
fn subscribers_of_a_node_that_was_cut_off_get_what_it_missed() {
    let mut net = Net::new(2, app(), true);
    let mut clients = clients(&mut net);
    net.cut(1);
    net.pass(LEASE * 3);
    for id in 0..10 {
        assert!(!stored(&publish(&mut net, 1, 100 + id)), "without the bus nothing is stored");
        publish(&mut net, 0, id);
    }
    net.settle();
    net.mend(1);
    net.pass(Duration::from_secs(5));
    for client in &mut clients {
        client.hear(&mut net);
        assert_eq!(client.heard, (0..10).collect::<Vec<_>>());
        assert!(client.gaps.is_empty(), "{:?}", client.gaps);
    }
}

#[test]
fn an_event_that_is_lost_on_the_way_is_read_from_the_log() {
    let mut net = Net::new(2, app(), true);
    let mut clients = clients(&mut net);
    for id in 0..5 {
        publish(&mut net, 0, id);
        net.run_bus(0, usize::MAX);
        if id % 2 == 1 {
            assert!(net.drop_next_entry(1));
        }
    }
    net.settle();
    for client in &mut clients {
        client.hear(&mut net);
        assert_eq!(client.heard, [0, 1, 2, 3, 4]);
    }
}

#[test]
fn subscribers_are_told_that_the_log_was_lost() {
    let mut net = Net::new(2, app(), true);
    let mut clients = clients(&mut net);
    publish(&mut net, 0, 1);
    net.settle();
    net.flush_logs();
    publish(&mut net, 0, 2);
    net.settle();
    publish(&mut net, 0, 3);
    net.settle();
    for client in &mut clients {
        client.hear(&mut net);
        assert_eq!(client.heard, [1, 2, 3]);
        assert_eq!(client.gaps, ["epoch"]);
    }
}

#[test]
fn an_event_that_is_not_stored_is_not_delivered() {
    let mut net = Net::new(2, app(), true);
    let mut clients = clients(&mut net);
    net.is_store_full = true;
    let outcome = publish(&mut net, 0, 1);
    net.settle();
    assert_eq!(outcome.load(Ordering::Relaxed), 2);
    net.is_store_full = false;
    assert!(!stored(&publish(&mut net, 0, 2)), "not known yet");
    net.settle();
    for client in &mut clients {
        client.hear(&mut net);
        assert_eq!(client.heard, [2]);
    }
}

#[test]
fn an_event_that_may_not_be_stored_is_stored_once_if_it_is_tried_again_with_its_key() {
    let mut net = Net::new(3, app(), true);
    let mut clients = clients(&mut net);
    let outcome = publish_once(&mut net, 0, 1, Some("a"));
    net.run_bus(0, usize::MAX);
    // The log has the event, but its node does not learn of it.
    net.lose_appended(0);
    net.cut(0);
    net.settle();
    assert_eq!(outcome.load(Ordering::Relaxed), 2);
    // The same node, and another one.
    net.mend(0);
    net.settle();
    for node in [0, 1] {
        assert!(stored(&retried(&mut net, node)), "node {node}");
    }
    assert!(!stored(&publish_once(&mut net, 1, 2, Some("b"))), "not known yet");
    net.settle();
    for client in &mut clients {
        client.hear(&mut net);
        assert_eq!(client.heard, [1, 2]);
        assert!(client.gaps.is_empty());
    }
}

fn retried(net: &mut Net, node: usize) -> Arc<AtomicU32> {
    let outcome = publish_once(net, node, 1, Some("a"));
    net.settle();
    outcome
}

#[test]
fn every_client_hears_each_event_once_and_in_order_through_any_faults() {
    let mut whole = 0;
    for seed in 0..150 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut net = Net::new(3, app(), random.bool());
        let mut clients: Vec<Client> = Vec::new();
        let mut id = 0;
        let mut outcomes = Vec::new();
        for _ in 0..300 {
            let node = random.usize(..3);
            match random.u32(..20) {
                0 => net.cut(node),
                1 | 2 => net.mend(node),
                3 => {
                    net.replace(node);
                    for client in clients.iter_mut().filter(|client| client.node == node) {
                        client.move_to(&mut net, random.usize(..3), false);
                    }
                }
                4 if clients.len() < 8 => clients.push(Client::connect(&mut net, node)),
                5 if !clients.is_empty() => {
                    let at = random.usize(..clients.len());
                    clients[at].move_to(&mut net, node, true);
                }
                6..10 => {
                    id += 1;
                    outcomes.push((id, publish(&mut net, node, id)));
                }
                10 => drop(net.drop_next_entry(node)),
                11 => net.pass(Duration::from_millis(random.u64(..3000))),
                12 => net.try_hand_over(node),
                _ => {
                    net.run_bus(node, random.usize(..4));
                    net.run_node(node, random.usize(..4));
                }
            }
            for client in &mut clients {
                client.hear(&mut net);
            }
        }
        (0..3).for_each(|node| net.mend(node));
        net.pass(LEASE * 2);
        publish(&mut net, 0, id + 1);
        net.settle();
        let stored: Vec<u64> =
            outcomes.iter().filter(|(_, o)| stored(o)).map(|(id, _)| *id).collect();
        for client in &mut clients {
            client.hear(&mut net);
            assert!(client.is_subscribed, "seed {seed}: {client:?}");
            assert_eq!(client.heard.last(), Some(&(id + 1)), "seed {seed}: {client:?}");
            let log = net.log_ids("news");
            let place = |id: &u64| log.iter().position(|logged| logged == id).unwrap();
            let places: Vec<usize> = client.heard.iter().map(place).collect();
            let is_next = |pair: &[usize]| pair[0] + 1 == pair[1];
            assert!(places.is_sorted_by(|a, b| a < b), "seed {seed}: {client:?}");
            assert!(
                !client.gaps.is_empty() || places.windows(2).all(is_next),
                "seed {seed}: {client:?}"
            );
            whole += usize::from(client.gaps.is_empty());
        }
        let kept = net.log_ids("news");
        assert!(
            stored.iter().all(|id| kept.contains(id)),
            "seed {seed}: answered, but not in the log"
        );
    }
    assert!(whole > 100, "{whole} clients had no gap");
}
