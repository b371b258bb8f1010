//! The stream of server events for the program that runs the server.

use clarim_bus::MemoryBus;
use clarim_server::config::Scaling;
use clarim_server::{ChannelName, Ended, Events, ServerEvent, SocketId};
use serde_json::json;
use tokio_websockets::Message;

use crate::support::{Client, Harness, Setup, app, member, start, within};

fn heard() -> (Harness, Events) {
    let server = Setup { events: true, ..Setup::default() }.start(vec![app()]);
    let events = server.running().events().unwrap();
    (server, events)
}

async fn next(events: &mut Events) -> ServerEvent {
    within(events.next()).await.expect("the server runs")
}

/// Checks the next two events, which different threads may report in either order.
async fn two(events: &mut Events, expected: [ServerEvent; 2]) {
    let came = [next(events).await, next(events).await];
    assert!(expected.iter().all(|event| came.contains(event)), "{came:?}");
}

fn id() -> String {
    "123456".to_owned()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name, 200).unwrap()
}

async fn connected(server: &Harness, events: &mut Events) -> (Client, SocketId) {
    let client = server.connect().await;
    let socket_id = client.socket_id();
    assert_eq!(next(events).await, ServerEvent::Connected { app: id(), socket_id });
    (client, socket_id)
}

#[tokio::test]
async fn a_connection_is_followed_from_its_beginning_to_its_end() {
    let (server, mut events) = heard();
    let (mut client, socket_id) = connected(&server, &mut events).await;
    let news = || channel("news");
    client.subscribe("news").await;
    let subscribed = ServerEvent::Subscribed { app: id(), socket_id, channel: news(), user: None };
    let occupied = ServerEvent::ChannelOccupied { app: id(), channel: news() };
    two(&mut events, [subscribed, occupied]).await;
    server.publish("news", "e", &json!({ "n": 1 })).await;
    let event = "e".to_owned();
    let data = r#""{\"n\":1}""#.to_owned();
    let published = ServerEvent::Published { app: id(), channel: news(), event, data };
    assert_eq!(next(&mut events).await, published);
    client.receive().await;
    client.unsubscribe("news").await;
    let unsubscribed = ServerEvent::Unsubscribed { app: id(), socket_id, channel: news() };
    let vacated = ServerEvent::ChannelVacated { app: id(), channel: news() };
    two(&mut events, [unsubscribed, vacated]).await;
    client.sign_in(&json!({ "id": "ana" })).await;
    let signed_in = ServerEvent::SignedIn { app: id(), socket_id, user: "ana".to_owned() };
    assert_eq!(next(&mut events).await, signed_in);
    drop(client);
    let by = Ended::Lost;
    assert_eq!(next(&mut events).await, ServerEvent::Disconnected { app: id(), socket_id, by });
}

#[tokio::test]
async fn members_and_their_client_events_are_reported() {
    let (server, mut events) = heard();
    let room = || channel("presence-room");
    let user = || "7".to_owned();
    let (mut client, socket_id) = connected(&server, &mut events).await;
    client.join("presence-room", 7).await;
    let mut came = Vec::new();
    for _ in 0..3 {
        came.push(next(&mut events).await);
    }
    for expected in [
        ServerEvent::MemberAdded { app: id(), channel: room(), user: user() },
        ServerEvent::ChannelOccupied { app: id(), channel: room() },
        ServerEvent::Subscribed { app: id(), socket_id, channel: room(), user: Some(user()) },
    ] {
        assert!(came.contains(&expected), "{came:?}");
    }
    // Another tab of the same user is a subscriber, and no other member.
    let (mut tab, other_id) = connected(&server, &mut events).await;
    tab.ask("presence-room", Some(&member(7).to_string())).await;
    let user_there = Some(user());
    assert_eq!(
        next(&mut events).await,
        ServerEvent::Subscribed {
            app: id(),
            socket_id: other_id,
            channel: room(),
            user: user_there
        }
    );
    client.whisper("presence-room", "client-typing", &json!({ "on": true })).await;
    assert_eq!(
        next(&mut events).await,
        ServerEvent::ClientEvent {
            app: id(),
            socket_id,
            channel: room(),
            event: "client-typing".to_owned(),
            data: r#"{"on":true}"#.to_owned(),
            user: Some(user()),
        }
    );
    tab.send_message(Message::close(None, "")).await;
    let left = ServerEvent::Unsubscribed { app: id(), socket_id: other_id, channel: room() };
    assert_eq!(next(&mut events).await, left);
    let by = Ended::ByClient;
    let ended = ServerEvent::Disconnected { app: id(), socket_id: other_id, by };
    assert_eq!(next(&mut events).await, ended);
    // Closed by the server, as the application asks.
    server.api().post("/users/7/terminate_connections", &json!({})).await;
    let mut came = Vec::new();
    for _ in 0..4 {
        came.push(next(&mut events).await);
    }
    for expected in [
        ServerEvent::MemberRemoved { app: id(), channel: room(), user: user() },
        ServerEvent::ChannelVacated { app: id(), channel: room() },
        ServerEvent::Unsubscribed { app: id(), socket_id, channel: room() },
        ServerEvent::Disconnected { app: id(), socket_id, by: Ended::ByServer },
    ] {
        assert!(came.contains(&expected), "{came:?}");
    }
}

