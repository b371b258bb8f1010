//! Random actions of clients, while nodes die that are alone on channels, and lose the bus. The webhooks are
//! compared with the truth.

use std::collections::BTreeSet;
use std::time::Duration;

use clarim_cluster::timing::{LEAVE_DEBOUNCE, TICK};
use clarim_hub::ChannelEvent;
use proptest::prelude::*;

use crate::cluster::backends::told_app;
use crate::cluster::net::{LEASE, Net, Release};
use crate::cluster::view::{Client, View};

const CHANNELS: [&str; 3] = ["private-doc", "presence-room", "presence-hall"];
const NODES: usize = 4;

/// A channel, and a user of it or `None` for its subscribers.
type Occupant = (String, Option<String>);

/// Numbers of clients are taken modulo the number of clients there are.
#[derive(Debug, Clone)]
enum Action {
    Join { node: usize, channel: usize, user: usize },
    Leave { client: usize },
    Pass { milliseconds: u64 },
    HandOver { node: usize },
    Fault(Fault),
}

#[derive(Debug, Clone)]
enum Fault {
    /// A node dies, and another one starts.
    Die {
        node: usize,
    },
    /// A node has no bus for a moment.
    Cut {
        node: usize,
        milliseconds: u64,
    },
    /// The bus is away for a moment.
    CutAll {
        milliseconds: u64,
    },
    Freeze {
        node: usize,
        milliseconds: u64,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let node = 0..NODES;
    prop_oneof![
        8 => (node.clone(), 0..CHANNELS.len(), 0..3usize)
            .prop_map(|(node, channel, user)| Action::Join { node, channel, user }),
        5 => (0..20usize).prop_map(|client| Action::Leave { client }),
        3 => prop_oneof![10..500u64, 1_000..20_000u64]
            .prop_map(|milliseconds| Action::Pass { milliseconds }),
        1 => node.prop_map(|node| Action::HandOver { node }),
    ]
}

fn death() -> impl Strategy<Value = Action> {
    (0..NODES).prop_map(|node| Action::Fault(Fault::Die { node }))
}

fn fault() -> impl Strategy<Value = Action> {
    let node = 0..NODES;
    let time = || prop_oneof![50..2_000u64, 2_000..18_000u64];
    prop_oneof![
        2 => node.clone().prop_map(|node| Fault::Die { node }),
        2 => (node.clone(), time())
            .prop_map(|(node, milliseconds)| Fault::Cut { node, milliseconds }),
        1 => time().prop_map(|milliseconds| Fault::CutAll { milliseconds }),
        1 => (node, time()).prop_map(|(node, milliseconds)| Fault::Freeze { node, milliseconds }),
    ]
    .prop_map(Action::Fault)
}

/// Backups subscribe to the channels, or not, or the cluster is being upgraded.
fn releases() -> impl Strategy<Value = Vec<Release>> {
    let release = prop_oneof![Just(Release::Former), Just(Release::Current)];
    prop_oneof![
        6 => Just(vec![Release::Current; NODES]),
        1 => Just(vec![Release::Former; NODES]),
        2 => proptest::collection::vec(release, NODES),
    ]
}

struct Model {
    net: Net,
    clients: Vec<Client>,
    /// The users and channels that are there according to the webhooks.
    told: BTreeSet<Occupant>,
    /// The channels of the last node that has died.
    lost: BTreeSet<String>,
    /// Channels that other nodes had, too, when a node died. If all of them close such a channel before the
    /// lease ends, no node reports who has left.
    shared: BTreeSet<String>,
    failed_at: Duration,
    is_bus_well: bool,
    is_former: bool,
}

impl Model {
    fn new(counts: bool, releases: &[Release]) -> Self {
        let net = Net::of_releases(releases, told_app(), counts);
        let mut model = Self {
            net,
            clients: Vec::new(),
            told: BTreeSet::new(),
            lost: BTreeSet::new(),
            shared: BTreeSet::new(),
            failed_at: Duration::ZERO,
            is_bus_well: true,
            is_former: releases.contains(&Release::Former),
        };
        model.pass(LEASE);
        model
    }

