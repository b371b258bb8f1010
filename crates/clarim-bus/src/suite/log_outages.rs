//! Tests of logs in which the broker is killed, frozen, or loses its data.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;

use super::logs::{ALL, assert_contiguous, key, log, payloads};
use super::outages::Broker;
use super::probe::{Appended, Probe};
use crate::bus::Bus;
use crate::log::{Log, Position};

/// A broker of logs that a test can stop and freeze.
pub trait LogBroker: Broker {
    /// Makes the broker lose all logs.
    fn lose_logs(&mut self);
}

/// Runs all tests of logs in which the broker is killed or frozen, or loses its data. It must keep its data
/// when it is killed and restarted.
///
/// # Panics
/// If the backend breaks a guarantee.
pub async fn run_logs_with_outages(bus: &Bus, broker: &mut impl LogBroker) {
    a_hole_is_seen_and_filled_after_a_restart(bus, broker).await;
    a_key_is_accepted_once_while_the_connection_is_lost(bus, broker).await;
    appends_to_a_frozen_broker_are_lost(bus, broker).await;
    lost_data_begins_another_epoch(bus, broker).await;
}

/// Appends with a key until the log has the entry, as an owner does after a loss.
async fn append_until_accepted(probe: &mut Probe, log: &Log, text: &str) -> Position {
    for _ in 0..200 {
        probe.append(log, text.to_owned(), Some(key(text)), 7);
        if let Appended::At(appended) = probe.appended(7).await {
            return appended.position;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the broker does not accept {text}");
}

async fn a_hole_is_seen_and_filled_after_a_restart(bus: &Bus, broker: &mut impl LogBroker) {
    let log = log("hole");
    let mut appender = Probe::connect(bus).await;
    let mut follower = Probe::connect(bus).await;
    follower.follow(&log).await;
    let before = append_until_accepted(&mut appender, &log, "before").await;
    let seen = follower.entries(&log, 1).await;
    assert_eq!(seen[0].position, before);
    broker.kill();
    follower.disconnected().await;
    appender.disconnected().await;
    // The follower is away while this one is appended.
    follower.unfollow(&log);
    broker.restart();
    append_until_accepted(&mut appender, &log, "missed").await;
    follower.follow(&log).await;
    let after = append_until_accepted(&mut appender, &log, "after").await;
    let next = follower.entries(&log, 1).await;
    assert_eq!((payloads(&next), next[0].position), (vec!["after".into()], after));
    assert!(next[0].previous > before.offset, "the hole is seen: {next:?}");
    assert_eq!(after.epoch, before.epoch, "the broker has kept its data");
    let page = follower.read(&log, before.offset, ALL, 1).await;
    assert!(page.start <= before.offset, "nothing is gone: {page:?}");
    assert_eq!(payloads(&page.entries), ["missed", "after"]);
    assert_contiguous(&page.entries, before.offset);
}

async fn a_key_is_accepted_once_while_the_connection_is_lost(
    bus: &Bus,
    broker: &mut impl LogBroker,
) {
    let log = log("retried");
    let mut appender = Probe::connect(bus).await;
    append_until_accepted(&mut appender, &log, "first").await;
    let texts: Vec<String> = (0..500).map(|id| format!("entry-{id}")).collect();
    for (id, text) in (0..).zip(&texts) {
        appender.append(&log, text.clone(), Some(key(text)), id);
    }
    broker.kill();
    for id in 0..500 {
        // Each has an outcome, whatever it is.
        appender.appended(id).await;
    }
    broker.restart();
    appender.connected().await;
    for text in &texts {
        append_until_accepted(&mut appender, &log, text).await;
    }
    let page = appender.read(&log, 0, ALL, 1).await;
    assert_contiguous(&page.entries, 0);
    let unique: BTreeSet<_> = payloads(&page.entries).into_iter().collect();
    assert_eq!((unique.len(), page.entries.len()), (501, 501), "no entry twice, none missing");
}

async fn appends_to_a_frozen_broker_are_lost(bus: &Bus, broker: &mut impl LogBroker) {
    let log = log("frozen");
    let mut appender = Probe::connect(bus).await;
    append_until_accepted(&mut appender, &log, "before").await;
    broker.freeze();
    let mut count = 0;
    while appender.has_room() {
        appender.append(&log, vec![0; 1 << 19], Some(key(&count.to_string())), count);
        count += 1;
    }
    appender.request_page(&log, 0, ALL, count);
    for id in 0..count {
        assert!(matches!(appender.appended(id).await, Appended::Lost), "entry {id}");
    }
    assert!(!matches!(appender.appended(count).await, Appended::At(_)), "a read ends too");
    assert!(appender.has_room());
    broker.thaw();
    append_until_accepted(&mut appender, &log, "after").await;
    appender.drain().await;
}

async fn lost_data_begins_another_epoch(bus: &Bus, broker: &mut impl LogBroker) {
    let log = log("epoch");
    let mut appender = Probe::connect(bus).await;
    let mut follower = Probe::connect(bus).await;
    follower.follow(&log).await;
    let before = append_until_accepted(&mut appender, &log, "before").await;
    assert_eq!(follower.entries(&log, 1).await[0].position, before);
    broker.lose_logs();
    // If the broker was restarted, the follower may be the last one to connect again.
    follower.unfollow(&log);
    follower.follow(&log).await;
    let after = append_until_accepted(&mut appender, &log, "after").await;
    assert_ne!(before.epoch, after.epoch);
    assert_eq!(follower.entries(&log, 1).await[0].position, after);
    let page = follower.read(&log, 0, ALL, 1).await;
    assert_eq!((payloads(&page.entries), page.current), (vec!["after".into()], after));
}
