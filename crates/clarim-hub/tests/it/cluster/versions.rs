//! Rolling upgrades: nodes of several releases in one cluster.

use clarim_cluster::{Query, Version};
use clarim_hub::app::App;

use crate::cluster::net::{LEASE, Net, Release};
use crate::cluster::view::{Client, publish};

const RELEASES: [Release; 3] = [Release::First, Release::Current, Release::Next];

fn net() -> Net {
    Net::of_releases(&RELEASES, App::new("one", "key", "secret"), true)
}

#[test]
fn presence_events_and_queries_work_between_releases() {
    let mut net = net();
    let mut clients: Vec<Client> = (0..3).map(|node| Client::connect(&mut net, node)).collect();
    for (user, client) in ["ana", "ben", "cid"].into_iter().zip(&mut clients) {
        client.subscribe(&mut net, "presence-room", user);
        net.settle();
    }
    for node in 0..3 {
        publish(&mut net, node, "presence-room", None, 1);
    }
    net.settle();
    for client in &mut clients {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!(view.members.iter().collect::<Vec<_>>(), ["ana", "ben", "cid"]);
        assert_eq!(view.events.values().flatten().count(), 3);
    }
    clients.remove(2).hang_up(&mut net);
    net.settle();
    for client in &mut clients {
        client.hear(&mut net);
        let view = &client.channels["presence-room"];
        assert_eq!(view.members.iter().collect::<Vec<_>>(), ["ana", "ben"]);
    }
    for node in 0..3 {
        let replies = net.ask(node, Query::Channel("presence-room".into()));
        net.settle();
        let replies = replies.lock().unwrap().take().unwrap();
        let counts = replies.channels["presence-room"];
        let elsewhere = if node == 2 { 2 } else { 1 };
        assert_eq!((counts.subscriptions, counts.users, replies.is_partial), (elsewhere, 2, false));
    }
}

#[test]
fn messages_of_newer_releases_are_skipped_and_counted() {
    let mut net = net();
    net.pass(LEASE);
    for place in &net.places {
        let state = place.cluster.state();
        assert_eq!((state.peers, state.invalid, state.incompatible), (2, 0, 0));
        assert!(state.skipped > 0);
    }
}

#[test]
fn the_cluster_uses_a_new_version_once_all_nodes_speak_it() {
    let mut net = net();
    net.pass(LEASE);
    let versions = |net: &Net| net.places.iter().map(|p| p.cluster.state().version).max();
    assert_eq!(versions(&net), Some(Version::FIRST.0));
    for node in 0..2 {
        net.replace_by(node, Release::Next);
        net.pass(LEASE * 3);
    }
    assert!(net.places.iter().all(|p| p.cluster.state().version == Version::NEWEST.0 + 1));
}
