//! Publishing from within the server's process.

use clarim_protocol::rest::Event;
use serde_json::json;
use serde_json::value::to_raw_value;

use crate::support::{event, start};

fn request<'a>(data: &'a serde_json::value::RawValue, except: Option<&str>) -> Event<'a> {
    Event {
        name: "said".to_owned(),
        data,
        channels: Some(vec!["chat".to_owned(), "news".to_owned()]),
        channel: None,
        socket_id: except.map(str::to_owned),
        info: None,
        idempotency_key: None,
    }
}

#[tokio::test]
async fn an_in_process_event_reaches_subscribers_like_one_of_the_api() {
    let server = start();
    let publisher = server.running().publisher();
    let mut own = server.connect().await;
    let mut other = server.connect().await;
    own.subscribe("chat").await;
    other.subscribe("chat").await;
    other.subscribe("news").await;
    let data = to_raw_value(&json!({ "n": 1 }).to_string()).unwrap();
    publisher.publish("123456", &request(&data, Some(&own.id))).await.unwrap();
    own.expect_nothing().await;
    for channel in ["chat", "news"] {
        other.expect(event(channel, "said", &json!({ "n": 1 }))).await;
    }
}

#[tokio::test]
async fn an_in_process_event_is_checked_like_one_of_the_api() {
    let server = start();
    let publisher = server.running().publisher();
    let data = to_raw_value("{}").unwrap();
    let unknown = publisher.publish("7", &request(&data, None)).await.unwrap_err();
    assert_eq!(unknown.code(), "unknown_app");
    assert_eq!(unknown.to_string(), "No matching application for ID [7].");
    let bad = publisher.publish("123456", &request(&data, Some("1"))).await.unwrap_err();
    assert_eq!(bad.code(), "invalid_event");
    assert!(bad.to_string().starts_with("socket_id is invalid"), "{bad}");
    let large = to_raw_value(&"x".repeat(100_001)).unwrap();
    let large = publisher.publish("123456", &request(&large, None)).await.unwrap_err();
    assert_eq!(large.code(), "event_too_large");
    let object = to_raw_value(&json!({})).unwrap();
    let object = publisher.publish("123456", &request(&object, None)).await.unwrap_err();
    assert_eq!(object.code(), "invalid_event");
    assert!(!object.is_temporary());
}
