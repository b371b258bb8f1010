//! Notifications of backends when nodes die, freeze or lose the bus.

use std::time::Duration;

use clarim_cluster::PART_BYTES;
use clarim_cluster::timing::RETURN_WINDOW;
use clarim_hub::ChannelEvent;
use clarim_hub::app::App;

use crate::cluster::net::{LEASE, Net};
use crate::cluster::scenes::app;
use crate::cluster::view::Client;

/// An app whose backend is notified of joins and leaves.
pub(crate) fn told_app() -> App {
    let mut app = app();
    (app.hooks.occupancy, app.hooks.members) = (true, true);
    app
}

/// Takes what the nodes have reported since the last call, sorted.
pub(crate) fn take_reported(net: &Net) -> Vec<String> {
    let events = net
        .places
        .iter()
        .flat_map(|place| std::mem::take(&mut *place.world.node.sink().events.lock().unwrap()));
    let mut reported: Vec<String> = events
        .filter_map(|event| match event {
            ChannelEvent::MemberAdded(channel, id) => Some(format!("{id} on {}", channel.name)),
            ChannelEvent::MemberRemoved(channel, id) => Some(format!("{id} off {}", channel.name)),
            ChannelEvent::Occupied(channel) => Some(format!("{} occupied", channel.name)),
            ChannelEvent::Vacated(channel) => Some(format!("{} vacated", channel.name)),
            _ => None,
        })
        .collect();
    reported.sort_unstable();
    reported
}

const LOST: [&str; 3] = ["ana off presence-hall", "ana off presence-room", "presence-room vacated"];

/// Three nodes: Ana is in the hall on the first, with Ben on the second, and alone in her room.
fn ana_in_two_rooms() -> (Net, Vec<Client>, Client) {
    let mut net = Net::new(3, told_app(), true);
    let mut ana: Vec<Client> = (0..2).map(|_| Client::connect(&mut net, 0)).collect();
    let mut ben = Client::connect(&mut net, 1);
    ben.subscribe(&mut net, "presence-hall", "ben");
    for (client, room) in ana.iter_mut().zip(["presence-hall", "presence-room"]) {
        client.subscribe(&mut net, room, "ana");
    }
    net.settle();
    take_reported(&net);
    (net, ana, ben)
}

#[test]
fn lost_members_are_reported_as_back_when_their_node_returns() {
    for is_frozen in [false, true] {
        let (mut net, ana, _ben) = ana_in_two_rooms();
        for _ in 0..2 {
            match is_frozen {
                true => net.places[0].is_frozen = true,
                false => net.cut(0),
            }
            net.pass(LEASE * 3 / 2);
            assert_eq!(take_reported(&net), LOST);
            net.places[0].is_frozen = false;
            net.mend(0);
            net.pass(LEASE * 2);
            let back = ["ana on presence-hall", "ana on presence-room", "presence-room occupied"];
            assert_eq!(take_reported(&net), back);
        }
        for client in ana {
            client.hang_up(&mut net);
        }
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), LOST);
    }
}

#[test]
fn a_user_who_comes_back_before_the_lost_node_is_reported_once() {
    for node in [1, 2] {
        let (mut net, ana, _ben) = ana_in_two_rooms();
        net.cut(0);
        net.pass(LEASE * 3 / 2);
        assert_eq!(take_reported(&net), LOST);
        let mut again = Client::connect(&mut net, node);
        again.subscribe(&mut net, "presence-room", "ana");
        net.pass(LEASE);
        assert_eq!(take_reported(&net), ["ana on presence-room", "presence-room occupied"]);
        net.mend(0);
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), ["ana on presence-hall"]);
        again.hang_up(&mut net);
        for client in ana {
            client.hang_up(&mut net);
        }
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), LOST);
    }
}

#[test]
fn a_lost_node_that_does_not_return_is_forgotten() {
    let (mut net, _ana, ben) = ana_in_two_rooms();
    net.replace(0);
    net.pass(LEASE * 2);
    assert_eq!(take_reported(&net), LOST);
    ben.hang_up(&mut net);
    net.now += RETURN_WINDOW;
    net.pass(LEASE);
    for place in &mut net.places {
        place.world.assert_empty();
    }
}

