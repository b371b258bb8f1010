//! Tests in which the broker is killed or frozen.

use std::time::{Duration, Instant};

use super::probe::{Outcome, Probe};
use crate::bus::Bus;
use crate::event::BusEvent;

/// A broker that a test can stop and freeze.
pub trait Broker {
    /// Kills the broker, so that its connections are closed.
    fn kill(&mut self);

    /// Starts it again, at the same address.
    fn restart(&mut self);

    /// Stops its processes but keeps its connections open, as a cut network does.
    fn freeze(&mut self);

    /// Lets its processes continue.
    fn thaw(&mut self);
}

/// Runs all tests in which the broker is killed or frozen.
///
/// # Panics
/// If the backend breaks a guarantee.
pub async fn run_with_outages(bus: &Bus, broker: &mut impl Broker) {
    subscriptions_are_restored_after_a_restart(bus, broker).await;
    a_broker_that_is_not_up_yet_is_awaited(bus, broker).await;
    a_frozen_broker_is_noticed_and_memory_stays_bounded(bus, broker).await;
}

async fn subscriptions_are_restored_after_a_restart(bus: &Bus, broker: &mut impl Broker) {
    let mut publisher = Probe::connect(bus).await;
    let mut subscriber = Probe::connect(bus).await;
    subscriber.subscribe("kept").await;
    subscriber.subscribe("left while down").await;
    for id in 0..200 {
        publisher.publish("kept", "before", id);
    }
    broker.kill();
    publisher.disconnected().await;
    subscriber.disconnected().await;
    // Each message has an outcome, and one that is published now is lost at once.
    publisher.publish("kept", "lost", 200);
    for id in 0..200 {
        publisher.outcome(id).await;
    }
    assert_eq!(publisher.outcome(200).await, Outcome::Lost);
    subscriber.unsubscribe("left while down");
    subscriber.request_subscription("new while down");
    broker.restart();
    publisher.connected().await;
    subscriber.connected().await;
    subscriber.drain().await;
    for (id, subject) in (300..).zip(["kept", "left while down", "new while down"]) {
        publisher.publish(subject, "after", id);
        assert_ne!(publisher.outcome(id).await, Outcome::Lost);
    }
    subscriber.expect_messages("kept", &["after"]).await;
    subscriber.expect_messages("new while down", &["after"]).await;
    let rest = subscriber.drain().await;
    assert!(!rest.iter().any(|event| matches!(event, BusEvent::Message { .. })), "{rest:?}");
}

async fn a_broker_that_is_not_up_yet_is_awaited(bus: &Bus, broker: &mut impl Broker) {
    broker.kill();
    let mut probe = Probe::new(bus);
    probe.request_subscription("early");
    probe.disconnected().await;
    broker.restart();
    probe.connected().await;
    probe.publish("early", "at last", 1);
    probe.expect_messages("early", &["at last"]).await;
}

async fn a_frozen_broker_is_noticed_and_memory_stays_bounded(bus: &Bus, broker: &mut impl Broker) {
    let mut publisher = Probe::connect(bus).await;
    let mut subscriber = Probe::connect(bus).await;
    subscriber.subscribe("kept").await;
    broker.freeze();
    let frozen_at = Instant::now();
    // As many as may wait.
    let mut count = 0;
    while publisher.has_room() {
        publisher.publish("kept", vec![0; 1 << 20], count);
        count += 1;
    }
    assert_eq!(count, 16);
    for id in 0..count {
        assert_eq!(publisher.outcome(id).await, Outcome::Lost, "message {id}");
    }
    assert!(publisher.has_room());
    publisher.disconnected().await;
    subscriber.disconnected().await;
    let noticed_after = frozen_at.elapsed();
    assert!(noticed_after < Duration::from_secs(10), "noticed after {noticed_after:?}");
    broker.thaw();
    publisher.connected().await;
    subscriber.connected().await;
    subscriber.drain().await;
    let accepted = publisher.publish_until_accepted("kept", 100).await;
    subscriber.expect_messages("kept", &[accepted]).await;
}
