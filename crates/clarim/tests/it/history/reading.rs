//! Reading histories, over HTTP and in process.

use clarim::{Channel, Clarim, Settings};
use clarim_server::{HistoryRule, Server};
use serde_json::json;

use crate::support::{World, app, server_settings};

async fn reads_a_history(clarim: &Clarim) {
    let channel = || Channel::private("orders.7");
    let before = clarim.position(channel()).await.unwrap();
    for n in 1..=3 {
        clarim.on(channel()).name("shipped").with(json!({ "n": n })).now().send().await.unwrap();
    }
    let first = clarim.history(channel()).since(before).limit(2).await.unwrap();
    assert_eq!((first.position().offset, first.has_more, first.gap), (3, true, None));
    let texts: Vec<String> = first.events.iter().map(|event| event.text()).collect();
    assert_eq!(texts, [r#"{"n":1}"#, r#"{"n":2}"#]);
    assert_eq!(first.events[0].event, "shipped");
    let newest = clarim.history(channel()).backward().limit(1).await.unwrap();
    assert_eq!((newest.events[0].offset, newest.has_more), (3, true));
    let error = clarim.position("news").await.unwrap_err();
    assert!(error.to_string().contains("news has no history: no history rule"), "{error}");
    let error = clarim.history(channel()).limit(0).await.unwrap_err();
    assert!(error.to_string().contains("limit must be"), "{error}");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn a_history_is_read_over_http() {
    let mut app = app();
    app.history = vec![HistoryRule::new("private-*")];
    reads_a_history(&World::start_with(app).clarim()).await;
}

#[tokio::test]
async fn a_history_is_read_in_process() {
    let mut app = app();
    app.history = vec![HistoryRule::new("private-*")];
    let server = Server::start(server_settings(), vec![app.clone()], false).unwrap();
    let clarim = Clarim::with_server(Settings::default(), server, &app);
    reads_a_history(&clarim).await;
    clarim.server().unwrap().stop();
}

#[tokio::test]
async fn other_connections_read_no_history() {
    let clarim = Clarim::new(Settings::default()).unwrap();
    let error = clarim.position("news").await.unwrap_err();
    assert!(error.to_string().contains("reads no histories"), "{error}");
}