/// Asserts that one of the nodes has reported that ana has left and the channel is empty.
fn assert_one_node_reported_that_ana_left(net: &Net) {
    let events = net
        .places
        .iter()
        .flat_map(|place| place.world.node.sink().events.lock().unwrap().clone().into_iter());
    let reported: Vec<String> = events
        .filter_map(|event| match event {
            ChannelEvent::MemberRemoved(_, id) => Some(format!("{id} left")),
            ChannelEvent::Vacated(_) => Some("empty".to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(reported, ["ana left", "empty"]);
}

#[test]
fn members_that_were_alone_on_a_dead_node_are_reported_to_the_backend() {
    for counts in [true, false] {
        let mut net = Net::new(4, told_app(), counts);
        let mut ana = Client::connect(&mut net, 0);
        ana.subscribe(&mut net, "presence-room", "ana");
        net.settle();
        let guards = |net: &Net| -> Vec<usize> {
            let knows = |at: &usize| !net.places[*at].world.node.is_empty();
            (1..net.places.len()).filter(knows).collect()
        };
        // Another node knows who is there; if it dies, one more.
        let [guard] = guards(&net)[..] else { panic!("{:?}", guards(&net)) };
        net.replace(guard);
        net.pass(LEASE * 2);
        assert_eq!(guards(&net).len(), 1);
        net.replace(0);
        net.pass(LEASE * 2);
        assert_one_node_reported_that_ana_left(&net);
        // The dead node is not expected to return any more.
        net.now += RETURN_WINDOW;
        net.pass(LEASE);
        assert!(guards(&net).is_empty(), "nobody keeps the channel");
        for place in &mut net.places {
            place.world.assert_empty();
        }
    }
}

#[test]
fn a_lost_bus_is_not_reported_as_leaves_to_the_backend() {
    let mut net = Net::new(2, told_app(), true);
    let mut ana = Client::connect(&mut net, 0);
    ana.subscribe(&mut net, "presence-room", "ana");
    net.settle();
    for node in 0..2 {
        net.cut(node);
    }
    net.pass(LEASE * 6);
    for node in 0..2 {
        net.mend(node);
    }
    net.pass(LEASE * 2);
    for place in &net.places {
        let events = place.world.node.sink().events.lock().unwrap();
        let leaves = events.iter().any(|event| {
            matches!(event, ChannelEvent::MemberRemoved(..) | ChannelEvent::Vacated(_))
        });
        assert!(!leaves, "{events:?}");
    }
    // Her real leave is reported.
    ana.hang_up(&mut net);
    net.pass(LEASE);
    assert_one_node_reported_that_ana_left(&net);
}

#[test]
fn joins_and_leaves_on_their_way_are_reported_when_the_bus_is_lost() {
    // The message of the change is lost on its way to the bus, or back from it.
    for is_accepted in [false, true] {
        let (mut net, mut ana, _ben) = ana_in_two_rooms();
        ana.pop().unwrap().hang_up(&mut net);
        let mut carla = Client::connect(&mut net, 0);
        carla.subscribe(&mut net, "presence-hall", "carla");
        if is_accepted {
            net.run_bus(0, usize::MAX);
        }
        assert_eq!(take_reported(&net), [""; 0]);
        net.cut(0);
        net.settle();
        let reported = ["ana off presence-room", "carla on presence-hall", "presence-room vacated"];
        assert_eq!(take_reported(&net), reported);
        net.mend(0);
        net.pass(LEASE * 2);
        assert_eq!(take_reported(&net), [""; 0], "once");
    }
}

#[test]
fn a_join_that_the_bus_does_not_return_is_reported_all_the_same() {
    let (mut net, _ana, _ben) = ana_in_two_rooms();
    let mut carla = Client::connect(&mut net, 0);
    carla.subscribe(&mut net, "presence-hall", "carla");
    net.run_bus(0, usize::MAX);
    assert!(net.drop_next(0));
    net.settle();
    assert_eq!(take_reported(&net), [""; 0]);
    net.pass(LEASE);
    assert_eq!(take_reported(&net), ["carla on presence-hall"]);
}

#[test]
fn idle_channels_cost_as_much_as_none() {
    let sent_in_a_minute = |channels: usize| {
        let mut net = Net::new(0, told_app(), true);
        net.part_bytes = PART_BYTES;
        net.start();
        net.start();
        net.settle();
        let mut client = Client::connect(&mut net, 0);
        for n in 0..channels {
            client.subscribe(&mut net, &format!("private-{n}"), "");
        }
        net.pass(LEASE);
        let before = net.sent;
        net.pass(Duration::from_secs(60));
        net.sent - before
    };
    let none = sent_in_a_minute(0);
    let idle = sent_in_a_minute(300);
    assert!(idle <= none + 2 * 2 * 4, "four digests from each node in 30 s: {none}, {idle}");
}

#[test]
fn a_change_that_was_missed_is_noticed_by_the_digest_of_many_channels() {
    let (mut net, ana, mut ben) = ana_in_two_rooms();
    net.cut(1);
    net.mend(1);
    net.settle();
    net.pass(LEASE);
    for client in ana {
        client.hang_up(&mut net);
    }
    net.run_bus(0, usize::MAX);
    while net.drop_next(1) {}
    net.pass(Duration::from_secs(90));
    ben.hear(&mut net);
    assert_eq!(ben.channels["presence-hall"].members.iter().collect::<Vec<_>>(), ["ben"]);
}

/// The webhooks about Ana that the backend has received since the last call.
fn take_webhooks_about_ana(net: &mut Net) -> Vec<ChannelEvent> {
    let is_ana = |event: &ChannelEvent| {
        matches!(event, ChannelEvent::MemberAdded(_, id) | ChannelEvent::MemberRemoved(_, id)
            if &**id == "ana")
    };
    std::mem::take(&mut net.webhooks).into_iter().filter(is_ana).collect()
}

#[test]
fn a_user_who_is_on_two_nodes_after_leaving_one_has_not_left() {
    let mut net = Net::new(2, told_app(), true);
    let on = |net: &mut Net, node: usize, user: &str| {
        let mut client = Client::connect(net, node);
        client.subscribe(net, "presence-room", user);
        client
    };
    let _ben = on(&mut net, 1, "ben");
    let ana = on(&mut net, 0, "ana");
    net.pass(LEASE);
    assert_eq!(take_webhooks_about_ana(&mut net).len(), 1);
    ana.hang_up(&mut net);
    net.settle();
    // She joins the other node first, and her old node before it hears of that.
    let there = on(&mut net, 1, "ana");
    net.run_bus(1, usize::MAX);
    let here = on(&mut net, 0, "ana");
    net.pass(LEASE);
    assert_eq!(take_webhooks_about_ana(&mut net), []);
    there.hang_up(&mut net);
    here.hang_up(&mut net);
    net.pass(LEASE);
    assert!(matches!(take_webhooks_about_ana(&mut net)[..], [ChannelEvent::MemberRemoved(..)]));
}
