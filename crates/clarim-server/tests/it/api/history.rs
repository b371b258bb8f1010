//! Reading the history of channels, over HTTP and from within the process.

use clarim_server::{HistoryDirection, HistoryRequest, HistoryRule};
use serde_json::{Value, json};

use crate::support::{Harness, Reply, start_with};

/// A server that keeps five events of `news`.
fn start() -> Harness {
    start_with(|app| {
        let mut rule = HistoryRule::new("*news");
        rule.messages = 5;
        app.history = vec![rule];
    })
}

async fn read(server: &Harness, params: &[(&str, &str)]) -> Value {
    let reply = server.api().get("/channels/news/history", params).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    reply.json()
}

fn offsets(page: &Value) -> Vec<u64> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["offset"].as_u64().unwrap()).collect()
}

fn summary(page: &Value) -> (Vec<u64>, bool, Option<&str>) {
    (offsets(page), page["has_more"].as_bool().unwrap(), page["gap"].as_str())
}

async fn publish(server: &Harness, from: u32, to: u32) {
    for n in from..=to {
        server.publish("news", "e", &json!({ "n": n })).await;
    }
}

#[tokio::test]
async fn a_history_is_read_in_pages() {
    let server = start();
    publish(&server, 1, 5).await;
    let first = read(&server, &[("limit", "2")]).await;
    let epoch = first["epoch"].as_str().unwrap();
    assert_eq!((summary(&first), &first["offset"]), ((vec![1, 2], true, None), &json!(5)));
    assert_eq!(
        first["events"][1],
        json!({ "offset": 2, "event": "e", "data": json!({ "n": 2 }).to_string() })
    );
    let page = async |since: &str, more: &[(&str, &str)]| {
        read(&server, &[&[("epoch", epoch), ("since", since)], more].concat()).await
    };
    assert_eq!(summary(&page("2", &[("limit", "2")]).await), (vec![3, 4], true, None));
    assert_eq!(summary(&page("4", &[]).await), (vec![5], false, None));
    assert_eq!(summary(&page("5", &[]).await), (vec![], false, None));
    let back = ("direction", "backward");
    let newest = read(&server, &[back, ("limit", "2")]).await;
    assert_eq!(summary(&newest), (vec![5, 4], true, None));
    assert_eq!(summary(&page("4", &[back, ("limit", "2")]).await), (vec![3, 2], true, None));
    assert_eq!(summary(&page("2", &[back]).await), (vec![1], false, None));
    assert_eq!(summary(&page("1", &[back]).await), (vec![], false, None));
}

#[tokio::test]
async fn events_that_are_not_kept_are_a_gap() {
    let server = start();
    publish(&server, 1, 8).await;
    let all = read(&server, &[]).await;
    assert_eq!(summary(&all), (vec![4, 5, 6, 7, 8], false, None));
    let epoch = all["epoch"].as_str().unwrap();
    for (epoch, since, gap) in
        [(epoch, "2", "too_many"), (epoch, "9", "unknown"), ("77", "3", "epoch")]
    {
        let page = read(&server, &[("epoch", epoch), ("since", since)]).await;
        assert_eq!((summary(&page), &page["offset"]), ((vec![], false, Some(gap)), &json!(8)));
    }
    let page = read(&server, &[("epoch", epoch), ("since", "3")]).await;
    assert_eq!(summary(&page), (vec![4, 5, 6, 7, 8], false, None));
    // Backward, the history ends with the oldest event that is kept.
    let back = [("epoch", epoch), ("since", "4"), ("direction", "backward")];
    assert_eq!(summary(&read(&server, &back).await), (vec![], false, None));
}

