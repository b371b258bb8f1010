//! Backups of channels that only one node has.

mod random;

use std::time::Duration;

use clarim_cluster::Version;
use clarim_cluster::timing::{FORGET, RETURN_WINDOW, TICK};

use crate::cluster::backends::{take_reported, told_app};
use crate::cluster::net::{LEASE, Net, Release};
use crate::cluster::view::{Client, publish};

const ROOM: &str = "presence-room";
const NOTHING: [&str; 0] = [];

/// A member of the room.
fn member(net: &mut Net, node: usize, user: &str) -> Client {
    let mut client = Client::connect(net, node);
    client.subscribe(net, ROOM, user);
    net.settle();
    client
}

/// The nodes without clients that know who is on a channel.
fn backups(net: &Net, clients_on: &[usize]) -> Vec<usize> {
    let others = (0..net.places.len()).filter(|node| !clients_on.contains(node));
    others.filter(|node| !net.places[*node].world.node.is_empty()).collect()
}

/// The nodes that are subscribed to a channel on the bus.
fn subscribed(net: &Net) -> Vec<usize> {
    (0..net.places.len()).filter(|node| net.places[*node].cluster.state().channels > 0).collect()
}

/// The number of deliveries that the bus makes for an event on the room.
fn deliveries(net: &mut Net, id: u64) -> usize {
    let before = net.delivered;
    publish(net, 0, ROOM, None, id);
    net.settle();
    net.delivered - before
}

fn of_releases(releases: &[Release]) -> Net {
    let mut net = Net::of_releases(releases, told_app(), true);
    net.pass(LEASE);
    net
}

#[test]
fn a_backup_gets_no_copy_of_events() {
    let mut net = Net::new(3, told_app(), true);
    let mut ana = member(&mut net, 0, "ana");
    assert_eq!(backups(&net, &[0]).len(), 1);
    for id in 1..=10 {
        assert_eq!(deliveries(&mut net, id), 1, "only the node of the subscriber gets it");
    }
    ana.hear(&mut net);
    assert_eq!(ana.channels[ROOM].order.len(), 10);
    let _ben = member(&mut net, 1, "ben");
    assert_eq!(deliveries(&mut net, 11), 2);
}

#[test]
fn a_node_that_joins_takes_the_place_of_the_backup() {
    for joined in [1, 2, 3] {
        let mut net = Net::new(4, told_app(), true);
        let _ana = member(&mut net, 0, "ana");
        let ben = member(&mut net, joined, "ben");
        assert_eq!(backups(&net, &[0, joined]), [0; 0]);
        take_reported(&net);
        net.replace(0);
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), ["ana off presence-room"]);
        // Now Ben is alone.
        assert_eq!(backups(&net, &[joined]).len(), 1);
        drop(ben);
        net.replace(joined);
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), ["ben off presence-room", "presence-room vacated"]);
    }
}

#[test]
fn users_who_are_on_another_node_before_the_lease_ends_have_not_left() {
    for counts in [true, false] {
        let mut net = Net::new(4, told_app(), counts);
        let _on_dead = [member(&mut net, 0, "ana"), member(&mut net, 0, "carla")];
        take_reported(&net);
        net.replace(0);
        net.pass(LEASE / 2);
        for node in 0..4 {
            member(&mut net, node, "ana");
        }
        take_reported(&net);
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), ["carla off presence-room"]);
    }
}

#[test]
fn a_backup_waits_for_nodes_that_reply_late() {
    for counts in [true, false] {
        let mut net = Net::new(3, told_app(), counts);
        let _on_dead = [member(&mut net, 0, "ana"), member(&mut net, 0, "carla")];
        let backup = backups(&net, &[0])[0];
        let other = 3 - backup;
        net.replace(0);
        net.pass(LEASE / 2);
        let _ana = member(&mut net, other, "ana");
        take_reported(&net);
        net.places[other].is_frozen = true;
        net.pass(LEASE - Duration::from_secs(1));
        assert_eq!(take_reported(&net), NOTHING, "nobody knows who is on the frozen node");
        net.places[other].is_frozen = false;
        net.pass(LEASE);
        assert_eq!(take_reported(&net), ["carla off presence-room"]);
        net.pass_in_steps(RETURN_WINDOW + FORGET, Duration::from_secs(1));
        assert_eq!(subscribed(&net), [other], "the backup has closed the channel");
    }
}

