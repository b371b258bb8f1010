//! The HTTP API, as backends and load balancers use it.

use clarim_hub::app::App;
use clarim_protocol::auth::AppKey;
use clarim_protocol::rest;
use hyper::HeaderMap;
use serde_json::{Value, json};

use crate::support::{
    Client, Harness, HttpConnection, Setup, app, app_with, event, start, start_with, unix_time,
    within,
};

fn body(channel: &str, socket_id: Option<&str>) -> Value {
    json!({ "name": "e", "channel": channel, "data": "{}", "socket_id": socket_id })
}

/// An event with the data `{}`.
fn empty(channel: &str) -> Value {
    event(channel, "e", &json!({}))
}

fn length(headers: &HeaderMap) -> &str {
    headers["content-length"].to_str().unwrap()
}

#[tokio::test]
async fn can_receive_an_event_trigger() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("test-channel").await;
    let reply = server.api().post("/events", &body("test-channel", None)).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(length(&reply.headers), "2");
    client.expect(empty("test-channel")).await;
}

#[tokio::test]
async fn can_receive_an_event_trigger_for_multiple_channels() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("one").await;
    client.subscribe("two").await;
    // `channels` wins over `channel`.
    let body = json!({ "name": "e", "channels": ["one", "two"], "channel": "three", "data": "{}" });
    assert_eq!(server.api().post("/events", &body).await.text, "{}");
    client.expect(empty("one")).await;
    client.expect(empty("two")).await;
}

#[tokio::test]
async fn a_channel_named_twice_gets_the_event_once() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("one").await;
    let body = json!({ "name": "e", "channels": ["one", "one"], "data": "{}" });
    assert_eq!(server.api().post("/events", &body).await.status, 200);
    client.expect(empty("one")).await;
    client.expect_nothing().await;
}

/// One user on a presence channel, and one subscriber of a public channel.
async fn two_channels(server: &Harness) -> [Client; 2] {
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.join("presence-test", 1).await;
    two.subscribe("test-channel").await;
    [one, two]
}

#[tokio::test]
async fn can_return_user_counts_and_subscription_counts_when_requested() {
    let server = start();
    let _clients = two_channels(&server).await;
    let channels = ["presence-test", "test-channel"];
    for (info, expected) in [
        ("user_count", json!({ "presence-test": { "user_count": 1 }, "test-channel": {} })),
        (
            "subscription_count",
            json!({
                "presence-test": { "subscription_count": 1 },
                "test-channel": { "subscription_count": 1 },
            }),
        ),
        (
            "subscription_count,user_count",
            json!({
                "presence-test": { "user_count": 1, "subscription_count": 1 },
                "test-channel": { "subscription_count": 1 },
            }),
        ),
    ] {
        let body = json!({ "name": "e", "channels": channels, "data": "{}", "info": info });
        let reply = server.api().post("/events", &body).await;
        assert_eq!((reply.status, reply.json()), (200, json!({ "channels": expected })));
    }
}