#[tokio::test]
async fn the_data_is_returned_byte_for_byte() {
    let server = start();
    let literal = r#""{\"a\":\"\u00e1\/\ud83d\ude00\"}""#;
    let body = format!(r#"{{"name":"e","channel":"news","data":{literal}}}"#);
    assert_eq!(server.api().post_text("/events", &body).await.status, 200);
    let reply = server.api().get("/channels/news/history", &[]).await;
    assert!(reply.text.contains(&format!(r#""data":{literal}}}"#)), "{}", reply.text);
}

#[tokio::test]
async fn a_page_has_a_bounded_size() {
    let server = start_with(|app| {
        let mut rule = HistoryRule::new("news");
        rule.bytes = 4 << 20;
        app.history = vec![rule];
        app.limits.event_data_bytes = 1 << 20;
    });
    let large = "x".repeat(150_000);
    for _ in 0..10 {
        server.publish("news", "e", &json!(large)).await;
    }
    let page = read(&server, &[]).await;
    assert_eq!(summary(&page), ((1..=6).collect(), true, None));
}

#[tokio::test]
async fn wrong_requests_are_answered_with_the_cause() {
    let server = start();
    let expect = |reply: Reply, status: u16, text: &str| {
        assert_eq!(reply.status, status, "{}", reply.text);
        assert!(reply.text.contains(text), "{}", reply.text);
    };
    for (params, text) in [
        (&[("limit", "0")][..], "limit must be a whole number from 1 to 1000"),
        (&[("limit", "1001")], "limit must be"),
        (&[("limit", "x")], "limit must be"),
        (&[("since", "1")], "since and epoch belong together"),
        (&[("epoch", "1")], "since and epoch belong together"),
        (&[("since", "-1"), ("epoch", "1")], "since must be an offset"),
        (&[("since", "1"), ("epoch", "x")], "epoch must be the epoch"),
        (&[("direction", "up")], "direction must be forward or backward"),
    ] {
        expect(server.api().get("/channels/news/history", params).await, 400, text);
    }
    for path in ["/channels/chat/history", "/channels/chat/position"] {
        expect(server.api().get(path, &[]).await, 404, "chat has no history: no history rule");
    }
    expect(server.api().get("/channels/a%20news/position", &[]).await, 400, "");
    expect(server.request("GET", "/apps/123456/channels/news/history", b"").await, 401, "");
    expect(server.api().post("/channels/news/history", &json!({})).await, 405, "GET");
}

#[tokio::test]
async fn a_client_that_subscribes_since_a_position_misses_nothing() {
    let server = start();
    // Nobody has used the channel before.
    let position = server.api().read("/channels/news/position", "").await;
    assert_eq!(position["offset"], 0);
    publish(&server, 1, 2).await;
    let mut client = server.connect().await;
    let data = json!({ "channel": "news", "since": position });
    client.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
    let succeeded = client.receive().await;
    assert_eq!(succeeded["data"]["$text"]["recovered"], true, "{succeeded}");
    for n in 1..=2 {
        let event = client.receive().await;
        assert_eq!((&event["offset"], &event["data"]["$text"]["n"]), (&json!(n), &json!(n)));
    }
}

#[tokio::test]
async fn a_history_is_read_in_process() {
    let server = start();
    let publisher = server.running().publisher();
    let before = publisher.position("123456", "news").await.unwrap();
    publish(&server, 1, 3).await;
    let request = HistoryRequest {
        since: Some(before),
        limit: Some(2),
        direction: HistoryDirection::Forward,
    };
    let page = publisher.history("123456", "news", request).await.unwrap();
    assert_eq!((page.position().offset, page.has_more, page.gap), (3, true, None));
    assert_eq!(page.events[1].text(), json!({ "n": 2 }).to_string());
    let error = publisher.position("123456", "chat").await.unwrap_err();
    assert_eq!(error.code(), "no_history");
    let error = publisher.history("7", "news", request).await.unwrap_err();
    assert_eq!(error.code(), "unknown_app");
    let request = HistoryRequest { limit: Some(1_001), ..request };
    let error = publisher.history("123456", "news", request).await.unwrap_err();
    assert_eq!(error.code(), "history_limit");
}