#[test]
fn a_backup_takes_over_many_channels_bit_by_bit() {
    let mut net = Net::new(2, told_app(), true);
    let mut ana = Client::connect(&mut net, 0);
    for n in 0..300 {
        ana.subscribe(&mut net, &format!("presence-{n}"), "ana");
    }
    net.settle();
    take_reported(&net);
    net.replace(0);
    let mut most = 0;
    let mut before = 0;
    for _ in 0..(LEASE * 2).as_millis() / TICK.as_millis() {
        net.pass(TICK);
        let channels = net.places[1].cluster.state().channels;
        most = most.max(channels.saturating_sub(before));
        before = channels;
    }
    assert!((1..=64).contains(&most), "{most} channels at once");
    assert_eq!(take_reported(&net).len(), 600, "each room is vacated, and Ana has left it");
}

#[test]
fn a_node_that_joins_after_a_death_does_not_report_it() {
    for joins_at in [Duration::from_secs(1), LEASE - Duration::from_secs(1)] {
        let mut net = Net::new(3, told_app(), true);
        let _ana = member(&mut net, 1, "ana");
        let _ben = member(&mut net, 2, "ben");
        take_reported(&net);
        net.replace(1);
        net.pass(joins_at);
        // This node has the smallest id.
        let _carla = member(&mut net, 0, "carla");
        take_reported(&net);
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), ["ana off presence-room"]);
    }
}

#[test]
fn a_dead_node_that_was_chosen_as_a_backup_is_replaced() {
    for _ in 0..8 {
        let mut net = Net::new(2, told_app(), true);
        net.replace(1);
        let _ana = member(&mut net, 0, "ana");
        net.pass(LEASE * 2);
        assert_eq!(backups(&net, &[0]), [1]);
    }
}

#[test]
fn changes_that_a_backup_has_missed_are_repaired() {
    let mut net = Net::new(2, told_app(), true);
    let _ana = member(&mut net, 0, "ana");
    let ben = member(&mut net, 0, "ben");
    // Ben's leave and Carla's join are lost on their way to the backup.
    ben.hang_up(&mut net);
    let mut carla = Client::connect(&mut net, 0);
    carla.subscribe(&mut net, ROOM, "carla");
    net.run_bus(0, usize::MAX);
    while net.drop_next(1) {}
    net.pass(Duration::from_secs(40));
    take_reported(&net);
    let _carla = carla;
    net.replace(0);
    net.pass(LEASE * 2);
    let left = ["ana off presence-room", "carla off presence-room", "presence-room vacated"];
    assert_eq!(take_reported(&net), left);
}

#[test]
fn a_backup_that_was_without_the_bus_asks_for_what_it_missed() {
    let mut net = Net::new(2, told_app(), true);
    let _ana = member(&mut net, 0, "ana");
    net.cut(1);
    net.settle();
    let _ben = member(&mut net, 0, "ben");
    net.mend(1);
    net.pass(Duration::from_secs(5));
    take_reported(&net);
    net.replace(0);
    net.pass(LEASE * 3);
    let left = ["ana off presence-room", "ben off presence-room", "presence-room vacated"];
    assert_eq!(take_reported(&net), left);
}

#[test]
fn a_backup_that_was_considered_dead_reports_nothing() {
    let mut net = Net::new(3, told_app(), true);
    let _ana = member(&mut net, 0, "ana");
    let [first] = backups(&net, &[0])[..] else { panic!("one backup") };
    let second = 3 - first;
    net.places[first].is_frozen = true;
    net.pass(LEASE * 2);
    assert!(!net.places[second].world.node.is_empty(), "it is the backup now");
    net.places[first].is_frozen = false;
    net.pass(Duration::from_secs(1));
    assert_eq!(backups(&net, &[0]), [second]);
    take_reported(&net);
    net.replace(0);
    net.pass(LEASE * 2);
    assert_eq!(take_reported(&net), ["ana off presence-room", "presence-room vacated"]);
}

#[test]
fn a_backup_forgets_a_channel_that_was_closed_unnoticed() {
    let mut net = Net::new(2, told_app(), true);
    let ana = member(&mut net, 0, "ana");
    assert_eq!(backups(&net, &[0]), [1]);
    ana.hang_up(&mut net);
    // What comes until the channel is closed is lost on its way to the backup.
    net.places[1].is_frozen = true;
    net.pass(LEASE * 3 / 4);
    while net.drop_next(1) {}
    net.places[1].is_frozen = false;
    assert_eq!(backups(&net, &[0]), [1]);
    net.pass(FORGET * 2);
    assert_eq!(backups(&net, &[]), [0; 0]);
}

#[test]
fn a_backup_and_its_node_are_handed_over() {
    for away in [0, 1] {
        let mut net = Net::new(2, told_app(), true);
        let _ana = member(&mut net, 0, "ana");
        net.hand_over(away);
        net.settle();
        net.leave_bus(away);
        // Kept for the backup.
        let ben = (away == 1).then(|| member(&mut net, 0, "ben"));
        net.pass(Duration::from_secs(1));
        net.come_back(away);
        net.settle();
        take_reported(&net);
        // The node dies before it sends its states again.
        net.replace(0);
        net.pass(LEASE * 3);
        let mut left = vec!["ana off presence-room", "presence-room vacated"];
        if ben.is_some() {
            left.insert(1, "ben off presence-room");
        }
        assert_eq!(take_reported(&net), left, "away: {away}");
    }
}

