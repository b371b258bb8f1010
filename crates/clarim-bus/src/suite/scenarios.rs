//! Tests with a broker that works.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use super::probe::{Outcome, Probe};
use crate::bus::Bus;
use crate::event::BusEvent;

/// How a backend says who else is subscribed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    /// It counts the receivers of each message.
    Receivers,
    /// It says whether a subscriber is a subject's first one.
    FirstSubscriber,
}

/// Runs all tests that need nothing but a working broker, without subscribers on it.
///
/// # Panics
/// If the backend breaks a guarantee.
pub async fn run(bus: &Bus, reports: Reports) {
    every_subscriber_receives_a_message(bus, reports).await;
    other_subscribers_are_reported(bus, reports).await;
    nothing_is_missed_after_a_confirmed_subscription(bus).await;
    messages_of_one_publisher_keep_their_order(bus).await;
    subjects_and_payloads_are_arbitrary(bus).await;
    nothing_is_received_after_unsubscribing(bus).await;
    many_subjects_are_possible(bus).await;
}

async fn every_subscriber_receives_a_message(bus: &Bus, reports: Reports) {
    let receivers = |count| Outcome::Published((reports == Reports::Receivers).then_some(count));
    let mut a = Probe::connect(bus).await;
    let mut b = Probe::connect(bus).await;
    a.subscribe("everybody").await;
    b.subscribe("everybody").await;
    a.publish("everybody", "hello", 7);
    // The publisher is a subscriber too.
    a.expect_messages("everybody", &["hello"]).await;
    b.expect_messages("everybody", &["hello"]).await;
    assert_eq!(a.outcome(7).await, receivers(2));
    b.publish("nobody", "hello", 1);
    assert_eq!(b.outcome(1).await, receivers(0));
}

async fn other_subscribers_are_reported(bus: &Bus, reports: Reports) {
    for round in 0..20 {
        let subject = format!("first.{round}");
        let mut a = Probe::connect(bus).await;
        let mut b = Probe::connect(bus).await;
        let is_first = a.subscribe(&subject).await;
        assert!(is_first || reports == Reports::Receivers, "the first subscriber");
        assert!(!b.subscribe(&subject).await, "the second subscriber");
        a.unsubscribe(&subject);
        b.unsubscribe(&subject);
        // Commands of one connection are carried out in order, so both have unsubscribed after this.
        a.subscribe("barrier").await;
        b.subscribe("barrier").await;
        let is_first = b.subscribe(&subject).await;
        assert!(is_first || reports == Reports::Receivers, "the first after all have left");
    }
}

async fn nothing_is_missed_after_a_confirmed_subscription(bus: &Bus) {
    let mut publisher = Probe::connect(bus).await;
    for round in 0..50 {
        let subject = format!("round-{round}");
        let mut subscriber = Probe::connect(bus).await;
        subscriber.subscribe(&subject).await;
        publisher.publish(&subject, "now", round);
        subscriber.expect_messages(&subject, &["now"]).await;
    }
}

async fn messages_of_one_publisher_keep_their_order(bus: &Bus) {
    let subjects = ["order-0", "order-1", "order-2"];
    let mut publisher = Probe::connect(bus).await;
    let mut subscribers = [Probe::connect(bus).await, Probe::connect(bus).await];
    for subscriber in &mut subscribers {
        for subject in subjects {
            subscriber.subscribe(subject).await;
        }
    }
    for id in 0..1000 {
        for (at, subject) in (0..).zip(subjects) {
            publisher.publish(subject, id.to_string(), id * 3 + at);
        }
    }
    let expected: Vec<String> = (0..1000).map(|id: u64| id.to_string()).collect();
    for subject in subjects {
        for subscriber in &mut subscribers {
            subscriber.expect_messages(subject, &expected).await;
        }
    }
    for id in 0..3000 {
        assert_ne!(publisher.outcome(id).await, Outcome::Lost, "message {id}");
    }
}

async fn subjects_and_payloads_are_arbitrary(bus: &Bus) {
    let mut probe = Probe::connect(bus).await;
    let long = "x".repeat(400);
    // Longer than NATS's maximum line, and even longer when escaped.
    let longer = [4_000, 4_096, 20_000].map(|bytes| ".".repeat(bytes));
    let [first, second, third] = &longer;
    let subjects = [
        "a b",
        "a.b",
        "*",
        ">",
        "a:{b}:c",
        "{}",
        "é 漢字",
        "per%cent",
        "#server-to-user-1",
        &long,
        first,
        second,
        third,
    ];
    for subject in subjects {
        probe.subscribe(subject).await;
    }
    let big = Bytes::from(vec![0xff; 600_000]);
    for (id, subject) in (0..).zip(subjects) {
        for payload in [Bytes::new(), Bytes::from_static(b"\r\n\0$5"), big.clone()] {
            probe.publish(subject, payload.clone(), id);
            probe.expect_messages(subject, &[payload]).await;
            assert_ne!(probe.outcome(id).await, Outcome::Lost);
        }
    }
}

async fn nothing_is_received_after_unsubscribing(bus: &Bus) {
    let mut probe = Probe::connect(bus).await;
    probe.subscribe("left").await;
    probe.unsubscribe("left");
    probe.subscribe("kept").await;
    probe.publish("left", "late", 1);
    probe.publish("kept", "on time", 2);
    probe.expect_messages("kept", &["on time"]).await;
    assert_ne!(probe.outcome(1).await, Outcome::Lost);
    let rest = probe.drain().await;
    assert!(!rest.iter().any(|event| matches!(event, BusEvent::Message { .. })), "{rest:?}");
    probe.subscribe("left").await;
    probe.publish("left", "again", 3);
    probe.expect_messages("left", &["again"]).await;
}

async fn many_subjects_are_possible(bus: &Bus) {
    let mut publisher = Probe::connect(bus).await;
    let mut subscriber = Probe::connect(bus).await;
    let subjects: Vec<Arc<str>> = (0..5000).map(|n| format!("many-{n}").into()).collect();
    for subject in &subjects {
        subscriber.request_subscription(subject);
    }
    let mut missing: HashSet<Arc<str>> = subjects.iter().cloned().collect();
    while !missing.is_empty() {
        let is_subscribed = |event: &BusEvent| matches!(event, BusEvent::Subscribed { .. });
        let event = subscriber.wait("a confirmed subscription", is_subscribed).await;
        if let BusEvent::Subscribed { subject, .. } = event {
            missing.remove(&subject);
        }
    }
    for (id, subject) in (0..).zip(&subjects) {
        publisher.publish(subject, "x", id);
    }
    let mut missing: HashSet<Arc<str>> = subjects.into_iter().collect();
    while !missing.is_empty() {
        let is_message = |event: &BusEvent| matches!(event, BusEvent::Message { .. });
        if let BusEvent::Message { subject, .. } = subscriber.wait("a message", is_message).await {
            assert!(missing.remove(&subject), "received twice: {subject}");
        }
    }
}
