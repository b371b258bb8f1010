//! Recovery of missed events on channels with history.

use std::time::Duration;

use clarim_client::{Channel, Client, Error, GapReason, Position, Update};
use clarim_server::HistoryRule;
use clarim_testing::Proxy;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{WithKey, World, event, next, options, seal, subscribed, within};

const KEY: [u8; 32] = [7; 32];

fn rule(pattern: &str) -> HistoryRule {
    let mut rule = HistoryRule::new(pattern);
    rule.messages = 1_000;
    rule
}

/// A client behind a proxy.
fn behind(proxy: &Proxy) -> Client {
    Client::connect(options(proxy.port, "ana").authorizer(WithKey(KEY))).unwrap()
}

/// Waits for another connection than that of `before`.
async fn reconnected(client: &Client, before: Option<String>) {
    within(async {
        while client.socket_id().is_none_or(|id| Some(id) == before) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// The next gap or event: its reason, or its data.
async fn heard(channel: &mut Channel) -> Result<Value, GapReason> {
    loop {
        match next(channel).await {
            Update::Event(event) if event.name == "pusher:cache_miss" => {}
            Update::Event(event) => return Ok(event.data().unwrap()),
            Update::Gap { reason, .. } => return Err(reason),
            Update::Subscribed(_) | Update::Joining(_) | Update::Leaving(_) => {}
            update => panic!("{update:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_again_and_again_loses_and_repeats_nothing() {
    let world = World::with_history(vec![rule("*"), rule("#server-to-user-*")]);
    let proxy = Proxy::to(world.port());
    let client = behind(&proxy);
    let mut channels = [
        client.channel("news"),
        client.channel("cache-prices"),
        client.private("orders.7"),
        client.encrypted_private("vault"),
        client.join("room"),
        within(client.sign_in()).await.unwrap(),
    ];
    for channel in &channels {
        subscribed(channel).await;
    }
    let mut n = 0;
    for round in 0..20 {
        let before = client.socket_id();
        for step in 0..10 {
            for channel in &channels {
                let data = match channel.name() {
                    "private-encrypted-vault" => seal(KEY, &json!(n)),
                    _ => json!(n),
                };
                world.publish(channel.name(), "counted", &data).await;
            }
            n += 1;
            // Cut at another event each time.
            if step == round % 10 {
                proxy.redirect(world.port());
            }
        }
        reconnected(&client, before).await;
    }
    for channel in &mut channels {
        for n in 0..n {
            assert_eq!(heard(channel).await, Ok(json!(n)), "{}", channel.name());
        }
        // Nothing comes twice at the end.
        let last = channel.name().to_owned();
        let data = if last.contains("vault") { seal(KEY, &json!("end")) } else { json!("end") };
        world.publish(&last, "end", &data).await;
        assert_eq!(heard(channel).await, Ok(json!("end")));
    }
}

#[tokio::test]
async fn events_that_excluded_the_former_connection_are_not_replayed() {
    let world = World::with_history(vec![rule("*")]);
    let proxy = Proxy::to(world.port());
    let client = behind(&proxy);
    let mut news = client.channel("news");
    subscribed(&news).await;
    world.publish("news", "counted", &json!(1)).await;
    assert_eq!(heard(&mut news).await, Ok(json!(1)));
    let before = client.socket_id();
    proxy.cut();
    world.publish_except("news", "counted", "2", before.clone()).await;
    world.publish("news", "counted", &json!(3)).await;
    proxy.mend();
    reconnected(&client, before).await;
    assert_eq!(heard(&mut news).await, Ok(json!(3)));
}

#[tokio::test]
async fn a_subscription_starts_at_a_position_of_the_backend() {
    let world = World::with_history(vec![rule("private-*")]);
    let client = world.connect("ana");
    let mut orders = client.private("orders.7");
    subscribed(&orders).await;
    for n in 0..5 {
        world.publish("private-orders.7", "counted", &json!(n)).await;
    }
    assert!(matches!(next(&mut orders).await, Update::Subscribed(_)));
    assert_eq!(orders.position().unwrap().offset, 0);
    // The position is that of this handle, not of the connection.
    for n in 0..3 {
        assert_eq!(event(&mut orders).await.1, json!(n));
        assert_eq!(orders.position().unwrap().offset, n + 1);
    }
    let json = serde_json::to_string(orders.position().unwrap()).unwrap();
    let position: Position = serde_json::from_str(&json).unwrap();
    let error = client.subscribe_since("private-orders.7", position.clone()).unwrap_err();
    assert!(
        matches!(&error, Error::AlreadySubscribed { channel } if channel == "private-orders.7")
    );
    assert!(error.to_string().contains("drop its other handles"), "{error}");
    drop(orders);
    let mut again = client.subscribe_since("private-orders.7", position).unwrap();
    for n in 3..5 {
        assert_eq!(heard(&mut again).await, Ok(json!(n)));
    }
    world.publish("private-orders.7", "counted", &json!(5)).await;
    assert_eq!(heard(&mut again).await, Ok(json!(5)));
}

#[tokio::test]
async fn the_last_event_of_a_cache_channel_comes_once() {
    let world = World::with_history(vec![rule("*")]);
    world.publish("cache-prices", "counted", &json!(1)).await;
    let proxy = Proxy::to(world.port());
    let client = behind(&proxy);
    let mut prices = client.channel("cache-prices");
    assert_eq!(heard(&mut prices).await, Ok(json!(1)));
    let before = client.socket_id();
    proxy.redirect(world.port());
    reconnected(&client, before).await;
    subscribed(&prices).await;
    world.publish("cache-prices", "counted", &json!(2)).await;
    assert_eq!(heard(&mut prices).await, Ok(json!(2)));
}

#[tokio::test]
async fn a_gap_is_reported_with_its_reason_and_later_events_follow() {
    let short = |pattern: &str| {
        let mut rule = rule(pattern);
        rule.messages = 3;
        rule
    };
    let world = World::with_history(vec![short("few"), short("private-*"), short("restarted")]);
    let proxy = Proxy::to(world.port());
    let client = behind(&proxy);
    let mut few = client.channel("few");
    let mut vault = client.encrypted_private("vault");
    let mut chat = client.channel("chat");
    let (reasons, mut told) = mpsc::unbounded_channel();
    let _listening = few.on_gap(move |reason| reasons.send(reason).unwrap());
    for channel in [&few, &vault, &chat] {
        subscribed(channel).await;
    }
    let before = client.socket_id();
    proxy.cut();
    for n in 0..5 {
        world.publish("few", "counted", &json!(n)).await;
        world.publish("private-encrypted-vault", "counted", &seal(KEY, &json!(n))).await;
    }
    proxy.mend();
    reconnected(&client, before).await;
    for channel in [&mut few, &mut vault] {
        assert_eq!(heard(channel).await, Err(GapReason::TooMany), "{}", channel.name());
        assert_eq!(channel.position().unwrap().offset, 5);
    }
    assert_eq!(within(told.recv()).await, Some(GapReason::TooMany));
    assert_eq!(heard(&mut chat).await, Err(GapReason::NoHistory));
    assert_eq!(chat.position(), None);
    world.publish("few", "counted", &json!("more")).await;
    assert_eq!(heard(&mut few).await, Ok(json!("more")));

    // A server without the history, and one of another epoch.
    let new = World::with_history(vec![short("few")]);
    let before = client.socket_id();
    proxy.redirect(new.port());
    reconnected(&client, before).await;
    assert_eq!(heard(&mut few).await, Err(GapReason::Epoch));
    assert_eq!(heard(&mut vault).await, Err(GapReason::NoHistory));
    assert_eq!(few.position().unwrap().offset, 0);
    new.publish("few", "counted", &json!("anew")).await;
    assert_eq!(heard(&mut few).await, Ok(json!("anew")));
}

#[tokio::test]
async fn positions_that_are_unusable_or_expired_are_gaps() {
    let mut brief = rule("brief");
    brief.ttl = Duration::from_secs(1);
    let world = World::with_history(vec![brief, rule("news")]);
    let client = world.connect("ana");
    let mut news = client.subscribe_since("news", Position::new("not an epoch", 1)).unwrap();
    assert_eq!(heard(&mut news).await, Err(GapReason::Unknown));
    // A subscriber keeps the history, but not its events.
    let other = world.connect("rui");
    let mut brief = other.channel("brief");
    next(&mut brief).await;
    let position = brief.position().unwrap().clone();
    world.publish("brief", "counted", &json!(1)).await;
    event(&mut brief).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let mut late = client.subscribe_since("brief", position).unwrap();
    assert_eq!(heard(&mut late).await, Err(GapReason::Expired));
    world.publish("brief", "counted", &json!(2)).await;
    assert_eq!(heard(&mut late).await, Ok(json!(2)));
}
