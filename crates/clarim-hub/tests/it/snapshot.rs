//! Snapshots: what is not a snapshot of this node, and settings that change in between.

use std::time::Duration;

use clarim_cluster::NodeId;
use clarim_hub::app::{App, HistoryRule, RateLimit};
use clarim_hub::snapshot::{SavedWorker, SnapshotError, SnapshotReader, SnapshotWriter};
use clarim_hub::{Apps, ConnectionId, DeliveryAcks, Node, NodeBus, NodeConfig, Output, OutputSink};
use clarim_protocol::PageId;
use proptest::prelude::*;
use serde_json::json;

use crate::cluster::net::{LEASE, Net};
use crate::cluster::view::Client;
use crate::harness::handover::{Record, Restored, decode, encode, restore, save};
use crate::harness::{self, World};

/// Executes nothing.
#[derive(Debug)]
struct Nobody;

impl OutputSink for Nobody {
    fn execute(&self, _: Output) {}
}

fn app(id: &str) -> App {
    App::new(id, format!("key-{id}"), "secret")
}

/// A node with something of everything.
fn world() -> World {
    let mut one = app("one");
    let mut grace = HistoryRule::new("presence-*");
    grace.presence_grace = Duration::from_secs(60);
    one.history = vec![HistoryRule::new("private-*"), grace];
    one.subscription_count = true;
    let decay = Duration::from_secs(60);
    one.rate_limit = Some(RateLimit::new(100, decay));
    let mut world = World::new(vec![one, app("two")], 2);
    let page: PageId = "page".parse().unwrap();
    let clients = [("one", Some(&page)), ("one", Some(&page)), ("two", None), ("one", None)];
    let mut last = None;
    for (n, (id, page)) in clients.into_iter().enumerate() {
        let app = world.node.apps().find_by_id(id).unwrap();
        let addr = world.connect_page(app, n as u16 % 2, page).unwrap();
        last = Some(addr);
        let socket_id = world.desk(addr).socket_id(addr.connection);
        let key = world.node.apps().get(app).key.clone();
        let user = json!({"id": format!("u{n}"), "watchlist": ["u0", "u9"]}).to_string();
        let data = json!({"auth": key.sign_user(socket_id, &user), "user_data": user});
        world.receive(addr, &json!({"event": "pusher:signin", "data": data}).to_string());
        for channel in ["news", "cache-x", "private-x", "presence-x"] {
            let member = channel.starts_with("presence-");
            let member = member.then(|| json!({"user_id": n, "user_info": {"a": 1}}).to_string());
            let auth = key.sign_channel(socket_id, channel, member.as_deref());
            let data = json!({"channel": channel, "auth": auth, "channel_data": member});
            world.receive(addr, &json!({"event": "pusher:subscribe", "data": data}).to_string());
        }
        for channel in ["cache-x", "private-x"] {
            let key = harness::key(app, channel);
            let frame = harness::event("E", &key.name, "\"1\"");
            let acks = DeliveryAcks::default();
            world.node.publish(&key, &frame, Some(socket_id), acks, world.now);
        }
    }
    world.run_all();
    // The member is held, and so is the page of another client.
    let app = world.node.apps().find_by_id("one").unwrap();
    let gone = world.connect_page(app, 0, Some(&"gone".parse().unwrap())).unwrap();
    let message = json!({"event": "pusher:subscribe", "data": {"channel": "private-x"}});
    world.receive(gone, &message.to_string());
    world.hang_up(last.unwrap());
    world.hang_up(gone);
    world.pass(Duration::from_secs(1));
    world.run_all();
    world
}

fn records() -> Vec<Record> {
    let world = world();
    save(&world.node, world.workers(), world.now)
}

fn restored(apps: Vec<App>, records: Vec<Record>) -> Result<Restored<Nobody>, SnapshotError> {
    restore(Apps::new(apps), NodeConfig::new(2), Nobody, records)
}

#[test]
fn clients_of_an_app_that_no_longer_exists_are_not_restored() {
    let Restored { node, workers, addresses } = restored(vec![app("one")], records()).unwrap();
    assert_eq!(addresses.len(), 2);
    assert_eq!(node.totals().subscriptions, 4, "the other one was replaced, and is closing");
    assert_eq!(node.apps().total_connections(), 2);
    assert_eq!(workers.iter().map(|worker| worker.connections().count()).sum::<usize>(), 2);
}

#[test]
fn a_connection_whose_socket_is_lost_leaves_as_ever() {
    let Restored { node, mut workers, .. } =
        restored(vec![app("one"), app("two")], records()).unwrap();
    let now = Duration::from_secs(1000);
    close_all(&node, &mut workers, now);
    // Members are held for their grace time.
    node.sweep(now + clarim_hub::CACHE_TTL);
    assert_eq!(node.totals(), clarim_hub::Totals::default());
    assert!(node.is_empty(), "{node:?}");
}

#[test]
fn records_that_contradict_each_other_are_errors() {
    let apps = || vec![app("one"), app("two")];
    let is_channel = |record: &Record| matches!(record, Record::Contents(_));
    // No presence channel has the members that the connections name.
    let without_channels = records().into_iter().filter(|record| !is_channel(record)).collect();
    let error = restored(apps(), without_channels).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "snapshot_invalid");
    let twice = records().into_iter().flat_map(|record| [record.clone(), record]);
    let error = restored(apps(), twice.collect()).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "snapshot_invalid");
}

