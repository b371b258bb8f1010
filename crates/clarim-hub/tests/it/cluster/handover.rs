//! Hand-overs: a node is without the bus for a moment, and its clients miss nothing.

use std::time::Duration;

use clarim_cluster::timing::{HAND_OVER_PATIENCE, HAND_OVER_TIME};
use clarim_protocol::SocketId;
use serde_json::json;

use crate::cluster::net::{LEASE, Net, Release};
use crate::cluster::scenes::app;
use crate::cluster::view::{self, Client, publish};
use crate::harness;

const MOMENT: Duration = Duration::from_millis(50);

/// Nodes with a subscriber of two channels each.
fn subscribers(net: &mut Net) -> Vec<Client> {
    let nodes = net.places.len();
    let mut clients: Vec<Client> = (0..nodes).map(|node| Client::connect(net, node)).collect();
    for client in &mut clients {
        client.subscribe(net, "news", "");
        client.subscribe(net, "presence-room", &format!("u{}", client.node));
    }
    net.settle();
    clients
}

/// The order of the events, and the number of gaps.
fn heard(net: &mut Net, client: &mut Client) -> (Vec<(u64, u64)>, usize) {
    client.hear(net);
    let view = &client.channels["news"];
    (view.order.clone(), view.gaps)
}

#[test]
fn a_node_that_is_handed_over_misses_nothing() {
    let mut net = Net::new(3, app(), true);
    let mut clients = subscribers(&mut net);
    net.hand_over(0);
    let mut id = 0;
    let mut publish_some = |net: &mut Net| {
        for node in [1, 2, 2, 1] {
            id += 1;
            net.now += Duration::from_millis(1);
            publish(net, node, "news", None, id);
            net.run_bus(node, usize::MAX);
        }
    };
    // The bus runs these before the others know of the hand-over, and those before the node has gone.
    publish_some(&mut net);
    net.settle();
    assert!(net.is_ready(0));
    publish_some(&mut net);
    net.run_node(0, 3);
    publish_some(&mut net);
    net.leave_bus(0);
    publish_some(&mut net);
    net.settle();
    net.pass(MOMENT);
    publish_some(&mut net);
    net.come_back(0);
    // Both arrive in their time, and one is kept, too.
    publish_some(&mut net);
    net.settle();
    publish_some(&mut net);
    publish(&mut net, 0, "news", None, 1000);
    net.pass(MOMENT);
    let expected = heard(&mut net, &mut clients[1]);
    assert_eq!((expected.0.len(), expected.1), (29, 0));
    assert_eq!(heard(&mut net, &mut clients[0]), expected);
    assert_eq!(heard(&mut net, &mut clients[2]), expected);
    for client in &clients {
        assert_eq!(client.channels["presence-room"].leaves, 0);
    }
    assert!(net.webhooks.iter().all(|event| !format!("{event:?}").contains("Removed")));
}

#[test]
fn the_others_wait_with_new_channels_until_the_node_is_back() {
    for counts in [true, false] {
        let mut net = Net::new(2, app(), counts);
        let mut ana = Client::connect(&mut net, 0);
        ana.subscribe(&mut net, "presence-room", "ana");
        net.settle();
        net.hand_over(0);
        net.settle();
        net.leave_bus(0);
        let mut ben = Client::connect(&mut net, 1);
        ben.subscribe(&mut net, "presence-room", "ben");
        ben.subscribe(&mut net, "news", "");
        net.pass(Duration::from_secs(2));
        ben.hear(&mut net);
        assert!(!ben.channels["presence-room"].succeeded, "not all members are known");
        assert!(ben.channels["news"].succeeded, "it needs nothing of the node");
        net.come_back(0);
        net.pass(MOMENT);
        ben.hear(&mut net);
        let list = ben.channels["presence-room"].list.clone().unwrap();
        assert_eq!(list, ["ana".to_owned(), "ben".to_owned()].into());
        net.pass(LEASE);
        ana.hear(&mut net);
        assert_eq!(ana.channels["presence-room"].members, list);
    }
}

#[test]
fn clients_learn_that_the_others_could_not_keep_everything() {
    // A node that does not know of hand-overs.
    let mut net = Net::of_releases(&[Release::Current, Release::First], app(), true);
    let mut clients = subscribers(&mut net);
    net.hand_over(0);
    net.settle();
    assert!(!net.is_ready(0));
    net.pass(HAND_OVER_PATIENCE);
    assert!(net.is_ready(0));
    net.leave_bus(0);
    publish(&mut net, 1, "news", None, 1);
    net.come_back(0);
    net.pass(Duration::from_secs(10));
    assert_eq!(heard(&mut net, &mut clients[0]).1, 1);
    assert_eq!(heard(&mut net, &mut clients[1]).1, 0);

    // More than a node keeps.
    let mut net = Net::new(2, app(), true);
    let mut clients = subscribers(&mut net);
    net.hand_over(0);
    net.settle();
    net.leave_bus(0);
    let key = harness::key(view::app(&net, 1), "other");
    let data = json!("x".repeat(1 << 20)).to_string();
    let frame = harness::event("E", &key.name, &data);
    let nobody: Option<SocketId> = None;
    for _ in 0..9 {
        let now = net.now;
        net.places[1].world.node.publish(&key, &frame, nobody, Default::default(), now);
        net.places[1].obey(now);
    }
    net.come_back(0);
    net.pass(Duration::from_secs(10));
    assert_eq!(heard(&mut net, &mut clients[0]).1, 1);
}

