//! `clarim restart` in a cluster: the new program is the same node.

use std::process::Command;

use clarim_testing::{nats, nats_with_jetstream, redis};

use crate::client::Client;
use crate::node::{LEASE, Node, eventually};
use crate::scene::{ROOM, Scene, every_pair};
use crate::webhooks::Webhooks;

/// Runs `clarim restart` for a node.
async fn restart(node: &Node) {
    let port = node.program.port.to_string();
    let run = move || {
        Command::new(env!("CARGO_BIN_EXE_clarim"))
            .args(["restart", "--port", &port])
            .env_clear()
            .output()
            .unwrap()
    };
    let output = tokio::task::spawn_blocking(run).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("kept its connections"), "{output:?}");
}

/// Restarts each node of this many twice under publishes on all of them. Neither clients nor backends notice
/// anything.
async fn restarted_under_load(url: &str, count: usize) {
    let hooks = Webhooks::start();
    let start = |_| Node::start(url, &[&hooks.setting()]);
    let mut scene = Scene::of((0..count).map(start).collect()).await;
    // A channel of one node alone.
    let mut alone = Client::on(&scene.nodes[0], "alone", "").await;
    let joins = (0..count).map(|n| format!("member_added {ROOM} u{n}"));
    let channels = ["alone", ROOM].map(|channel| format!("channel_occupied {channel}"));
    let mut expected: Vec<String> = channels.into_iter().chain(joins).collect();
    eventually("the backend knows all", async || hooks.events() == expected).await;
    for round in 0..2 * count {
        let fault = async |nodes: &[Node]| restart(&nodes[round % count]).await;
        scene.under_load(fault, every_pair).await;
    }
    assert_eq!(scene.leaves(), vec![0; count], "no member was removed");
    for client in &scene.clients {
        assert_eq!(client.channels[ROOM].gaps, 0, "nothing is missed");
    }
    scene.is_well().await;
    assert_eq!(scene.nodes[1].publish("alone", 1).await.status, 200);
    alone.until("the event", |client| client.channels["alone"].order == [1]).await;
    // All are alive for each other.
    for client in &mut scene.clients {
        client.listen(LEASE * 2).await;
    }
    scene.is_well().await;
    assert_eq!(scene.leaves(), vec![0; count], "no member was removed");
    assert_eq!(hooks.events(), expected, "nothing was reported again");
    drop(alone);
    expected.insert(2, "channel_vacated alone".to_owned());
    eventually("the backend knows what changes", async || hooks.events() == expected).await;
}

#[tokio::test]
async fn nodes_on_redis_are_restarted_under_load() {
    restarted_under_load(&redis().url("redis"), 3).await;
}

#[tokio::test]
async fn nodes_on_nats_are_restarted_under_load() {
    restarted_under_load(&nats(&[]).url("nats"), 2).await;
}

/// Restarts each node under publishes on a channel with history, which goes on.
async fn histories_go_on(url: &str) {
    let history = format!("CLARIM_APP_HISTORY={ROOM}:10000:10m");
    let mut scene = Scene::of((0..3).map(|_| Node::start(url, &[&history])).collect()).await;
    let path = |of: &str| format!("/apps/1/channels/{ROOM}/{of}");
    let begin = scene.nodes[0].ask(&path("position"), &[]).await.json();
    for n in 0..3 {
        let fault = async |nodes: &[Node]| restart(&nodes[n]).await;
        scene.under_load(fault, every_pair).await;
    }
    let all = scene.clients[0].channels[ROOM].offsets.clone();
    assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
    for client in &scene.clients {
        let view = &client.channels[ROOM];
        assert_eq!(begin["epoch"], view.epoch);
        assert_eq!((view.gaps, &view.offsets), (0, &all), "all have the same events");
    }
    // A reader that was away since the beginning gets all of them from any node.
    for node in &scene.nodes {
        let end = node.ask(&path("position"), &[]).await.json();
        assert_eq!(end["epoch"], begin["epoch"]);
        let mut since = begin["offset"].as_u64().unwrap();
        let mut read = Vec::new();
        while Some(since) != end["offset"].as_u64() {
            let since_text = since.to_string();
            let epoch = begin["epoch"].as_str().unwrap();
            let parameters = [("epoch", epoch), ("limit", "1000"), ("since", &since_text)];
            let page = node.ask(&path("history"), &parameters).await.json();
            assert!(page["gap"].is_null(), "{page}");
            let offsets = page["events"].as_array().unwrap().iter();
            read.extend(offsets.map(|event| event["offset"].as_u64().unwrap()));
            since = *read.last().unwrap();
        }
        assert_eq!(read, all);
    }
    scene.is_well().await;
    for client in &scene.clients {
        let view = &client.channels[ROOM];
        assert!(view.gaps == 0 && view.offsets.is_sorted_by(|a, b| a < b), "{view:?}");
    }
}

#[tokio::test]
async fn histories_on_redis_go_on() {
    histories_go_on(&redis().url("redis")).await;
}

#[tokio::test]
async fn histories_on_nats_go_on() {
    let folder = tempfile::tempdir().unwrap();
    histories_go_on(&nats_with_jetstream(folder.path(), &[]).url("nats")).await;
}

/// Two nodes of three don't hear each other while both are restarted. Clients learn it if they may have
/// missed something, and notice nothing else.
#[tokio::test]
async fn two_nodes_are_restarted_at_once() {
    let server = redis();
    let nodes = (0..3).map(|_| Node::start(&server.url("redis"), &[])).collect();
    let mut scene = Scene::of(nodes).await;
    for _ in 0..3 {
        let gaps: Vec<u64> =
            scene.clients.iter().map(|client| client.channels[ROOM].gaps).collect();
        let fault = async |nodes: &[Node]| {
            tokio::join!(restart(&nodes[0]), restart(&nodes[1]));
        };
        let published = scene.under_load(fault, |_, to| to == 2).await;
        assert_eq!(scene.leaves(), vec![0; 3], "no member was removed");
        for (client, gaps) in scene.clients.iter_mut().zip(gaps) {
            let heard_all = |client: &Client| {
                let is_new = |n: &u64| published.contains(n);
                let heard = |node| client.events(ROOM, node).into_iter().filter(is_new);
                scene.nodes.iter().all(|node| heard(node).eq(published.clone()))
            };
            // A node announces a gap channel by channel, which takes some seconds.
            let is_told = |client: &Client| client.channels[ROOM].gaps > gaps;
            client.until("all events, or a gap", |it| heard_all(it) || is_told(it)).await;
        }
        assert_eq!(scene.clients[2].channels[ROOM].gaps, 0);
    }
    scene.is_well().await;
}
