//! Idempotency keys: of several nodes that claim one, only the first publishes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::{KeyClaim, KeyHash, KeyOutcome};

use crate::cluster::net::{LEASE, Net, Place, Release};
use crate::cluster::scenes::app;

type Outcome = Arc<Mutex<Option<KeyOutcome>>>;

fn claim(net: &mut Net, node: usize, key: u128) -> Outcome {
    let outcome = Outcome::default();
    let result = outcome.clone();
    let claims = vec![KeyClaim { key: KeyHash(key), fingerprint: 1 }];
    let now = net.now;
    let Place { cluster, line, .. } = &mut net.places[node];
    let then = Box::new(move |outcomes: Vec<KeyOutcome>| {
        *result.lock().unwrap() = outcomes.into_iter().next();
    });
    cluster.keys(line).claim(claims, now, then);
    outcome
}

fn end(net: &mut Net, node: usize, key: u128, answer: Option<&'static str>) {
    let now = net.now;
    let Place { cluster, line, .. } = &mut net.places[node];
    cluster.keys(line).end(KeyHash(key), answer.map(Bytes::from), now);
}

/// The outcome of a claim when everything has run.
fn settled(net: &mut Net, node: usize, key: u128) -> KeyOutcome {
    let outcome = claim(net, node, key);
    net.settle();
    outcome.lock().unwrap().take().unwrap()
}

#[test]
fn a_repeat_at_any_node_gets_the_first_answer() {
    let mut net = Net::new(3, app(), true);
    assert_eq!(settled(&mut net, 0, 1), KeyOutcome::First);
    assert_eq!(settled(&mut net, 1, 1), KeyOutcome::InProgress);
    end(&mut net, 0, 1, Some("{}"));
    net.settle();
    for node in [1, 2] {
        assert_eq!(settled(&mut net, node, 1), KeyOutcome::Repeat("{}".into()));
    }
    // Nothing was published: the next one is the first.
    assert_eq!(settled(&mut net, 0, 2), KeyOutcome::First);
    end(&mut net, 0, 2, None);
    net.settle();
    assert_eq!(settled(&mut net, 2, 2), KeyOutcome::First);
    // A node dies with its claim.
    net.replace(2);
    net.pass(LEASE * 2);
    assert_eq!(settled(&mut net, 1, 2), KeyOutcome::First);
}

#[test]
fn a_node_that_comes_learns_the_keys_of_the_others() {
    let mut net = Net::new(1, app(), true);
    for key in 0..20 {
        assert_eq!(settled(&mut net, 0, key), KeyOutcome::First);
        end(&mut net, 0, key, Some("a long answer"));
    }
    net.start();
    net.settle();
    // One that was cut off, too.
    net.cut(1);
    net.settle();
    assert_eq!(settled(&mut net, 0, 20), KeyOutcome::First);
    end(&mut net, 0, 20, Some("a long answer"));
    net.mend(1);
    net.pass(Duration::from_secs(1));
    for key in 0..21 {
        assert_eq!(settled(&mut net, 1, key), KeyOutcome::Repeat("a long answer".into()), "{key}");
    }
}

#[test]
fn a_node_that_no_other_understands_or_hears_goes_on_alone() {
    let mut net = Net::of_releases(&[Release::Current, Release::First], app(), true);
    assert_eq!(settled(&mut net, 0, 1), KeyOutcome::First);
    let mut net = Net::new(2, app(), true);
    net.cut(0);
    net.settle();
    assert_eq!(settled(&mut net, 0, 1), KeyOutcome::First);
    // The bus is lost while the claim is on its way.
    let outcome = claim(&mut net, 1, 2);
    net.cut(1);
    net.settle();
    assert_eq!(*outcome.lock().unwrap(), Some(KeyOutcome::First));
}

#[test]
fn of_claims_at_the_same_time_one_is_the_first() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut net = Net::new(3, app(), random.bool());
        let mut firsts: BTreeMap<u128, usize> = BTreeMap::new();
        let mut open: Vec<(usize, u128, Outcome)> = Vec::new();
        for _ in 0..200 {
            let node = random.usize(..3);
            match random.u32(..6) {
                0 => {
                    let key = random.u128(..5);
                    open.push((node, key, claim(&mut net, node, key)));
                }
                _ => {
                    net.run_bus(node, random.usize(..3));
                    net.run_node(node, random.usize(..3));
                }
            }
        }
        net.settle();
        for (node, key, outcome) in open {
            match outcome.lock().unwrap().take() {
                Some(KeyOutcome::First) => {
                    // A node that claims again has its claim.
                    assert_eq!(*firsts.entry(key).or_insert(node), node, "seed {seed}: {key}");
                }
                Some(KeyOutcome::InProgress) => {}
                other => panic!("seed {seed}: {other:?}"),
            }
        }
    }
}