#[tokio::test]
async fn can_ignore_a_subscriber() {
    let server = start();
    // The two are on different workers.
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.subscribe("test-channel").await;
    two.subscribe("test-channel").await;
    for excluded in [&one.id, &two.id] {
        let reply = server.api().post("/events", &body("test-channel", Some(excluded))).await;
        assert_eq!(reply.status, 200);
    }
    for client in [&mut one, &mut two] {
        client.expect(empty("test-channel")).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn does_not_fail_when_ignoring_an_unknown_subscriber() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("test-channel").await;
    let (left, right) = client.id.split_once('.').unwrap();
    let similar = format!("{left}.{}", right.parse::<u64>().unwrap() ^ 1);
    for id in ["1.1", "999999999.999999999", similar.as_str(), ""] {
        let reply = server.api().post("/events", &body("test-channel", Some(id))).await;
        assert_eq!(reply.status, 200, "{id}");
        client.expect(empty("test-channel")).await;
    }
}

/// Posts an event, alone and in a batch, and expects this status.
async fn expect_status(server: &Harness, event: &Value, status: u16) {
    let reply = server.api().post("/events", event).await;
    assert_eq!(reply.status, status, "{event} {}", reply.text);
    let batch = json!({ "batch": [body("x", None), event] });
    let reply = server.api().post("/batch_events", &batch).await;
    assert_eq!(reply.status, status, "{batch} {}", reply.text);
}

#[tokio::test]
async fn missing_fields_and_wrong_types_are_422_as_in_reverb() {
    let server = start();
    for invalid in [
        json!({ "name": "e", "channel": "x" }),
        json!({ "channel": "x", "data": "{}" }),
        json!({ "name": 1, "channel": "x", "data": "{}" }),
        json!({ "name": "e", "channel": 1, "data": "{}" }),
        json!({ "name": "e", "channels": [1], "data": "{}" }),
        json!({ "name": "e", "channel": "x", "data": "{}", "socket_id": 1234 }),
        json!({ "name": "e", "channel": "x", "data": "{}", "info": 1 }),
        json!([]),
        json!(7),
    ] {
        expect_status(&server, &invalid, 422).await;
    }
    for invalid in [json!({}), json!({ "batch": {} })] {
        assert_eq!(server.api().post("/batch_events", &invalid).await.status, 422, "{invalid}");
    }
}

#[tokio::test]
async fn invalid_values_are_400_as_in_pusher() {
    let server = start();
    for invalid in [
        json!({ "name": "e", "data": "{}" }),
        json!({ "name": "", "channel": "x", "data": "{}" }),
        json!({ "name": "x".repeat(201), "channel": "x", "data": "{}" }),
        json!({ "name": "e", "channel": "x", "data": {} }),
        json!({ "name": "e", "channel": "x", "data": null }),
        json!({ "name": "e", "channel": "a b", "data": "{}" }),
        json!({ "name": "e", "channels": [], "data": "{}" }),
        json!({ "name": "e", "channels": vec!["x"; 101], "data": "{}" }),
        json!({ "name": "e", "channel": "x", "data": "{}", "socket_id": "forged" }),
        json!({ "name": "e", "channel": "x", "data": "{}", "info": "user_count,nonsense" }),
    ] {
        expect_status(&server, &invalid, 400).await;
    }
    let batch = json!({ "batch": vec![body("x", None); 101] });
    let reply = server.api().post("/batch_events", &batch).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("Batch too large"), "{}", reply.text);
}

#[tokio::test]
async fn attributes_that_no_channel_can_have_are_400() {
    let server = start();
    let _clients = two_channels(&server).await;
    let status = async |path: &str, params: &[(&str, &str)]| {
        let reply = server.api().get(path, params).await;
        (reply.status, reply.text)
    };
    let users = ("info", "user_count");
    for (path, params, expected) in [
        ("/channels", vec![("info", "nonsense")], 400),
        ("/channels", vec![("filter_by_prefix", "test-"), users], 400),
        // Laravel's tools ask for the users of all channels, and of a channel of any kind.
        ("/channels", vec![users], 200),
        ("/channels", vec![("filter_by_prefix", ""), users], 200),
        ("/channels", vec![("filter_by_prefix", "presence-t"), users], 200),
        ("/channels", vec![("filter_by_prefix", "pres"), users], 200),
        ("/channels/test-channel", vec![users], 400),
        ("/channels/test-channel", vec![("info", "user_count,subscription_count")], 200),
        ("/channels/test-channel", vec![("info", "cache")], 200),
        ("/channels/test-channel", vec![("info", "cache,nonsense")], 400),
        ("/channels/presence-test", vec![users], 200),
    ] {
        let (found, text) = status(path, &params).await;
        assert_eq!(found, expected, "{path} {params:?}: {text}");
    }
}

#[tokio::test]
async fn fails_when_payload_is_invalid() {
    let server = start();
    for text in ["", "{", "not json", r#"{"name":"e","#] {
        for path in ["/events", "/batch_events", "/users/1/events"] {
            let reply = server.api().post_text(path, text).await;
            assert_eq!(reply.status, 400, "{path} {text:?} {}", reply.text);
        }
    }
}

#[tokio::test]
async fn an_invalid_event_rejects_its_whole_batch() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("x").await;
    let batch = json!({ "batch": [body("x", None), { "name": "e", "channel": "x", "data": 1 }] });
    let reply = server.api().post("/batch_events", &batch).await;
    assert_eq!(reply.status, 400);
    assert!(reply.text.contains("batch[1]"), "{}", reply.text);
    client.expect_nothing().await;
}

