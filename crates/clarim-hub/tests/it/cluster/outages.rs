//! What clients and publishers learn of an outage of the bus, and subscribers of the bus that are not nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clarim_cluster::timing::{PATIENCE, TICK};
use clarim_hub::cluster::OnGap;
use clarim_hub::{DeliveryAck, DeliveryAcks};
use clarim_protocol::Code;

use crate::cluster::net::{LEASE, Net};
use crate::cluster::scenes::app;
use crate::cluster::view::{self, Client};
use crate::harness::{self, Out};

/// A node with a subscriber of "news" each.
fn subscribers(net: &mut Net) -> Vec<Client> {
    let nodes = net.places.len();
    let mut clients: Vec<Client> = (0..nodes).map(|node| Client::connect(net, node)).collect();
    for client in &mut clients {
        client.subscribe(net, "news", "");
    }
    net.settle();
    clients
}

fn gaps(net: &mut Net, client: &mut Client) -> usize {
    client.hear(net);
    client.channels["news"].gaps
}

#[test]
fn subscribers_are_notified_that_they_may_have_missed_events() {
    let mut net = Net::new(3, app(), true);
    let mut clients = subscribers(&mut net);
    net.cut(1);
    net.pass(LEASE * 6);
    view::publish(&mut net, 0, "news", None, 1);
    net.settle();
    net.mend(1);
    net.pass(Duration::from_secs(10));
    let [first, cut_off, third] = &mut clients[..] else { panic!("three nodes") };
    assert_eq!(gaps(&mut net, first), 0, "its node was on the bus");
    assert_eq!(gaps(&mut net, cut_off), 1);
    assert_eq!(gaps(&mut net, third), 0, "its node was on the bus");
}

#[test]
fn subscribers_on_other_nodes_are_notified_of_events_that_stayed_on_a_node() {
    let mut net = Net::new(3, app(), true);
    let mut clients = subscribers(&mut net);
    let mut other = Client::connect(&mut net, 0);
    other.subscribe(&mut net, "other", "");
    net.settle();
    net.cut(1);
    net.pass(LEASE * 3);
    view::publish(&mut net, 1, "news", None, 1);
    // The first notice is lost.
    net.mend(1);
    net.run_node(1, usize::MAX);
    net.tick(1);
    net.cut(1);
    net.pass(Duration::from_secs(1));
    assert_eq!(gaps(&mut net, &mut clients[0]), 0);
    net.mend(1);
    net.pass(Duration::from_secs(10));
    for node in [0, 2] {
        assert_eq!(gaps(&mut net, &mut clients[node]), 1, "node {node}");
    }
    other.hear(&mut net);
    assert_eq!(other.channels["other"].gaps, 0);
}

#[test]
fn subscribers_of_a_channel_of_which_events_stayed_on_another_node_are_sent_away() {
    let mut net = Net::new(0, app(), true);
    net.on_gap = OnGap::Reconnect;
    net.start();
    net.start();
    net.settle();
    let clients = subscribers(&mut net);
    let mut other = Client::connect(&mut net, 0);
    other.subscribe(&mut net, "other", "");
    net.settle();
    net.cut(1);
    net.pass(Duration::from_secs(1));
    view::publish(&mut net, 1, "news", None, 1);
    net.mend(1);
    net.pass(Duration::from_secs(20));
    let mut is_closed = |client: &Client| {
        let out = net.places[0].world.take(client.addr);
        out.iter().any(|out| matches!(out, Out::Close(Code::GENERIC, _)))
    };
    assert!(is_closed(&clients[0]));
    assert!(!is_closed(&other));
}

#[test]
fn a_node_without_others_has_missed_nothing() {
    let mut net = Net::new(1, app(), true);
    let mut clients = subscribers(&mut net);
    net.cut(0);
    net.pass(LEASE);
    net.mend(0);
    net.pass(LEASE);
    assert_eq!(gaps(&mut net, &mut clients[0]), 0);
}