#[test]
fn a_backup_that_is_handed_over_after_its_node_has_died_reports_who_has_left() {
    let mut net = Net::new(2, told_app(), true);
    let _ana = member(&mut net, 0, "ana");
    take_reported(&net);
    net.replace(0);
    net.pass(LEASE / 2);
    net.hand_over(1);
    net.settle();
    net.leave_bus(1);
    net.come_back(1);
    net.pass(LEASE * 3);
    assert_eq!(take_reported(&net), ["ana off presence-room", "presence-room vacated"]);
}

#[test]
fn a_node_that_stops_leaves_at_once() {
    let mut net = Net::new(2, told_app(), true);
    let _ana = member(&mut net, 0, "ana");
    take_reported(&net);
    net.say_goodbye(0);
    net.settle();
    net.pass(TICK);
    assert_eq!(take_reported(&net), ["ana off presence-room", "presence-room vacated"]);
}

#[test]
fn without_the_bus_nothing_is_reported_of_a_node_that_has_gone() {
    let mut net = Net::new(3, told_app(), true);
    let _ana = member(&mut net, 0, "ana");
    let [backup] = backups(&net, &[0])[..] else { panic!("one backup") };
    net.replace(0);
    // The backup loses the bus while it finds out who is elsewhere.
    while net.places[backup].cluster.state().channels == 0 {
        take_reported(&net);
        net.now += Duration::from_millis(50);
        net.tick(backup);
        net.tick(0);
        net.run_bus(0, usize::MAX);
        if net.places[backup].cluster.state().channels == 0 {
            net.settle();
        }
    }
    net.cut(backup);
    net.settle();
    assert_eq!(take_reported(&net), NOTHING);
    net.mend(backup);
    net.pass(LEASE * 4);
    assert_eq!(take_reported(&net), NOTHING);
}

#[test]
fn backups_subscribe_until_all_nodes_are_of_this_release() {
    for old in [Release::First, Release::Former] {
        for mixed in [[Release::Current, old], [old, Release::Current]] {
            let mut net = of_releases(&mixed);
            let _ana = member(&mut net, 0, "ana");
            assert_eq!(subscribed(&net), [0, 1]);
            assert_eq!(deliveries(&mut net, 1), 2);
            take_reported(&net);
            // The other node is upgraded, and is a backup that is not subscribed.
            if mixed[1] == old {
                net.replace_by(1, Release::Current);
                net.pass(LEASE * 12);
                assert_eq!(subscribed(&net), [0]);
                assert_eq!(deliveries(&mut net, 2), 1);
            }
            net.replace_by(0, Release::Current);
            net.pass(LEASE * 2);
            let left = ["ana off presence-room", "presence-room vacated"];
            assert_eq!(take_reported(&net), left, "{mixed:?}");
        }
    }
}

#[test]
fn a_backup_that_has_subscribed_is_replaced_when_the_last_node_is_upgraded() {
    let mut net = of_releases(&[Release::Current, Release::Current, Release::Former]);
    let _ana = member(&mut net, 0, "ana");
    assert_eq!(subscribed(&net).len(), 2);
    net.replace_by(2, Release::Current);
    net.pass(LEASE * 10);
    let versions = |net: &Net| net.places.iter().map(|p| p.cluster.state().version).min();
    assert_eq!(versions(&net), Some(Version::NEWEST.0));
    assert_eq!(subscribed(&net), [0]);
    assert_eq!(backups(&net, &[0]).len(), 1);
    take_reported(&net);
    net.replace(0);
    net.pass(LEASE * 2);
    assert_eq!(take_reported(&net), ["ana off presence-room", "presence-room vacated"]);
}

#[test]
fn a_backup_stays_when_an_older_node_comes() {
    let mut net = of_releases(&[Release::Current, Release::Current, Release::Current]);
    let _ana = member(&mut net, 0, "ana");
    let [backup] = backups(&net, &[0])[..] else { panic!("one backup") };
    let older = 3 - backup;
    net.replace_by(older, Release::Former);
    let _ben = member(&mut net, 0, "ben");
    net.pass(LEASE * 10);
    assert_eq!(backups(&net, &[0]), [backup]);
    // The users of the older node are known, too.
    let _carla = member(&mut net, older, "carla");
    take_reported(&net);
    net.replace(0);
    net.pass(LEASE * 2);
    assert_eq!(take_reported(&net), ["ana off presence-room", "ben off presence-room"]);
}
