//! External publishers, and unknown messages on the subjects of the cluster.

use std::process::Command;
use std::time::Duration;

use clarim_bus::{Bus, BusEvent};
use clarim_cluster::{
    ClusterMessage, ExternalEvent, NodeId, channel_subject, decode, encode, nodes_subject,
};
use clarim_protocol::ChannelName;
use clarim_testing::redis;

use crate::client::Client;
use crate::node::{Node, eventually};

#[tokio::test]
async fn invalid_and_newer_messages_are_counted_and_ignored() {
    let server = redis();
    let node = Node::start(&server.url("redis"), &[]);
    let mut client = Client::on(&node, "presence-room", "ana").await;
    let name = ChannelName::parse("presence-room", 200).unwrap();
    let subjects = [nodes_subject("reverb"), channel_subject("reverb", "1", &name)];
    let good = encode(NodeId(7), &ClusterMessage::StateRequest(NodeId(8)));
    let mut messages: Vec<Vec<u8>> =
        vec![b"".into(), b"hello".into(), vec![0xff; 100_000], good[..good.len() - 1].into()];
    // Each number of a message kind, followed by nothing or by garbage.
    messages.extend((0..64).flat_map(|kind| {
        let message = [&good[..10], &[kind]].concat();
        [[&message[..], &[0xff; 20]].concat(), message]
    }));
    for subject in &subjects {
        for message in &messages {
            let status = Command::new("redis-cli")
                .args(["-p", &server.port.to_string(), "-x", "PUBLISH", subject])
                .stdin(stdin(message))
                .output()
                .unwrap();
            assert!(status.status.success());
        }
    }
    // Some of these messages are valid; each of the others is counted.
    let invalid = messages.iter().filter(|message| decode(message).is_err()).count();
    let is_skipped = |message: &&Vec<u8>| decode(message).is_ok_and(|m| m.message.is_none());
    let skipped = messages.iter().filter(is_skipped).count();
    let expected = [2 * invalid as u64, 2 * skipped as u64];
    assert!(expected.iter().all(|count| *count > 25), "{expected:?}");
    let counts = async || {
        let invalid = node.metric("clarim_bus_rubbish_total").await;
        [invalid, node.metric("clarim_bus_messages_skipped_total").await]
    };
    eventually("all are counted", async || counts().await == expected).await;
    node.publish("presence-room", 1).await;
    client.until("an event", |client| client.events("presence-room", &node) == [1]).await;
    assert_eq!(client.members("presence-room"), ["ana"]);
}

fn stdin(bytes: &[u8]) -> std::fs::File {
    use std::io::{Seek, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[tokio::test]
async fn an_event_from_outside_is_checked_by_each_node() {
    let server = redis();
    let url = server.url("redis");
    let nodes = [Node::start(&url, &[]), Node::start(&url, &[])];
    nodes[0].is_ready(1).await;
    let mut clients = Vec::new();
    for node in &nodes {
        clients.push(Client::on(node, "news", "").await);
    }
    let mut bus = Bus::parse(&url).unwrap().connect();
    while !matches!(bus.next().await, BusEvent::Connected) {}
    let news = channel_subject("reverb", "1", &ChannelName::parse("news", 200).unwrap());
    let long = format!("\"{}\"", "x".repeat(100_001));
    let name = "E";
    let data = r#""{\"node\":0,\"n\":1}""#;
    for (name, data) in [("", data), (name, &*long), (name, "{}"), (name, "\"a"), (name, data)] {
        let event = ExternalEvent { name, data, except: None };
        bus.publish(&news, encode(NodeId::OUTSIDE, &ClusterMessage::ExternalPublish(event)), 0);
    }
    for client in &mut clients {
        client
            .until("the good one", |client| client.channels["news"].events.contains_key(&0))
            .await;
        client.listen(Duration::from_millis(200)).await;
        assert_eq!(client.channels["news"].events[&0], [1], "and it alone");
    }
    // On a cache channel without subscribers one node keeps the event for all.
    for channel in ["cache-rates", "cache rates", "cache-rates"] {
        let event = ExternalEvent { name, data, except: None };
        let message = ClusterMessage::RelayPublish { app: "1", channel, event };
        bus.publish(&nodes_subject("reverb"), encode(NodeId::OUTSIDE, &message), 0);
    }
    eventually("it is kept", async || nodes[1].metric("clarim_bus_channels").await > 0).await;
    for node in &nodes {
        let mut late = Client::on(node, "cache-rates", "").await;
        late.until("the event", |late| !late.channels["cache-rates"].events.is_empty()).await;
    }
}