    fn act(&mut self, action: &Action) {
        match *action {
            Action::Join { node, channel, user } => {
                let mut client = Client::connect(&mut self.net, node);
                client.subscribe(&mut self.net, CHANNELS[channel], &format!("u{user}"));
                self.clients.push(client);
                self.net.settle();
            }
            Action::Leave { client } => {
                if let Some(at) = client.checked_rem(self.clients.len())
                    && !self.is_kept(&self.clients[at])
                {
                    self.clients.swap_remove(at).hang_up(&mut self.net);
                    // No two nodes close a channel at the same moment.
                    self.pass(TICK * 2);
                }
            }
            Action::Pass { milliseconds } => self.pass(Duration::from_millis(milliseconds)),
            // Nodes of the former release may report a user twice who moves while a node is away.
            Action::HandOver { .. } if self.is_former || !self.is_settled() => {}
            Action::HandOver { node } => {
                self.net.try_hand_over(node);
                self.pass(LEASE);
            }
            Action::Fault(ref fault) => self.fail(fault),
        }
    }

    fn fail(&mut self, fault: &Fault) {
        // Of two nodes that die at the same time, one may have been the backup of the other. Webhooks that a
        // node has delayed die with it.
        let again = self.failed_at + LEASE * if self.is_bus_well { 2 } else { 4 };
        self.pass(again.saturating_sub(self.net.now).max(LEAVE_DEBOUNCE * 3 / 2));
        self.lost.clear();
        match *fault {
            Fault::Die { node } => {
                let of_dead = self.clients.iter().filter(|client| client.node == node);
                let channels = of_dead.flat_map(|client| client.channels.keys().cloned());
                self.lost = channels.collect();
                let is_shared = |channel: &&String| self.net.nodes_on(channel) > 1;
                self.shared.extend(self.lost.iter().filter(is_shared).cloned());
                self.clients.retain(|client| client.node != node);
                self.net.replace(node);
            }
            Fault::Cut { node, milliseconds } => {
                self.net.cut(node);
                self.pass(Duration::from_millis(milliseconds));
                self.net.mend(node);
            }
            Fault::CutAll { milliseconds } => {
                (0..NODES).for_each(|node| self.net.cut(node));
                self.pass(Duration::from_millis(milliseconds));
                (0..NODES).for_each(|node| self.net.mend(node));
            }
            Fault::Freeze { node, milliseconds } => {
                self.net.places[node].is_frozen = true;
                self.pass(Duration::from_millis(milliseconds));
                self.net.places[node].is_frozen = false;
            }
        }
        self.failed_at = self.net.now;
        // After a fault of the bus, the nodes need a moment to send their states again.
        let is_over = matches!(fault, Fault::Die { .. });
        self.pass(if is_over { TICK } else { LEASE * 2 });
    }

    fn pass(&mut self, time: Duration) {
        let until = self.net.now + time;
        while self.net.now < until {
            self.net.pass(TICK);
            self.check();
        }
    }

    /// Whether the lease of the last node that has died is over.
    fn is_settled(&self) -> bool {
        self.net.now > self.failed_at + LEASE * 3 / 2
    }

    /// Whether a client stays for now. A user of a dead node who joins another one before the lease ends, and
    /// leaves that one before the lease ends, too, is reported as removed twice.
    fn is_kept(&self, client: &Client) -> bool {
        !self.is_settled() && client.channels.keys().any(|channel| self.lost.contains(channel))
    }

    /// The users and channels that are there.
    fn truth(&self, counts: impl Fn(&View) -> bool) -> BTreeSet<Occupant> {
        let mut truth = BTreeSet::new();
        let views = self.clients.iter().flat_map(|client| &client.channels);
        for (channel, view) in views.filter(|(_, view)| counts(view)) {
            truth.insert((channel.clone(), None));
            if channel.starts_with("presence-") {
                truth.insert((channel.clone(), Some(view.user.clone())));
            }
        }
        truth
    }

