//! Channels: subscribing, presence, cache, and what subscribers hear.

use serde_json::{Value, json};

use crate::support::{Client, Harness, event, member, start, start_with, succeeded};

/// One of each kind, and whether it needs a signature.
const PLAIN: [&str; 5] =
    ["test-channel", "private-test", "private-encrypted-test", "cache-test", "private-cache-test"];

fn added(channel: &str, user: u32) -> Value {
    event(channel, "pusher_internal:member_added", &member(user))
}

fn removed(channel: &str, user: u32) -> Value {
    let data = json!({ "user_id": user.to_string() });
    event(channel, "pusher_internal:member_removed", &data)
}

fn cache_miss(channel: &str) -> Value {
    json!({ "event": "pusher:cache_miss", "channel": channel })
}

async fn clients<const N: usize>(server: &Harness) -> [Client; N] {
    let mut clients = Vec::new();
    for _ in 0..N {
        clients.push(server.connect().await);
    }
    clients.try_into().ok().unwrap()
}

#[tokio::test]
async fn can_subscribe_to_a_channel_of_each_kind() {
    let server = start();
    for channel in PLAIN {
        let mut client = server.connect().await;
        client.subscribe(channel).await;
        if channel.contains("cache") {
            client.expect(cache_miss(channel)).await;
        }
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn data_of_a_subscription_may_be_a_text_of_json() {
    let server = start();
    let mut client = server.connect().await;
    let data = json!({ "channel": "test-channel", "auth": "" }).to_string();
    client.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    client.expect(succeeded("test-channel")).await;
}

#[tokio::test]
async fn can_subscribe_to_a_presence_channel() {
    let server = start();
    for channel in ["presence-test", "presence-cache-test"] {
        let mut client = server.connect().await;
        let members = client.join(channel, 1).await;
        let expected = json!({ "count": 1, "ids": ["1"], "hash": { "1": { "name": "User 1" } } });
        assert_eq!(members, expected);
    }
}

#[tokio::test]
async fn user_ids_keep_their_type_and_info_may_be_missing() {
    let server = start();
    let mut client = server.connect().await;
    client.ask("presence-test", Some(r#"{"user_id":0}"#)).await;
    let members = &client.receive().await["data"]["$text"]["presence"];
    assert_eq!(*members, json!({ "count": 1, "ids": [0], "hash": { "0": null } }));
}

#[tokio::test]
async fn a_signed_in_user_joins_without_channel_data() {
    let server = start();
    let mut client = server.connect().await;
    client.sign_in(&json!({ "id": "5", "user_info": { "name": "Five" } })).await;
    client.ask("presence-test", None).await;
    let members = &client.receive().await["data"]["$text"]["presence"];
    assert_eq!(*members, json!({ "count": 1, "ids": ["5"], "hash": { "5": { "name": "Five" } } }));
}

#[tokio::test]
async fn can_notify_other_subscribers_when_members_come_and_go() {
    let server = start();
    let [mut one, mut two, mut three] = clients(&server).await;
    one.join("presence-test", 1).await;
    two.join("presence-test", 2).await;
    one.expect(added("presence-test", 2)).await;
    let members = three.join("presence-test", 3).await;
    assert_eq!((&members["count"], &members["ids"]), (&json!(3), &json!(["1", "2", "3"])));
    one.expect(added("presence-test", 3)).await;
    two.expect(added("presence-test", 3)).await;
    three.unsubscribe("presence-test").await;
    one.expect(removed("presence-test", 3)).await;
    two.expect(removed("presence-test", 3)).await;
    three.expect_nothing().await;
    drop(two);
    one.expect(removed("presence-test", 2)).await;
    drop((one, three));
    server.becomes_empty().await;
}

#[tokio::test]
async fn subscription_succeeded_event_contains_unique_list_of_users() {
    let server = start();
    let [mut one, mut again, mut two] = clients(&server).await;
    one.join("presence-test", 1).await;
    let members = again.join("presence-test", 1).await;
    assert_eq!((&members["count"], &members["ids"]), (&json!(1), &json!(["1"])));
    two.join("presence-test", 2).await;
    // The second connection of user 1 was not announced, and its end isn't either.
    one.expect(added("presence-test", 2)).await;
    again.expect(added("presence-test", 2)).await;
    drop(one);
    again.expect_nothing().await;
    drop(again);
    two.expect(removed("presence-test", 1)).await;
}

#[tokio::test]
async fn a_second_subscription_is_an_error_and_the_first_stays() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("test-channel").await;
    client.ask("test-channel", None).await;
    let message = client.expect_error(None).await;
    assert_eq!(message, "Existing subscription to channel test-channel");
    server.publish("test-channel", "e", &json!({})).await;
    client.expect(event("test-channel", "e", &json!({}))).await;
    client.expect_nothing().await;
    client.unsubscribe("test-channel").await;
    client.expect_nothing().await;
    server.becomes_unoccupied("test-channel").await;
}

#[tokio::test]
async fn unsubscribing_from_another_channel_does_nothing() {
    let server = start();
    let mut client = server.connect().await;
    for channel in ["test-channel", "", "bad name"] {
        client.unsubscribe(channel).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn can_receive_a_cached_message_when_joining_a_cache_channel() {
    let server = start();
    for channel in ["cache-test", "private-cache-test", "presence-cache-test"] {
        server.publish(channel, "first", &json!({})).await;
        server.publish(channel, "last", &json!({ "n": 2 })).await;
        let mut client = server.connect().await;
        client.ask(channel, Some(&member(1).to_string())).await;
        let subscribed = client.receive().await;
        assert_eq!(subscribed["event"], "pusher_internal:subscription_succeeded");
        client.expect(event(channel, "last", &json!({ "n": 2 }))).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn can_receive_a_cache_missed_message_when_joining_a_cache_channel() {
    let server = start();
    for channel in ["cache-test", "private-cache-test", "presence-cache-test"] {
        let mut client = server.connect().await;
        client.ask(channel, Some(&member(1).to_string())).await;
        client.receive().await;
        client.expect(cache_miss(channel)).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn whispers_are_not_cached() {
    let server = start();
    let [mut one, mut two] = clients(&server).await;
    one.subscribe("private-cache-test").await;
    one.expect(cache_miss("private-cache-test")).await;
    one.whisper("private-cache-test", "client-x", &json!({})).await;
    one.expect_nothing().await;
    two.subscribe("private-cache-test").await;
    two.expect(cache_miss("private-cache-test")).await;
}

#[tokio::test]
async fn can_receive_a_message_broadcast_from_the_server() {
    let server = start();
    let mut all: [Client; 3] = clients(&server).await;
    for client in &mut all {
        client.subscribe("test-channel").await;
    }
    let data = json!({ "text": "grüße / \"quoted\" \u{1f600} <b>" });
    server.publish("test-channel", "App\\Events\\TestEvent", &data).await;
    for client in &mut all {
        client.expect(event("test-channel", "App\\Events\\TestEvent", &data)).await;
    }
}

#[tokio::test]
async fn data_arrives_unchanged() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("test-channel").await;
    let body = r#"{"name":"e","channel":"test-channel","data":"{\"a\" : 1.0e2,\u0041\/}"}"#;
    assert_eq!(server.api().post_text("/events", body).await.status, 200);
    let frame = client.next().await.unwrap();
    let expected = r#"{"event":"e","channel":"test-channel","data":"{\"a\" : 1.0e2,\u0041\/}"}"#;
    assert_eq!(frame.as_text(), Some(expected));
}

#[tokio::test]
async fn can_handle_an_event_on_a_presence_channel() {
    let server = start();
    let mut client = server.connect().await;
    client.join("presence-test", 1).await;
    server.publish("presence-test", "e", &json!({ "x": 1 })).await;
    client.expect(event("presence-test", "e", &json!({ "x": 1 }))).await;
}

#[tokio::test]
async fn can_subscribe_connections_to_multiple_channels() {
    let server = start();
    let [mut one, mut two] = clients(&server).await;
    for client in [&mut one, &mut two] {
        client.subscribe("test-channel").await;
        client.subscribe("private-test").await;
    }
    one.join("presence-test", 1).await;
    let channels = server.api().read("/channels", "subscription_count,user_count").await;
    let expected = json!({
        "presence-test": { "user_count": 1, "subscription_count": 1 },
        "private-test": { "subscription_count": 2 },
        "test-channel": { "subscription_count": 2 },
    });
    assert_eq!(channels["channels"], expected);
    server.publish("private-test", "e", &json!({})).await;
    for client in [&mut one, &mut two] {
        client.expect(event("private-test", "e", &json!({}))).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn fails_to_subscribe_with_an_invalid_auth_signature() {
    let server = start();
    let mut client = server.connect().await;
    let channels = [
        "private-test",
        "private-cache-test",
        "private-encrypted-x",
        "presence-test",
        "presence-cache-test",
    ];
    for channel in channels {
        let data = channel.starts_with("presence").then(|| member(1).to_string());
        let good = client.auth(channel, data.as_deref());
        let other_channel = client.auth("private-other", data.as_deref());
        let other_key = good.replace("reverb-key", "other-key");
        for auth in ["reverb-key:0011", "nonsense", "", &other_channel, &other_key] {
            let data = json!({ "channel": channel, "auth": auth, "channel_data": data });
            client.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
            client.expect_refusal(channel, None).await;
        }
    }
    assert_eq!(server.api().read("/channels", "").await, json!({ "channels": {} }));
}

#[tokio::test]
async fn fails_to_subscribe_with_no_auth_token() {
    let server = start();
    let mut client = server.connect().await;
    for channel in ["private-test", "presence-test"] {
        let data = json!({ "channel": channel });
        client.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
        client.expect_refusal(channel, None).await;
    }
}

#[tokio::test]
async fn a_signature_is_for_one_socket_and_one_member_only() {
    let server = start();
    let [one, mut two] = clients(&server).await;
    let mut data = json!({ "channel": "private-test", "auth": one.auth("private-test", None) });
    two.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    two.expect_refusal("private-test", None).await;
    let member_one = member(1).to_string();
    data = json!({
        "channel": "presence-test",
        "auth": two.auth("presence-test", Some(&member_one)),
        "channel_data": member(2).to_string(),
    });
    two.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    two.expect_refusal("presence-test", None).await;
}

#[tokio::test]
async fn a_presence_member_must_have_an_id() {
    let server = start();
    let mut client = server.connect().await;
    for data in ["", "{}", "[]", "not json", r#"{"user_id":""}"#, r#"{"user_id":null}"#] {
        client.ask("presence-test", Some(data)).await;
        client.expect_refusal("presence-test", None).await;
    }
    client.ask("presence-test", None).await;
    client.expect_refusal("presence-test", None).await;
}

#[tokio::test]
async fn bad_channel_names_are_refused() {
    let server = start();
    let mut client = server.connect().await;
    let long = "x".repeat(201);
    for channel in ["", "a b", "ä", "#x", "a:b", &long] {
        client.ask(channel, None).await;
        client.expect_refusal(channel, None).await;
    }
    client.subscribe(&"x".repeat(200)).await;
    client.subscribe("Az09_-=@,.;").await;
}

#[tokio::test]
async fn limits_of_subscriptions_and_members_hold() {
    let server = start_with(|app| {
        app.limits.channels_per_connection = 2;
        app.limits.presence_members = 1;
        app.limits.presence_member_bytes = 200;
    });
    let [mut one, mut two] = clients(&server).await;
    one.subscribe("a").await;
    one.join("presence-b", 1).await;
    one.ask("c", None).await;
    one.expect_refusal("c", None).await;
    one.unsubscribe("a").await;
    one.subscribe("c").await;
    two.ask("presence-b", Some(&member(2).to_string())).await;
    two.expect_refusal("presence-b", None).await;
    // An existing member does not count twice.
    two.join("presence-b", 1).await;
    let long = json!({ "user_id": "1", "user_info": "x".repeat(200) }).to_string();
    two.ask("presence-d", Some(&long)).await;
    two.expect_refusal("presence-d", None).await;
}

#[tokio::test]
async fn subscribers_can_get_the_subscription_count() {
    let server = start_with(|app| app.subscription_count = true);
    let [mut one, mut two] = clients(&server).await;
    let count = |n: u32| {
        let data = json!({ "subscription_count": n });
        event("test-channel", "pusher_internal:subscription_count", &data)
    };
    one.subscribe("test-channel").await;
    one.expect(count(1)).await;
    two.subscribe("test-channel").await;
    one.expect(count(2)).await;
    two.expect(count(2)).await;
    drop(two);
    one.expect(count(1)).await;
    one.join("presence-test", 1).await;
    one.expect_nothing().await;
}

#[tokio::test]
async fn removes_a_channel_when_no_subscribers_remain() {
    let server = start();
    let [mut one, mut two] = clients(&server).await;
    one.subscribe("test-channel").await;
    two.subscribe("test-channel").await;
    one.unsubscribe("test-channel").await;
    one.expect_nothing().await;
    let channel = server.api().read("/channels/test-channel", "subscription_count").await;
    assert_eq!(channel, json!({ "occupied": true, "subscription_count": 1 }));
    drop((one, two));
    server.becomes_empty().await;
    assert_eq!(server.api().read("/channels", "").await, json!({ "channels": {} }));
}

impl Harness {
    async fn becomes_unoccupied(&self, channel: &str) {
        let path = format!("/channels/{channel}");
        assert_eq!(self.api().read(&path, "").await, json!({ "occupied": false }));
    }
}
