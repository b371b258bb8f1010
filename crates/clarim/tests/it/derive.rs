//! Code that the derive generates.

use std::time::Duration;

use clarim::{Broadcast, BroadcastModel, Channel, Delivery, EventName, InvalidChannel};
use serde::Serialize;
use serde_json::json;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "orders", channel = "orders.{order}", encrypted = "vaults.{user.id}-{order}")]
#[broadcast(queue = "high", connection = "redis", delay = 5, tries = 3, backoff = [1, 5, 10], timeout = 30)]
#[broadcast(unique_for = 60, unique_by = "{order}/{user.id}", when = "rules::is_big")]
struct Everything {
    order: u64,
    user: User,
}

#[derive(Serialize)]
struct User {
    id: u64,
}

mod rules {
    pub(super) fn is_big(event: &super::Everything) -> bool {
        event.order > 100
    }
}

#[test]
fn every_attribute_has_its_effect() -> Result<(), InvalidChannel> {
    let event = Everything { order: 7, user: User { id: 1 } };
    let channels = [
        Channel::public("orders")?,
        Channel::public("orders.7")?,
        Channel::encrypted("vaults.1-7")?,
    ];
    assert_eq!(event.broadcast_on()?, channels);
    assert_eq!(event.broadcast_as(), EventName::in_namespace("Everything"));
    let delivery = Delivery::queued()
        .queue("high")
        .connection("redis")
        .delay(seconds(5))
        .tries(3)
        .backoff([1, 5, 10].map(seconds))
        .timeout(seconds(30))
        .unique_for(seconds(60))
        .unique_by("7/1");
    assert_eq!(event.delivery(), delivery);
    assert!(!event.broadcast_when());
    assert!(Everything { order: 101, user: User { id: 1 } }.broadcast_when());
    assert_eq!(event.broadcast_with().unwrap(), json!({ "order": 7, "user": { "id": 1 } }));
    Ok(())
}

#[derive(Serialize, Broadcast)]
#[broadcast(presence = "rooms.{room}", backoff = 2, now)]
struct Generic<'a, T> {
    room: &'a str,
    payload: T,
}

#[derive(Serialize, Broadcast)]
#[broadcast(private = "states")]
#[serde(tag = "state")]
enum State {
    Open { by: u64 },
}

#[test]
fn generics_and_enums_can_be_broadcast() {
    let event = Generic { room: "1", payload: vec![1, 2] };
    assert_eq!(event.broadcast_on().unwrap(), [Channel::presence("rooms.1").unwrap()]);
    let invalid = Generic { room: "no room", payload: 0 };
    assert_eq!(invalid.broadcast_on().unwrap_err().name, "presence-rooms.no room");
    assert_eq!(event.broadcast_as().full("App\\Events"), "App\\Events\\Generic");
    assert_eq!(event.delivery(), Delivery::now().backoff([seconds(2)]));
    let state = State::Open { by: 7 };
    assert_eq!(state.broadcast_with().unwrap(), json!({ "state": "Open", "by": 7 }));
}

#[derive(Serialize, BroadcastModel)]
#[model(name = "Blog.Article", key = "slug")]
struct Article<'a> {
    slug: &'a str,
    words: u32,
}

#[test]
fn changes_of_a_model_have_its_channel_and_name() -> Result<(), InvalidChannel> {
    #[derive(Serialize, BroadcastModel)]
    struct Post {
        id: i64,
    }
    let post = Post { id: 7 };
    let events = [post.created(), post.updated(), post.trashed(), post.restored(), post.deleted()];
    let names = events.each_ref().map(|event| event.broadcast_as().for_echo());
    assert_eq!(
        names,
        [".PostCreated", ".PostUpdated", ".PostTrashed", ".PostRestored", ".PostDeleted"]
    );
    let event = Article { slug: "bugle", words: 3 }.updated();
    assert_eq!(event.broadcast_on()?, [Channel::private("Blog.Article.bugle")?]);
    assert_eq!(event.broadcast_as(), EventName::from("ArticleUpdated"));
    let payload = event.broadcast_with().unwrap();
    assert_eq!(payload, json!({ "model": { "slug": "bugle", "words": 3 } }));
    assert!(Article { slug: "no such!", words: 0 }.deleted().broadcast_on().is_err());
    Ok(())
}

#[test]
fn a_model_that_cannot_be_serialized_is_an_error_of_the_broadcast() {
    #[derive(Serialize, BroadcastModel)]
    struct Broken {
        id: i64,
        pairs: std::collections::BTreeMap<Vec<u8>, u8>,
    }
    let broken = Broken { id: 1, pairs: [(vec![1], 2)].into() };
    let error = broken.created().broadcast_with().unwrap_err().to_string();
    assert!(error.contains("key must be a string"), "{error}");
}