#[test]
fn connections_that_claim_the_same_slot_get_slots_of_their_own() {
    let mut records = records();
    for record in &mut records {
        if let Record::Connection(connection) = record {
            (connection.worker, connection.slot) = (0, u32::MAX);
        }
    }
    let Restored { workers, addresses, .. } =
        restored(vec![app("one"), app("two")], records).unwrap();
    assert_eq!(workers[0].connections().count(), 3);
    for (socket_id, addr) in addresses {
        assert_eq!(workers[0].find(socket_id), Some(addr.connection));
    }
}

/// A snapshot of version 1. `cargo test -p clarim-hub write_version_1 -- --ignored` writes it anew, which is
/// right only as long as no release has written version 1.
const VERSION_1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/golden/version-1.snapshot");

/// Everything that a node of a cluster has, and what a node alone has.
fn golden() -> Vec<Record> {
    let mut records = records();
    let mut app = app("one");
    (app.hooks.occupancy, app.hooks.members) = (true, true);
    let mut net = Net::new(2, app, true);
    let mut clients: Vec<Client> = (0..2).map(|node| Client::connect(&mut net, node)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&mut net, "presence-room", &format!("u{n}"));
        net.pass(Duration::from_secs(1));
    }
    // One of a lost node, one that waits, and one that leaves.
    net.replace(1);
    net.pass(LEASE * 2);
    clients[0].subscribe(&mut net, "presence-other", "u0");
    clients[0].unsubscribe(&mut net, "presence-room");
    let place = &net.places[0];
    records.extend(save(&place.world.node, place.world.workers(), net.now));
    records.push(Record::Cluster(place.cluster.save()));
    records.extend(place.delays(net.now).into_iter().map(Record::Delay));
    records
}

#[test]
#[ignore = "writes the file that the next test reads"]
fn write_version_1() {
    std::fs::create_dir_all(std::path::Path::new(VERSION_1).parent().unwrap()).unwrap();
    std::fs::write(VERSION_1, encode(&golden())).unwrap();
}

#[test]
fn version_1_stays_readable() {
    let mut records = decode(&std::fs::read(VERSION_1).unwrap()).unwrap();
    // Maps have no order, and pages have random keys.
    let kinds = |records: &[Record]| records.iter().map(std::mem::discriminant).collect::<Vec<_>>();
    assert_eq!(kinds(&records), kinds(&golden()));
    let is_node = |record: &Record| matches!(record, Record::Node(_));
    let second = records.iter().rposition(is_node).unwrap();
    let of_cluster = records.split_off(second);
    let Restored { node, workers, .. } = restored(vec![app("one"), app("two")], records).unwrap();
    let one = node.apps().find_by_id("one").unwrap();
    let now = Duration::from_secs(1001);
    let state = node.channel(&harness::key(one, "private-x"), now);
    assert_eq!((state.subscriptions, state.position.map(|at| at.offset)), (1, Some(3)));
    let users = node.users(&harness::key(one, "presence-x"));
    let users: Vec<&str> = users.iter().map(|user| user.as_str()).collect();
    assert_eq!(users, ["0", "1", "3"], "two of them are held");
    assert!(node.channel(&harness::key(one, "cache-x"), now).cached.is_some());
    assert_eq!(workers.iter().map(|worker| worker.connections().count()).sum::<usize>(), 3);
    let config = NodeConfig { bus: NodeBus::Cluster(NodeId(1)), ..NodeConfig::new(1) };
    restore(Apps::new([app("one")]), config, Nobody, of_cluster).unwrap();
}

#[test]
fn fields_of_later_releases_are_ignored() {
    #[derive(serde::Serialize)]
    struct Later {
        reconnects: u64,
        something: &'static str,
    }
    let mut writer = SnapshotWriter::begin(Vec::new(), "2.0.0").unwrap();
    writer.write(&Later { reconnects: 7, something: "else" }).unwrap();
    let bytes = writer.finish().unwrap();
    let mut reader = SnapshotReader::begin(&bytes[..]).unwrap();
    let saved: SavedWorker = reader.read().unwrap().unwrap();
    assert_eq!(saved, SavedWorker::default());
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_damaged_snapshot_is_an_error_or_another_one_but_no_panic(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        length in proptest::option::weighted(0.3, any::<prop::sample::Index>()),
    ) {
        let mut bytes = encode(&records());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(length.map_or(bytes.len(), |length| length.index(bytes.len())));
        if let Ok(records) = decode(&bytes)
            && matches!(records.first(), Some(Record::Node(_)))
            && let Ok(Restored { node, mut workers, .. }) =
                restored(vec![app("one"), app("two")], records)
        {
            let now = Duration::from_secs(1001);
            node.sweep(now);
            close_all(&node, &mut workers, now);
        }
    }
}

fn close_all(node: &Node<Nobody>, workers: &mut [clarim_hub::Worker<Nobody>], now: Duration) {
    for worker in workers {
        let all: Vec<ConnectionId> = worker.connections().collect();
        all.into_iter().for_each(|id| worker.close(id, now));
        assert!(worker.is_empty());
    }
    assert_eq!(node.apps().total_connections(), 0);
}