#[test]
fn a_node_that_does_not_come_back_is_dead_in_the_end() {
    let mut net = Net::new(2, app(), true);
    let mut clients = subscribers(&mut net);
    net.hand_over(0);
    net.settle();
    net.leave_bus(0);
    net.pass(HAND_OVER_TIME);
    let mut late = Client::connect(&mut net, 1);
    late.subscribe(&mut net, "presence-other", "late");
    net.pass(LEASE * 2);
    late.hear(&mut net);
    assert!(late.channels["presence-other"].succeeded);
    clients[1].hear(&mut net);
    assert_eq!(clients[1].channels["presence-room"].members, ["u1".to_owned()].into());
}

#[test]
fn a_node_goes_on_if_it_is_not_handed_over() {
    let mut net = Net::new(2, app(), true);
    let mut clients = subscribers(&mut net);
    net.hand_over(0);
    net.settle();
    net.cancel_hand_over(0);
    publish(&mut net, 1, "news", None, 1);
    let mut late = Client::connect(&mut net, 1);
    late.subscribe(&mut net, "presence-other", "late");
    net.pass(Duration::from_secs(2));
    late.hear(&mut net);
    assert!(late.channels["presence-other"].succeeded);
    assert_eq!(heard(&mut net, &mut clients[0]), (vec![(1, 1)], 0));
}

#[test]
fn backends_learn_nothing_of_hand_overs() {
    let mut app = app();
    (app.hooks.occupancy, app.hooks.members) = (true, true);
    let mut net = Net::new(3, app, true);
    let mut clients = subscribers(&mut net);
    net.pass(LEASE);
    net.webhooks.clear();
    for round in 0..9 {
        let node = round % 3;
        net.hand_over(node);
        net.settle();
        net.leave_bus(node);
        net.pass(MOMENT);
        net.come_back(node);
        net.pass(MOMENT);
    }
    net.pass(LEASE * 4);
    assert_eq!(net.webhooks, [], "nothing has happened");
    let leaving = clients.pop().unwrap();
    leaving.hang_up(&mut net);
    net.pass(LEASE);
    assert_eq!(net.webhooks.len(), 1, "{:?}", net.webhooks);
    for client in &mut clients {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!((view.members.len(), view.leaves), (2, 1));
    }
}

/// A change that the node has missed decides who reports to the backend.
#[test]
fn changes_of_other_nodes_in_the_meantime_count_for_webhooks() {
    let mut app = app();
    (app.hooks.occupancy, app.hooks.members) = (true, true);
    let mut net = Net::new(2, app, true);
    let mut ana = Client::connect(&mut net, 0);
    let mut ben = Client::connect(&mut net, 1);
    ana.subscribe(&mut net, "private-doc", "");
    net.pass(LEASE);
    ben.subscribe(&mut net, "private-doc", "");
    net.pass(LEASE);
    ben.unsubscribe(&mut net, "private-doc");
    net.pass(MOMENT);
    net.hand_over(0);
    net.settle();
    net.leave_bus(0);
    // Ben is back, and Ana leaves before the node knows it.
    ben.subscribe(&mut net, "private-doc", "");
    net.pass(MOMENT);
    net.come_back(0);
    ana.unsubscribe(&mut net, "private-doc");
    net.pass(LEASE);
    let events: Vec<String> = net.webhooks.iter().map(|event| format!("{event:?}")).collect();
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(events[0].starts_with("Occupied"), "{events:?}");
}

#[test]
fn a_subscription_that_waits_for_other_nodes_is_made_after_the_hand_over() {
    let mut net = Net::new(2, app(), true);
    let mut ana = Client::connect(&mut net, 0);
    ana.subscribe(&mut net, "presence-room", "ana");
    net.pass(LEASE);
    net.hand_over(1);
    net.settle();
    let mut ben = Client::connect(&mut net, 1);
    ben.subscribe(&mut net, "presence-room", "ben");
    // The bus has the request, and the node not the answer.
    net.leave_bus(1);
    ben.hear(&mut net);
    assert!(!ben.channels["presence-room"].succeeded);
    net.come_back(1);
    net.pass(LEASE);
    for client in [&mut ana, &mut ben] {
        client.hear(&mut net);
        assert_eq!(client.channels["presence-room"].members.len(), 2);
    }
}
