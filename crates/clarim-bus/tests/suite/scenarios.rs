//! What every bus must do.

use std::collections::HashSet;
use std::sync::Arc;

use clarim_bus::{Address, Bus, Event};

use crate::listener::Listener;

/// All scenarios. `counts`: whether the bus says how many have got a message.
pub(crate) async fn all(address: &Address, counts: bool) {
    everybody_who_listens_gets_a_message(address, counts).await;
    who_else_listens_is_known(address, counts).await;
    nothing_is_missed_after_a_subscription(address).await;
    one_publishers_messages_keep_their_order(address).await;
    subjects_and_messages_may_be_anything(address).await;
    what_is_not_listened_to_any_more_does_not_come(address).await;
    many_subjects_are_listened_to(address).await;
}

async fn everybody_who_listens_gets_a_message(address: &Address, counts: bool) {
    let (mut a, mut b) = (Listener::new(address).await, Listener::new(address).await);
    a.subscribe("everybody").await;
    b.subscribe("everybody").await;
    a.bus.publish("everybody", "hello".into(), 7);
    assert_eq!(a.messages("everybody", 1).await, [b"hello"], "one's own message");
    assert_eq!(b.messages("everybody", 1).await, [b"hello"]);
    assert_eq!(a.fate(7).await, Some(counts.then_some(2)));
    b.bus.publish("nobody", "hello".into(), 1);
    assert_eq!(b.fate(1).await, Some(counts.then_some(0)));
}

/// Either the bus counts who gets a message, or it says who is the first to listen.
async fn who_else_listens_is_known(address: &Address, counts: bool) {
    for round in 0..20 {
        let subject = format!("first.{round}");
        let (mut a, mut b) = (Listener::new(address).await, Listener::new(address).await);
        assert!(a.subscribe(&subject).await || counts);
        assert!(!b.subscribe(&subject).await, "somebody listens already");
        a.bus.unsubscribe(&subject);
        b.bus.unsubscribe(&subject);
        // What one connection asks for is done in its order.
        a.subscribe("then").await;
        b.subscribe("then").await;
        assert!(b.subscribe(&subject).await || counts, "nobody listens any more");
    }
}

async fn nothing_is_missed_after_a_subscription(address: &Address) {
    let mut talker = Listener::new(address).await;
    for round in 0..50 {
        let subject = format!("round-{round}");
        let mut listener = Listener::new(address).await;
        listener.subscribe(&subject).await;
        talker.bus.publish(&subject, "now".into(), round);
        assert_eq!(listener.messages(&subject, 1).await, [b"now"]);
    }
}

async fn one_publishers_messages_keep_their_order(address: &Address) {
    let (mut talker, mut a) = (Listener::new(address).await, Listener::new(address).await);
    let mut b = Listener::new(address).await;
    let subjects = ["order-1", "order-2", "order-3"];
    for subject in subjects {
        a.subscribe(subject).await;
        b.subscribe(subject).await;
    }
    for n in 0..3000_u64 {
        let message = n.to_string().into();
        talker.bus.publish(subjects[n as usize % subjects.len()], message, n);
    }
    for (at, subject) in subjects.into_iter().enumerate() {
        let expected: Vec<Vec<u8>> = (0..3000)
            .filter(|n| n % subjects.len() == at)
            .map(|n: usize| n.to_string().into_bytes())
            .collect();
        assert_eq!(a.messages(subject, 1000).await, expected);
        assert_eq!(b.messages(subject, 1000).await, expected);
    }
    for n in 0..3000 {
        assert!(talker.fate(n).await.is_some(), "message {n} was lost");
    }
}

async fn subjects_and_messages_may_be_anything(address: &Address) {
    let mut bus = Listener::new(address).await;
    let long = "x".repeat(400);
    let subjects =
        ["a b", "a.b", "*", ">", "a:{b}:c", "{}", "é 漢字", "per%cent", "#server-to-user-1", &long];
    for subject in subjects {
        bus.subscribe(subject).await;
    }
    let big = vec![0xff; 600_000];
    for (ticket, subject) in (0..).zip(subjects) {
        for message in [&b""[..], b"\r\n\0$5", &big] {
            bus.bus.publish(subject, message.to_vec().into(), ticket);
            assert_eq!(bus.messages(subject, 1).await, [message], "on {subject}");
            assert!(bus.fate(ticket).await.is_some());
        }
    }
}

async fn what_is_not_listened_to_any_more_does_not_come(address: &Address) {
    let mut bus = Listener::new(address).await;
    bus.subscribe("for a while").await;
    bus.bus.unsubscribe("for a while");
    bus.subscribe("until then").await;
    bus.bus.publish("for a while", "late".into(), 1);
    bus.bus.publish("until then", "on time".into(), 2);
    bus.messages("until then", 1).await;
    assert!(bus.fate(1).await.is_some());
    let late = |event: &Event| matches!(event, Event::Message { .. });
    assert!(!bus.drain().await.iter().any(late));
    // And it can be listened to again.
    bus.subscribe("for a while").await;
    bus.bus.publish("for a while", "again".into(), 3);
    assert_eq!(bus.messages("for a while", 1).await, [b"again"]);
}

async fn many_subjects_are_listened_to(address: &Address) {
    let (mut talker, mut listener) = (Listener::new(address).await, Listener::new(address).await);
    let subjects: Vec<Arc<str>> = (0..5000).map(|n| format!("many-{n}").into()).collect();
    for subject in &subjects {
        listener.bus.subscribe(subject);
    }
    let mut missing: HashSet<Arc<str>> = subjects.iter().cloned().collect();
    while !missing.is_empty() {
        let is_it = |event: &Event| matches!(event, Event::Subscribed { .. });
        if let Event::Subscribed { subject, .. } = listener.wait("a subscription", is_it).await {
            missing.remove(&subject);
        }
    }
    for (ticket, subject) in (0..).zip(&subjects) {
        talker.bus.publish(subject, "x".into(), ticket);
    }
    let mut missing: HashSet<Arc<str>> = subjects.into_iter().collect();
    while !missing.is_empty() {
        let is_it = |event: &Event| matches!(event, Event::Message { .. });
        if let Event::Message { subject, .. } = listener.wait("a message", is_it).await {
            assert!(missing.remove(&subject), "twice: {subject}");
        }
    }
}
