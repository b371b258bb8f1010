//! Scenes with several nodes, one for each invariant.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clarim_cluster::timing::TICK;
use clarim_hub::app::App;

use crate::cluster::net::{LEASE, Net};
use crate::cluster::view::{Client, publish};

const HOUR: Duration = Duration::from_secs(3600);

/// An app that pings no client during a scene.
pub(crate) fn app() -> App {
    let mut app = App::new("one", "key", "secret");
    app.ping_interval = Duration::from_secs(1_000_000);
    app
}

fn net(nodes: usize) -> Net {
    Net::new(nodes, app(), true)
}

/// Two nodes, with Ana on the first and Ben on the second.
fn ana_and_ben() -> (Net, Client, Client) {
    let mut net = net(2);
    let mut ana = Client::connect(&mut net, 0);
    let mut ben = Client::connect(&mut net, 1);
    ana.subscribe(&mut net, "presence-room", "ana");
    ben.subscribe(&mut net, "presence-room", "ben");
    net.settle();
    (net, ana, ben)
}

fn users(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn an_event_reaches_the_subscribers_of_all_nodes_in_order() {
    let mut net = net(3);
    let mut clients: Vec<Client> = (0..3).map(|node| Client::connect(&mut net, node)).collect();
    for client in &mut clients {
        client.subscribe(&mut net, "news", "");
    }
    net.settle();
    for id in 1..=20 {
        publish(&mut net, 0, "news", None, id);
    }
    publish(&mut net, 1, "news", Some(clients[2].socket_id), 1);
    net.settle();
    for (node, client) in clients.iter_mut().enumerate() {
        client.hear(&mut net);
        let events = &client.channels["news"].events;
        assert_eq!(events[&0], (1..=20).collect::<Vec<u64>>());
        assert_eq!(events.contains_key(&1), node != 2, "toOthers, from another node");
    }
}

#[test]
fn a_new_member_sees_the_members_of_all_nodes() {
    let mut net = net(3);
    let mut clients: Vec<Client> = (0..3).map(|node| Client::connect(&mut net, node)).collect();
    for (client, user) in clients.iter_mut().zip(["ana", "ben", "ana"]) {
        client.subscribe(&mut net, "presence-room", user);
        net.settle();
        client.hear(&mut net);
    }
    assert_eq!(clients[1].channels["presence-room"].members, users(&["ana", "ben"]));
    // Ana's tab on node 0 goes; she is still on node 2.
    clients.remove(0).hang_up(&mut net);
    net.pass(Duration::from_secs(1));
    for client in &mut clients {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!((&view.members, view.leaves), (&users(&["ana", "ben"]), 0));
    }
    clients.remove(1).hang_up(&mut net);
    net.settle();
    clients[0].hear(&mut net);
    assert_eq!(clients[0].channels["presence-room"].members, users(&["ben"]));
}

#[test]
fn the_members_of_a_node_that_dies_leave_by_the_end_of_its_lease() {
    let (mut net, _ana, mut ben) = ana_and_ben();
    net.replace(0);
    net.pass(LEASE - Duration::from_secs(3));
    ben.hear(&mut net);
    assert_eq!(ben.channels["presence-room"].members, users(&["ana", "ben"]), "not yet");
    net.pass(Duration::from_secs(4));
    ben.hear(&mut net);
    assert_eq!(ben.channels["presence-room"].members, users(&["ben"]));
}

#[test]
fn no_member_leaves_when_the_bus_was_down() {
    let (mut net, mut ana, mut ben) = ana_and_ben();
    net.cut(0);
    net.cut(1);
    net.pass(LEASE * 3);
    // Both keep serving their own clients.
    let mut zoe = Client::connect(&mut net, 1);
    zoe.subscribe(&mut net, "presence-room", "zoe");
    let mut alone = Client::connect(&mut net, 1);
    alone.subscribe(&mut net, "presence-other", "zoe");
    publish(&mut net, 1, "presence-room", None, 1);
    net.settle();
    alone.hear(&mut net);
    assert!(alone.channels["presence-other"].succeeded, "local subscriptions are made");
    net.mend(0);
    net.mend(1);
    net.pass(Duration::from_secs(10));
    for client in [&mut ana, &mut ben, &mut zoe] {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!((&view.members, view.leaves), (&users(&["ana", "ben", "zoe"]), 0));
        let expected = if client.node == 1 { vec![1] } else { vec![] };
        assert_eq!(view.events.get(&1).cloned().unwrap_or_default(), expected);
    }
}

#[test]
fn no_member_leaves_when_nodes_reconnect_at_different_times() {
    let (mut net, mut ana, _ben) = ana_and_ben();
    net.cut(0);
    net.cut(1);
    net.mend(0);
    net.pass(LEASE * 3 / 2);
    net.mend(1);
    net.pass(LEASE * 3);
    ana.hear(&mut net);
    assert_eq!(ana.channels["presence-room"].leaves, 0);
    // A node that is not back by then is considered dead.
    net.cut(0);
    net.cut(1);
    net.mend(0);
    net.pass(LEASE * 2 + Duration::from_secs(1));
    ana.hear(&mut net);
    assert_eq!(ana.channels["presence-room"].members, users(&["ana"]));
}

#[test]
fn a_state_that_was_cut_off_between_its_parts_is_not_part_of_the_next() {
    let mut net = net(2);
    let names = ["ana", "ben", "cid", "dan"];
    let mut clients: Vec<Client> = names.iter().map(|_| Client::connect(&mut net, 0)).collect();
    for (client, user) in clients.iter_mut().zip(names) {
        client.subscribe(&mut net, "presence-room", user);
    }
    let mut zoe = Client::connect(&mut net, 1);
    zoe.subscribe(&mut net, "presence-room", "zoe");
    net.settle();
    // Zoe's node has missed a change, and requests the state of the other: four parts.
    net.cut(1);
    clients.remove(3).hang_up(&mut net);
    net.settle();
    net.mend(1);
    while net.commands(0) < 3 {
        net.now += TICK;
        for node in [1, 0] {
            net.tick(node);
            net.run_node(node, usize::MAX);
        }
        net.run_bus(1, usize::MAX);
    }
    net.run_bus(0, 2);
    net.cut(0);
    for client in clients.drain(..2) {
        client.hang_up(&mut net);
    }
    net.settle();
    net.mend(0);
    net.pass(LEASE);
    zoe.hear(&mut net);
    assert_eq!(zoe.channels["presence-room"].members, users(&["cid", "zoe"]));
}

#[test]
fn a_frozen_node_is_removed_and_returns_without_false_leaves() {
    let mut net = net(3);
    let mut clients: Vec<Client> = (0..3).map(|node| Client::connect(&mut net, node)).collect();
    for (client, user) in clients.iter_mut().zip(["ana", "ben", "zoe"]) {
        client.subscribe(&mut net, "presence-room", user);
    }
    net.settle();
    net.places[0].is_frozen = true;
    net.pass(LEASE + Duration::from_secs(1));
    clients[1].hear(&mut net);
    assert_eq!(clients[1].channels["presence-room"].members, users(&["ben", "zoe"]));
    net.places[0].is_frozen = false;
    net.pass(LEASE);
    for client in &mut clients {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!(view.members, users(&["ana", "ben", "zoe"]));
        // Ana's node was frozen; that the others had left it never was true.
        assert_eq!(view.leaves, usize::from(client.node != 0));
    }
}

#[test]
fn a_join_waits_for_the_members_of_a_slow_node_whether_the_bus_counts_or_not() {
    for counts in [true, false] {
        let mut net = Net::new(3, app(), counts);
        for (node, user) in [(0, "ana"), (1, "ben")] {
            Client::connect(&mut net, node).subscribe(&mut net, "presence-room", user);
            net.settle();
        }
        net.places[1].is_frozen = true;
        let mut zoe = Client::connect(&mut net, 2);
        zoe.subscribe(&mut net, "presence-room", "zoe");
        net.pass(Duration::from_millis(900));
        zoe.hear(&mut net);
        assert!(!zoe.channels["presence-room"].succeeded, "Ben's node has not answered");
        net.places[1].is_frozen = false;
        net.settle();
        zoe.hear(&mut net);
        let view = &zoe.channels["presence-room"];
        assert_eq!(view.list, Some(users(&["ana", "ben", "zoe"])), "in the list itself");
        // The wait for a silent node ends after a second.
        net.places[1].is_frozen = true;
        let mut late = Client::connect(&mut net, 2);
        late.subscribe(&mut net, "presence-room", "late");
        net.pass(Duration::from_secs(1) + TICK);
        late.hear(&mut net);
        assert!(late.channels["presence-room"].succeeded);
    }
}

#[test]
fn a_channel_without_other_nodes_opens_at_once() {
    for counts in [true, false] {
        let mut net = Net::new(3, App::new("one", "key", "secret"), counts);
        // This node would not reply, but it is not asked.
        net.places[1].is_frozen = true;
        let mut ana = Client::connect(&mut net, 0);
        ana.subscribe(&mut net, "presence-room", "ana");
        net.settle();
        ana.hear(&mut net);
        assert!(ana.channels["presence-room"].succeeded, "at once; counts: {counts}");
    }
}

#[test]
fn nodes_that_open_a_channel_at_once_find_each_other() {
    for counts in [true, false] {
        let mut net = Net::new(5, App::new("one", "key", "secret"), counts);
        let mut clients: Vec<Client> = (0..5).map(|node| Client::connect(&mut net, node)).collect();
        for (client, user) in clients.iter_mut().zip(["a", "b", "c", "d", "e"]) {
            client.subscribe(&mut net, "presence-room", user);
        }
        net.settle();
        for client in &mut clients {
            client.hear(&mut net);
            let view = &client.channels["presence-room"];
            assert!(view.succeeded, "nobody waits for a deadline; counts: {counts}");
            assert_eq!(view.members, users(&["a", "b", "c", "d", "e"]));
        }
    }
}

#[test]
fn a_join_costs_as_much_in_a_large_cluster_as_in_a_small_one() {
    // A node's first subscriber sends requests to the nodes with the channel. Further ones cost one message.
    let cost = |nodes: usize| {
        let mut net = net(nodes);
        Client::connect(&mut net, 0).subscribe(&mut net, "presence-room", "ana");
        net.settle();
        let before = net.sent;
        Client::connect(&mut net, 1).subscribe(&mut net, "presence-room", "ben");
        net.settle();
        let first = net.sent - before;
        Client::connect(&mut net, 1).subscribe(&mut net, "presence-room", "zoe");
        net.settle();
        (first, net.sent - before - first)
    };
    assert_eq!(cost(3), (3, 1), "a question, an answer, and the join");
    assert_eq!(cost(30), cost(3));
}

#[test]
fn members_of_other_nodes_leave_after_four_leases_without_the_bus() {
    let (mut net, mut ana, mut ben) = ana_and_ben();
    net.cut(0);
    net.cut(1);
    net.pass(LEASE * 5);
    for (client, own) in [(&mut ana, "ana"), (&mut ben, "ben")] {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!((&view.members, view.leaves), (&users(&[own]), 1));
    }
    net.mend(0);
    net.mend(1);
    net.pass(LEASE);
    for client in [&mut ana, &mut ben] {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!((&view.members, view.leaves), (&users(&["ana", "ben"]), 1));
    }
}

#[test]
fn a_cached_event_is_replayed_on_a_node_without_earlier_subscribers() {
    let mut net = net(2);
    publish(&mut net, 0, "cache-rates", None, 1);
    publish(&mut net, 0, "cache-rates", None, 2);
    net.settle();
    let mut late = Client::connect(&mut net, 1);
    late.subscribe(&mut net, "cache-rates", "");
    net.settle();
    late.hear(&mut net);
    assert_eq!(late.channels["cache-rates"].events[&0], [2]);
    assert!(!late.channels["cache-rates"].cache_miss);
}

#[test]
fn the_event_published_last_is_cached_whatever_the_clocks_of_the_nodes_say() {
    let mut net = net(1);
    // The clock of the second node is an hour behind, that of the third an hour ahead.
    for (node, epoch) in [(1, net.epoch - HOUR), (2, net.epoch + HOUR)] {
        net.epoch = epoch;
        net.start();
        net.pass(TICK * 2);
        assert!(net.places[node].cluster.state().is_joined);
    }
    let mut publish_in_turn = |publishers: &[usize], channel: &str| {
        for (id, &node) in publishers.iter().enumerate() {
            net.now += Duration::from_millis(1);
            publish(&mut net, node, channel, None, id as u64);
            net.settle();
        }
        for node in 0..3 {
            let mut late = Client::connect(&mut net, node);
            late.subscribe(&mut net, channel, "");
            net.settle();
            late.hear(&mut net);
            let last = *publishers.last().unwrap() as u64;
            let expected = BTreeMap::from([(last, vec![publishers.len() as u64 - 1])]);
            let events = &late.channels[channel].events;
            assert_eq!(*events, expected, "on node {node}, published by {publishers:?}");
        }
    };
    publish_in_turn(&[2, 1], "cache-a");
    publish_in_turn(&[2, 0], "cache-b");
    publish_in_turn(&[2, 1, 0, 1], "cache-c");
}

#[test]
fn a_node_has_joined_once_it_knows_the_others_or_its_deadline_has_passed() {
    for counts in [true, false] {
        let mut net = Net::new(0, app(), counts);
        let is_joined = |net: &Net, node: usize| net.places[node].cluster.state().is_joined;
        net.start();
        net.pass(TICK * 2);
        assert_eq!(is_joined(&net, 0), counts, "only a bus that counts says that nobody is there");
        net.pass(Duration::from_secs(1) + TICK);
        assert!(is_joined(&net, 0));
        // Two more nodes: the others answer at once.
        for node in [1, 2] {
            net.start();
            net.run_node(node, usize::MAX);
            net.run_bus(node, usize::MAX);
            net.tick(node);
            assert!(!is_joined(&net, node), "the others have not answered");
            net.pass(TICK * 2);
            assert!(is_joined(&net, node));
            assert_eq!(net.places[node].cluster.state().peers, node);
        }
        // The last one finds no bus.
        net.start();
        net.cut(3);
        net.pass(Duration::from_millis(900));
        assert!(!is_joined(&net, 3));
        net.pass(Duration::from_millis(100) + TICK);
        assert!(is_joined(&net, 3), "it serves its own clients");
    }
}

#[test]
fn a_full_presence_channel_is_full_on_all_nodes() {
    let mut app = App::new("one", "key", "secret");
    app.limits.presence_members = 2;
    let mut net = Net::new(2, app, true);
    for (node, user) in [(0, "ana"), (1, "ben")] {
        Client::connect(&mut net, node).subscribe(&mut net, "presence-room", user);
        net.settle();
    }
    let mut zoe = Client::connect(&mut net, 0);
    let mut ben = Client::connect(&mut net, 0);
    zoe.subscribe(&mut net, "presence-room", "zoe");
    ben.subscribe(&mut net, "presence-room", "ben");
    net.settle();
    zoe.hear(&mut net);
    ben.hear(&mut net);
    assert_eq!(zoe.refused, ["presence-room"]);
    assert!(ben.channels["presence-room"].succeeded, "a tab more of a member");
}