    /// Asserts that the webhooks since the last call are true.
    fn check(&mut self) {
        for client in &mut self.clients {
            client.hear(&mut self.net);
        }
        // Subscriptions that wait for other nodes do not count yet.
        let truth = self.truth(|view| view.succeeded);
        for event in std::mem::take(&mut self.net.webhooks) {
            let channel = event.channel().name.as_str().to_owned();
            let (occupant, is_there) = match &event {
                ChannelEvent::Occupied(_) => ((channel, None), true),
                ChannelEvent::Vacated(_) => ((channel, None), false),
                ChannelEvent::MemberAdded(_, id) => ((channel, Some(id.to_string())), true),
                ChannelEvent::MemberRemoved(_, id) => ((channel, Some(id.to_string())), false),
                _ => continue,
            };
            let is_news = match is_there {
                true => self.told.insert(occupant.clone()),
                false => self.told.remove(&occupant),
            };
            if self.is_bus_well {
                // An arrival may be reported twice: that of a user who moves quickly, or of a dead node's
                // user who is on another one before the lease ends.
                assert!(is_news || is_there, "left twice: {event:?}");
                assert!(is_there || !truth.contains(&occupant), "has not left: {event:?}");
            }
        }
    }

    fn end(mut self) {
        for place in &mut self.net.places {
            place.is_frozen = false;
        }
        self.pass(LEASE * 4);
        self.assert_told();
        for client in self.clients.drain(..) {
            client.hang_up(&mut self.net);
        }
        self.pass(LEASE);
        self.assert_told();
    }

    fn assert_told(&self) {
        let truth = self.truth(|_| true);
        // A node of the former release may have chosen a dead node as its backup.
        let is_exact = |(channel, _): &&Occupant| !self.is_former && !self.shared.contains(channel);
        let wrong: Vec<&Occupant> = self.told.difference(&truth).filter(is_exact).collect();
        assert!(wrong.is_empty(), "not there: {wrong:?}");
        assert!(self.told.is_superset(&truth), "{:?}, not {truth:?}", self.told);
    }
}

/// The channel was closed after its first use, before the last leave was reported: the node did not learn
/// that another one had the channel.
#[test]
fn a_channel_that_is_used_again_is_open_until_its_leaves_are_reported() {
    let join = |node, channel, user| Action::Join { node, channel, user };
    let leave = || Action::Leave { client: 0 };
    let first = [join(1, 2, 0), leave(), Action::Pass { milliseconds: 3_251 }];
    let others = [join(0, 0, 0), join(0, 0, 0), join(0, 0, 0), leave(), leave()];
    let again = [join(1, 2, 1), leave(), join(0, 0, 0), leave(), leave(), join(0, 0, 0), leave()];
    let mut model = Model::new(false, &[Release::Current; NODES]);
    for action in first.iter().chain(&others).chain(&again).chain(&[join(2, 2, 0)]) {
        model.act(action);
    }
    model.end();
}

proptest! {
    // Make failures found here into tests.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_leave_is_reported_once_when_nodes_die(
        counts in any::<bool>(),
        releases in releases(),
        actions in proptest::collection::vec(prop_oneof![8 => action(), 1 => death()], 1..80),
    ) {
        let mut model = Model::new(counts, &releases);
        for action in &actions {
            model.act(action);
        }
        model.end();
    }

    #[test]
    fn the_backend_knows_who_is_there_after_faults_of_the_bus(
        counts in any::<bool>(),
        actions in proptest::collection::vec(prop_oneof![8 => action(), 1 => fault()], 1..80),
    ) {
        let mut model = Model::new(counts, &[Release::Current; NODES]);
        model.is_bus_well = false;
        for action in &actions {
            model.act(action);
        }
        model.end();
    }
}