#[test]
fn subscribers_that_may_have_missed_events_are_sent_away_one_after_the_other() {
    let mut net = Net::new(1, app(), true);
    net.on_gap = OnGap::Reconnect;
    net.start();
    net.settle();
    let mut clients: Vec<Client> = (0..50).map(|_| Client::connect(&mut net, 1)).collect();
    for client in &mut clients {
        client.subscribe(&mut net, "news", "");
    }
    let idle = Client::connect(&mut net, 1);
    net.settle();
    net.cut(1);
    net.pass(Duration::from_secs(1));
    net.mend(1);
    let mut closed = Vec::new();
    for _ in 0..11 {
        net.pass(Duration::from_secs(1));
        let place = &mut net.places[1];
        let is_closed = |client: &Client| {
            let out = place.world.take(client.addr);
            let is_close = |out: &Out| match out {
                Out::Close(code, _) => {
                    assert_eq!(*code, Code::GENERIC);
                    true
                }
                Out::Frame(_) => false,
            };
            out.iter().any(is_close)
        };
        closed.push(clients.iter().map(is_closed).filter(|closed| *closed).count());
    }
    assert_eq!(closed.iter().sum::<usize>(), 50, "{closed:?}");
    let mut later = Client::connect(&mut net, 1);
    later.subscribe(&mut net, "news", "");
    net.pass(Duration::from_secs(60));
    for client in [&idle, &later] {
        let out = net.places[1].world.take(client.addr);
        assert!(!out.iter().any(|out| matches!(out, Out::Close(..))), "{out:?}");
    }
}

/// Publishes on node 0. Returns the outcome: 1 if all nodes get the event, 2 if not.
fn outcome(net: &mut Net) -> u32 {
    let outcome = Arc::<AtomicU32>::default();
    let shared = outcome.clone();
    let ack = DeliveryAck::new(move |delivery| {
        shared.store(if delivery.is_complete { 1 } else { 2 }, Ordering::Relaxed);
    });
    let key = harness::key(view::app(net, 0), "news");
    let frame = harness::event("E", &key.name, r#""{\"node\":9,\"id\":1}""#);
    let now = net.now;
    let place = &mut net.places[0];
    place.world.node.publish(&key, &frame, None, DeliveryAcks::of(&ack), now);
    drop(ack);
    place.obey(now);
    net.settle();
    outcome.load(Ordering::Relaxed)
}

#[test]
fn publishers_are_warned_until_all_nodes_are_back() {
    let mut net = Net::new(3, app(), true);
    assert_eq!(outcome(&mut net), 1);
    for node in 0..3 {
        net.cut(node);
    }
    net.settle();
    assert_eq!(outcome(&mut net), 2, "without the bus");
    net.mend(0);
    net.mend(1);
    net.settle();
    assert_eq!(outcome(&mut net), 2, "node 2 is still away");
    let state = net.places[0].cluster.state();
    assert_eq!((state.peers, state.awaited), (1, 1));
    net.mend(2);
    net.settle();
    assert_eq!(outcome(&mut net), 1, "as soon as it is back");
    // A node that does not come back is dead in the end.
    for node in 0..3 {
        net.cut(node);
    }
    net.settle();
    net.mend(0);
    net.mend(1);
    net.pass(LEASE * 3);
    assert_eq!(outcome(&mut net), 1);
}

#[test]
fn a_subscriber_of_the_bus_that_is_not_a_node_delays_no_subscription() {
    for counts in [true, false] {
        let mut net = Net::new(3, app(), counts);
        net.foreign = 1;
        let mut ana = Client::connect(&mut net, 0);
        ana.subscribe(&mut net, "presence-room", "ana");
        net.pass(PATIENCE + TICK);
        ana.hear(&mut net);
        assert!(ana.channels["presence-room"].succeeded, "counts: {counts}");
        let mut ben = Client::connect(&mut net, 1);
        ben.subscribe(&mut net, "presence-room", "ben");
        net.pass(PATIENCE + TICK);
        ben.hear(&mut net);
        let list = ben.channels["presence-room"].list.as_ref();
        assert_eq!(list.map(|list| list.len()), Some(2), "counts: {counts}");
    }
}