#[tokio::test]
async fn cannot_trigger_an_event_over_the_max_message_size() {
    let server = start_with(|app| app.limits.event_data_bytes = 1000);
    let event = |size: usize| json!({ "name": "e", "channel": "x", "data": "x".repeat(size) });
    assert_eq!(server.api().post("/events", &event(1000)).await.status, 200);
    let reply = server.api().post("/events", &event(1001)).await;
    assert_eq!(reply.status, 413);
    assert!(reply.text.contains("1001") && reply.text.contains("1000"), "{}", reply.text);
    let batch = json!({ "batch": [event(1), event(1001)] });
    assert_eq!(server.api().post("/batch_events", &batch).await.status, 413);
    // The length of the text counts, not that of its JSON.
    let escaped = format!(r#"{{"name":"e","channel":"x","data":"{}"}}"#, r"\u0041".repeat(1000));
    assert_eq!(server.api().post_text("/events", &escaped).await.status, 200);
}

#[tokio::test]
async fn a_request_too_large_is_refused_with_size_and_maximum() {
    let server = Setup { max_request_bytes: 5000, ..Setup::default() }.start(vec![app()]);
    let event = json!({ "name": "e", "channel": "x", "data": "x".repeat(6000) });
    let reply = server.api().post("/events", &event).await;
    assert_eq!(reply.status, 413);
    let size = event.to_string().len().to_string();
    assert!(reply.text.contains(&size) && reply.text.contains("5000"), "{}", reply.text);
}

#[tokio::test]
async fn buffers_large_requests_correctly() {
    let app = app_with(|app| app.limits.event_data_bytes = 200_000);
    let server = Setup::default().start(vec![app]);
    let mut client = server.connect().await;
    client.subscribe("x").await;
    let data = json!({ "text": "x".repeat(150_000) });
    server.publish("x", "e", &data).await;
    client.expect(event("x", "e", &data)).await;
}

#[tokio::test]
async fn fails_when_app_cannot_be_found() {
    let server = start();
    let reply = server.request("POST", "/apps/nobody/events", b"{}").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text.contains("No matching application for ID [nobody]"), "{}", reply.text);
}

#[tokio::test]
async fn can_receive_an_event_batch_trigger_with_multiple_events() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("one").await;
    client.subscribe("two").await;
    let batch = json!({ "batch": [body("one", None), body("two", None), body("one", None)] });
    let reply = server.api().post("/batch_events", &batch).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    assert_eq!(length(&reply.headers), "2");
    for channel in ["one", "two", "one"] {
        client.expect(empty(channel)).await;
    }
    assert_eq!(server.api().post("/batch_events", &json!({ "batch": [] })).await.text, "{}");
}

#[tokio::test]
async fn can_receive_an_event_batch_trigger_and_return_info() {
    let server = start();
    let _clients = two_channels(&server).await;
    let mut batch = json!({ "batch": [body("presence-test", None), body("test-channel", None)] });
    batch["batch"][0]["info"] = "user_count".into();
    let reply = server.api().post("/batch_events", &batch).await;
    assert_eq!(reply.json(), json!({ "batch": [{ "user_count": 1 }, {}] }));
    batch["batch"][1]["info"] = "subscription_count".into();
    let reply = server.api().post("/batch_events", &batch).await;
    assert_eq!(
        reply.json(),
        json!({ "batch": [{ "user_count": 1 }, { "subscription_count": 1 }] })
    );
}

