//! The order of events on the nodes of a cluster.

use clarim_cluster::timing::RETURN_TIMEOUT;

use crate::cluster::net::Net;
use crate::cluster::scenes::app;
use crate::cluster::view::{Client, publish};

/// Nodes with a subscriber of "news" each.
fn subscribers(nodes: usize, counts: bool) -> (Net, Vec<Client>) {
    let mut net = Net::new(nodes, app(), counts);
    let mut clients: Vec<Client> = (0..nodes).map(|node| Client::connect(&mut net, node)).collect();
    for client in &mut clients {
        client.subscribe(&mut net, "news", "");
    }
    net.settle();
    (net, clients)
}

fn order(net: &mut Net, client: &mut Client) -> Vec<(u64, u64)> {
    client.hear(net);
    client.channels["news"].order.clone()
}

#[test]
fn an_event_that_the_bus_has_accepted_is_delivered_before_later_ones_on_every_node() {
    for counts in [true, false] {
        let (mut net, mut clients) = subscribers(3, counts);
        publish(&mut net, 0, "news", None, 1);
        // The bus has accepted it, and node 0 has answered. The other nodes have not read it yet.
        net.run_bus(0, usize::MAX);
        net.run_node(0, usize::MAX);
        assert_eq!(order(&mut net, &mut clients[0]), [(0, 1)]);
        publish(&mut net, 1, "news", None, 2);
        net.settle();
        for client in &mut clients {
            assert_eq!(order(&mut net, client), [(0, 1), (1, 2)], "node {}", client.node);
        }
    }
}

#[test]
fn simultaneous_events_have_one_order_on_all_nodes() {
    let (mut net, mut clients) = subscribers(3, true);
    for id in 1..=10 {
        publish(&mut net, 0, "news", None, id);
        publish(&mut net, 1, "news", None, id);
    }
    net.settle();
    let expected = order(&mut net, &mut clients[2]);
    assert_eq!(expected.len(), 20);
    for client in &mut clients {
        assert_eq!(order(&mut net, client), expected, "node {}", client.node);
    }
}

#[test]
fn events_on_their_way_are_delivered_here_when_the_bus_is_lost() {
    let (mut net, mut clients) = subscribers(2, true);
    publish(&mut net, 0, "news", None, 1);
    net.run_bus(0, usize::MAX);
    publish(&mut net, 0, "news", None, 2);
    // The first one has been accepted, but is not read any more; the second one is lost.
    net.cut(0);
    publish(&mut net, 0, "news", None, 3);
    net.run_node(0, usize::MAX);
    publish(&mut net, 0, "news", None, 4);
    assert_eq!(order(&mut net, &mut clients[0]), [(0, 1), (0, 2), (0, 3), (0, 4)]);
    net.mend(0);
    net.settle();
    publish(&mut net, 0, "news", None, 5);
    net.settle();
    assert_eq!(order(&mut net, &mut clients[0]).last(), Some(&(0, 5)));
    assert_eq!(order(&mut net, &mut clients[1]), [(0, 1), (0, 5)]);
}

#[test]
fn an_event_that_the_bus_does_not_return_is_delivered_here_all_the_same() {
    let (mut net, mut clients) = subscribers(2, true);
    publish(&mut net, 0, "news", None, 1);
    net.run_bus(0, usize::MAX);
    net.drop_next(0);
    net.pass(RETURN_TIMEOUT / 2);
    assert_eq!(order(&mut net, &mut clients[0]), []);
    net.pass(RETURN_TIMEOUT);
    assert_eq!(order(&mut net, &mut clients[0]), [(0, 1)]);
    // The return of the next one shows it too.
    publish(&mut net, 0, "news", None, 2);
    net.run_bus(0, usize::MAX);
    net.drop_next(0);
    publish(&mut net, 0, "news", None, 3);
    net.settle();
    assert_eq!(order(&mut net, &mut clients[0]), [(0, 1), (0, 2), (0, 3)]);
}

#[test]
fn a_node_that_was_frozen_delivers_its_own_events_at_their_place() {
    let (mut net, mut clients) = subscribers(2, true);
    publish(&mut net, 1, "news", None, 1);
    net.run_bus(1, usize::MAX);
    publish(&mut net, 0, "news", None, 2);
    net.run_bus(0, usize::MAX);
    // The bus has accepted both events, and node 0 has read neither.
    net.confirm_first(0);
    net.run_node(0, 1);
    assert_eq!(order(&mut net, &mut clients[0]), []);
    net.places[0].is_frozen = true;
    net.pass(RETURN_TIMEOUT * 2);
    net.places[0].is_frozen = false;
    net.tick(0);
    net.pass(RETURN_TIMEOUT * 2);
    for client in &mut clients {
        assert_eq!(order(&mut net, client), [(1, 1), (0, 2)], "node {}", client.node);
    }
}