#[tokio::test]
async fn a_slow_reader_delays_nobody_and_gets_the_number_of_missed_events() {
    let (server, mut events) = heard();
    let (mut client, _) = connected(&server, &mut events).await;
    client.subscribe("news").await;
    // 40 MB, of which 16 MiB may be queued.
    let data = json!("x".repeat(9_000));
    let many: Vec<_> = (0..10)
        .map(|_| json!({ "name": "e", "channel": "news", "data": data.to_string() }))
        .collect();
    for _ in 0..440 {
        server.api().post("/batch_events", &json!({ "batch": many })).await;
        for _ in 0..10 {
            client.receive().await;
        }
    }
    let mut received = 0;
    let mut missed = 0;
    while received + missed < 4_400 {
        match next(&mut events).await {
            ServerEvent::Published { .. } => received += 1,
            ServerEvent::Missed(count) => missed += count,
            ServerEvent::Subscribed { .. } | ServerEvent::ChannelOccupied { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(received + missed, 4_400, "each is received or counted as missed");
    assert!((1_600..2_000).contains(&received), "{received}");
    server.publish("news", "last", &json!({})).await;
    let last = next(&mut events).await;
    assert!(matches!(&last, ServerEvent::Published { event, .. } if event == "last"), "{last:?}");
}

#[tokio::test]
async fn the_stream_ends_with_the_server() {
    let (server, mut events) = heard();
    let (client, socket_id) = connected(&server, &mut events).await;
    let mut second = server.running().events().unwrap();
    server.running().stop();
    let by = Ended::ByServer;
    for events in [&mut events, &mut second] {
        let ended = ServerEvent::Disconnected { app: id(), socket_id, by };
        assert_eq!(next(events).await, ended);
    }
    drop(client);
    assert_eq!(within(events.next()).await, None);
    assert_eq!(within(second.next()).await, None);
    let mut late = server.running().events().unwrap();
    assert_eq!(within(late.next()).await, None, "nothing will happen any more");
}

#[tokio::test]
async fn missed_events_are_reported_where_they_are_missing() {
    let (server, mut events) = heard();
    let data = json!("x".repeat(9_000)).to_string();
    let batch = |from: u32| {
        let event = |n: u32| json!({ "name": n.to_string(), "channel": "news", "data": data });
        json!({ "batch": (from..from + 10).map(event).collect::<Vec<_>>() })
    };
    let mut sent = 0;
    for _ in 0..250 {
        server.api().post("/batch_events", &batch(sent)).await;
        sent += 10;
    }
    let mut next_number = 0;
    while next_number < sent {
        match next(&mut events).await {
            ServerEvent::Published { event, .. } => {
                assert_eq!(
                    event,
                    next_number.to_string(),
                    "in order, and nothing is skipped silently"
                );
                next_number += 1;
                // There is room again: new events come after the gap.
                if next_number == 1_000 {
                    server.api().post("/batch_events", &batch(sent)).await;
                    sent += 10;
                }
            }
            ServerEvent::Missed(count) => {
                assert!(next_number > 1_500, "only after all queued events: {next_number}");
                next_number += u32::try_from(count).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn one_of_two_nodes_reports_the_events_of_a_channel() {
    let bus = MemoryBus::new();
    let start = || {
        let scaling = Some(Scaling::new(bus.clone().into()));
        let server = Setup { scaling, events: true, ..Setup::default() }.start(vec![app()]);
        let events = server.running().events().unwrap();
        (server, events)
    };
    let (a, mut of_a) = start();
    let (b, mut of_b) = start();
    let (mut ana, _) = connected(&a, &mut of_a).await;
    ana.join("presence-room", 1).await;
    let (mut ben, _) = connected(&b, &mut of_b).await;
    ben.join("presence-room", 2).await;
    ana.receive().await;
    drop(ana);
    ben.receive().await;
    drop(ben);
    a.becomes_empty().await;
    b.becomes_empty().await;
    within(futures_util::future::join(a.end(), b.end())).await;
    let mut reported = Vec::new();
    for events in [&mut of_a, &mut of_b] {
        while let Some(event) = within(events.next()).await {
            reported.push(event);
        }
    }
    let room = || channel("presence-room");
    let member = |user: &str| (id(), room(), user.to_owned());
    let as_member = |(app, channel, user)| ServerEvent::MemberAdded { app, channel, user };
    let as_gone = |(app, channel, user)| ServerEvent::MemberRemoved { app, channel, user };
    for expected in [
        ServerEvent::ChannelOccupied { app: id(), channel: room() },
        as_member(member("1")),
        as_member(member("2")),
        as_gone(member("1")),
        as_gone(member("2")),
        ServerEvent::ChannelVacated { app: id(), channel: room() },
    ] {
        let count = reported.iter().filter(|event| **event == expected).count();
        assert_eq!(count, 1, "{expected:?} in {reported:#?}");
    }
}

#[tokio::test]
async fn without_the_setting_there_are_no_events() {
    assert!(start().running().events().is_none());
}