#[tokio::test]
async fn a_batch_ignores_a_subscriber_by_event() {
    let server = start();
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.subscribe("x").await;
    two.subscribe("x").await;
    let named = |name: &str, except: Option<&str>| {
        let mut event = body("x", except);
        event["name"] = name.into();
        event
    };
    let batch = json!({ "batch": [
        named("a", Some(&one.id)), named("b", Some(&two.id)), named("c", None),
        named("d", Some("1.1")),
    ] });
    assert_eq!(server.api().post("/batch_events", &batch).await.status, 200);
    for (client, names) in [(&mut one, ["b", "c", "d"]), (&mut two, ["a", "c", "d"])] {
        for name in names {
            client.expect(event("x", name, &json!({}))).await;
        }
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn can_return_data_for_a_single_channel() {
    let server = start();
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.subscribe("test-channel").await;
    two.subscribe("test-channel").await;
    let info = [("info", "user_count,subscription_count,cache,occupied")];
    let reply = server.api().get("/channels/test-channel", &info).await;
    assert_eq!(reply.json(), json!({ "occupied": true, "subscription_count": 2 }));
    assert_eq!(length(&reply.headers), "40");
    let only = server.api().read("/channels/test-channel", "occupied").await;
    assert_eq!(only, json!({ "occupied": true }));
    let nothing = server.api().read("/channels/test-channel", "").await;
    assert_eq!(nothing, json!({ "occupied": true }));
    let bad = server.api().get("/channels/a%20b", &[]).await;
    assert_eq!(bad.status, 400);
}

#[tokio::test]
async fn returns_unoccupied_when_no_connections() {
    let server = start();
    assert_eq!(server.api().read("/channels/x", "").await, json!({ "occupied": false }));
}

#[tokio::test]
async fn can_return_cache_channel_attributes() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("cache-x").await;
    let info = "subscription_count,cache";
    let channel = server.api().read("/channels/cache-x", info).await;
    let expected = json!({ "occupied": true, "subscription_count": 1, "cache": null });
    assert_eq!(channel, expected);
    server.publish("cache-x", "e", &json!({ "some": "data" })).await;
    let channel = server.api().read("/channels/cache-x", info).await;
    assert_eq!(channel["cache"]["data"], r#"{"some":"data"}"#);
    let ttl = channel["cache"]["ttl"].as_u64().unwrap();
    assert!((1700..=1800).contains(&ttl), "{ttl}");
}

#[tokio::test]
async fn can_return_presence_channel_attributes() {
    let server = start();
    let mut one = server.connect().await;
    let mut again = server.connect().await;
    one.join("presence-test", 1).await;
    again.join("presence-test", 1).await;
    let channel =
        server.api().read("/channels/presence-test", "user_count,subscription_count").await;
    let expected = json!({ "occupied": true, "user_count": 1, "subscription_count": 2 });
    assert_eq!(channel, expected);
}

#[tokio::test]
async fn can_return_all_and_filtered_channel_information() {
    let server = start();
    let _clients = two_channels(&server).await;
    let reply = server.api().get("/channels", &[("info", "user_count")]).await;
    let all = json!({ "channels": { "presence-test": { "user_count": 1 }, "test-channel": {} } });
    assert_eq!(reply.json(), all);
    let params = [("filter_by_prefix", "presence-"), ("info", "user_count")];
    let reply = server.api().get("/channels", &params).await;
    assert_eq!(reply.json(), json!({ "channels": { "presence-test": { "user_count": 1 } } }));
    let reply = server.api().get("/channels", &[("filter_by_prefix", "nothing")]).await;
    assert_eq!(reply.text, r#"{"channels":{}}"#);
}

#[tokio::test]
async fn only_returns_occupied_channels() {
    let server = start();
    server.publish("cache-x", "e", &json!({})).await;
    let [one, _two] = two_channels(&server).await;
    drop(one);
    // The server notices a lost connection a moment later.
    let expected = json!({ "channels": { "test-channel": {} } });
    within(async { while server.api().read("/channels", "").await != expected {} }).await;
}

#[tokio::test]
async fn returns_the_unique_users_of_a_presence_channel_alone() {
    let server = start();
    let reply = server.api().get("/channels/test-channel/users", &[]).await;
    assert_eq!(reply.status, 400);
    let nobody = server.api().read("/channels/presence-test/users", "").await;
    assert_eq!(nobody, json!({ "users": [] }));
    let mut clients = Vec::new();
    for user in [1, 2, 3, 2] {
        let mut client = server.connect().await;
        client.join("presence-test", user).await;
        clients.push(client);
    }
    let reply = server.api().get("/channels/presence-test/users", &[]).await;
    assert_eq!(reply.json(), json!({ "users": [{ "id": "1" }, { "id": "2" }, { "id": "3" }] }));
    assert_eq!(length(&reply.headers), "44");
}

#[tokio::test]
async fn can_return_a_connection_count() {
    let server = start();
    let mut one = server.connect().await;
    one.subscribe("a").await;
    one.subscribe("b").await;
    assert_eq!(server.api().read("/connections", "").await, json!({ "connections": 1 }));
    let _two = server.connect().await;
    let reply = server.api().get("/connections", &[]).await;
    assert_eq!((reply.text.as_str(), length(&reply.headers)), (r#"{"connections":2}"#, "17"));
}

#[tokio::test]
async fn the_health_check_needs_no_signature() {
    let server = start();
    let reply = server.request("GET", "/up", b"").await;
    assert_eq!((reply.status, reply.text.as_str()), (200, r#"{"health":"OK"}"#));
    assert_eq!(length(&reply.headers), "15");
}

#[tokio::test]
async fn methods_and_paths_are_distinguished() {
    let server = start();
    for (method, target, status, allow) in [
        ("HEAD", "/up", 200, ""),
        ("POST", "/up", 405, "GET"),
        ("GET", "/apps/123456/events", 405, "POST"),
        ("HEAD", "/apps/123456/events", 405, "POST"),
        ("PUT", "/apps/123456/batch_events", 405, "POST"),
        ("GET", "/apps/123456/users/1/events", 405, "POST"),
        ("GET", "/apps/123456/users/1/terminate_connections", 405, "POST"),
        ("POST", "/apps/123456/channels", 405, "GET"),
        ("DELETE", "/apps/123456/channels/x", 405, "GET"),
        ("POST", "/apps/123456/channels/x/users", 405, "GET"),
        ("POST", "/apps/123456/connections", 405, "GET"),
        ("POST", "/app/reverb-key", 405, "GET"),
        ("GET", "/nothing", 404, ""),
        ("GET", "/apps", 404, ""),
        ("GET", "/apps/123456", 404, ""),
        ("POST", "/apps/123456/events/", 404, ""),
        ("GET", "/apps/123456/nothing", 404, ""),
        ("GET", "/app/reverb-key/more", 404, ""),
        ("GET", "//up", 404, ""),
        ("GET", "/playground", 404, ""),
    ] {
        let reply = server.request(method, target, b"").await;
        let found = (reply.status, reply.header("allow"));
        assert_eq!(found, (status, allow), "{method} {target}");
        assert_eq!(reply.text.is_empty(), method == "HEAD", "{method} {target}");
    }
}

#[tokio::test]
async fn a_websocket_address_without_upgrade_gets_426() {
    let server = start();
    let reply = server.request("GET", "/app/reverb-key", b"").await;
    assert_eq!(reply.status, 426);
    assert!(reply.text.contains("proxy"), "{}", reply.text);
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("x").await;
    let mut connection = HttpConnection::new(server.dial().await).await;
    let text = body("x", None).to_string();
    for _ in 0..3 {
        let target = server.api().sign("POST", "/events", &[], text.as_bytes());
        let reply = connection.request("POST", &target, text.as_bytes()).await;
        assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
        client.expect(empty("x")).await;
        // A refusal doesn't end it either.
        assert_eq!(connection.request("GET", "/nothing", b"").await.status, 404);
        assert_eq!(connection.request("POST", "/apps/123456/events", b"{}").await.status, 401);
        let read = server.api().sign("GET", "/channels/x", &[("info", "subscription_count")], b"");
        let reply = connection.request("GET", &read, b"").await;
        assert_eq!(reply.text, r#"{"occupied":true,"subscription_count":1}"#);
    }
}

#[tokio::test]
async fn fails_when_using_an_invalid_signature() {
    let server = start();
    for (method, path) in [
        ("POST", "/events"),
        ("POST", "/batch_events"),
        ("POST", "/users/1/events"),
        ("POST", "/users/1/terminate_connections"),
        ("GET", "/channels"),
        ("GET", "/channels/x"),
        ("GET", "/channels/presence-x/users"),
        ("GET", "/connections"),
    ] {
        let unsigned = format!("/apps/123456{path}");
        let mut targets = vec![unsigned.clone(), format!("{unsigned}?auth_signature=0011")];
        // A signature for another method, and one with a wrong last digit.
        targets.push(server.api().sign("DELETE", path, &[], b""));
        let mut wrong = server.api().sign(method, path, &[], b"");
        let last = wrong.pop().unwrap();
        wrong.push(if last == '0' { '1' } else { '0' });
        targets.push(wrong);
        for target in targets {
            let reply = server.request(method, &target, b"").await;
            assert_eq!(reply.status, 401, "{method} {target}");
        }
    }
}

#[tokio::test]
async fn every_part_of_a_signature_counts() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("x").await;
    let text = body("x", None).to_string();
    let key = AppKey::new("reverb-key", "reverb-secret");
    let at = |time: u64| {
        let path = "/apps/123456/events";
        let query = rest::sign(&key, "POST", path, &[], text.as_bytes(), time);
        format!("{path}?{query}")
    };
    let now = unix_time();
    let good = at(now);
    let other = server.api().sign("POST", "/batch_events", &[], text.as_bytes());
    for target in [
        good.replace("auth_key=reverb-key", "auth_key=other"),
        good.replace("auth_version=1.0", "auth_version=1.1"),
        good.replace(&format!("auth_timestamp={now}"), "auth_timestamp=1"),
        good.replace("body_md5=", "body_md5=0"),
        good.replace("body_md5", "x"),
        good.replace("auth_signature", "signature"),
        format!("{good}&more=1"),
        format!("{good}&auth_version=1.0"),
        format!("{good}&%"),
        other.replace("batch_events", "events"),
        at(unix_time() - 700),
        at(unix_time() + 700),
    ] {
        let reply = server.request("POST", &target, text.as_bytes()).await;
        assert_eq!(reply.status, 401, "{target}");
        assert!(!reply.text.contains("reverb-secret"));
    }
    // The body that was signed, and no other.
    let reply = server.request("POST", &good, text.replace("{}", "[]").as_bytes()).await;
    assert_eq!(reply.status, 401);
    assert_eq!(server.request("POST", &good, b"").await.status, 401);
    client.expect_nothing().await;
    assert_eq!(server.request("POST", &good, text.as_bytes()).await.status, 200);
    assert_eq!(server.request("POST", &at(unix_time() - 500), text.as_bytes()).await.status, 200);
}

#[tokio::test]
async fn server_listens_on_a_specific_path() {
    let server = Setup { path: "/ws", ..Setup::default() }.start(vec![app()]);
    let mut client = server.connect().await;
    client.subscribe("x").await;
    // Signed without the prefix, as by SDKs that do not know it.
    let reply = server.api().post("/events", &body("x", None)).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "{}"));
    client.expect(empty("x")).await;
    // Signed with it.
    let key = AppKey::new("reverb-key", "reverb-secret");
    let path = "/ws/apps/123456/channels";
    let query = rest::sign(&key, "GET", path, &[], b"", unix_time());
    let reply = server.request("GET", &format!("{path}?{query}"), b"").await;
    assert_eq!((reply.status, reply.json()), (200, json!({ "channels": { "x": {} } })));
    assert_eq!(server.request("GET", "/ws/up", b"").await.status, 200);
}

#[tokio::test]
async fn returns_an_error_when_the_path_prefix_is_not_included() {
    let server = Setup { path: "/ws", ..Setup::default() }.start(vec![app()]);
    let signed = server.api().sign("GET", "/channels", &[], b"");
    for target in ["/up", "/app/reverb-key", "/wsx/up", signed.strip_prefix("/ws").unwrap()] {
        assert_eq!(server.request("GET", target, b"").await.status, 404, "{target}");
    }
}

#[tokio::test]
async fn every_app_knows_its_own_channels_only() {
    let other = App::new("2", "other-key", "other-secret");
    let server = Setup::default().start(vec![app(), other]);
    let mut client = server.connect().await;
    client.subscribe("x").await;
    assert_eq!(server.api_of(1).read("/channels", "").await, json!({ "channels": {} }));
    assert_eq!(server.api_of(1).read("/connections", "").await, json!({ "connections": 0 }));
    // Signed by the other app.
    let target = server.api_of(1).sign("GET", "/channels", &[], b"");
    let target = target.replace("/apps/2/", "/apps/123456/");
    assert_eq!(server.request("GET", &target, b"").await.status, 401);
}

#[tokio::test]
async fn the_list_of_channels_has_pages() {
    let server = start();
    let mut client = server.connect().await;
    for name in ["a", "b", "c", "d", "e"] {
        client.subscribe(name).await;
    }
    let page = async |after: &str, limit: &str| {
        let mut params = vec![("limit", limit)];
        if !after.is_empty() {
            params.push(("after", after));
        }
        let mut json = server.api().get("/channels", &params).await.json();
        let names: Vec<_> = json["channels"].as_object().unwrap().keys().cloned().collect();
        (names.join(","), json["next"].take())
    };
    assert_eq!(page("", "2").await, ("a,b".to_owned(), json!("b")));
    assert_eq!(page("b", "2").await, ("c,d".to_owned(), json!("d")));
    assert_eq!(page("d", "2").await, ("e".to_owned(), json!(null)));
    assert_eq!(page("", "5").await, ("a,b,c,d,e".to_owned(), json!(null)));
    assert_eq!(server.api().get("/channels", &[("limit", "0")]).await.status, 400);
}
