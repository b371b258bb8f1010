use axum::http::StatusCode;
use clarim::Channel;
use clarim::notification::BROADCAST_NOTIFICATION_CREATED;
use serde_json::{Value, json};

use crate::tests::{TestApp, Visitor};

async fn greet(user: &mut Visitor<'_>, to: i64, text: &str) -> (StatusCode, Value) {
    user.post("/api/notifications", json!({ "to": to, "text": text })).await
}

#[tokio::test]
async fn a_notification_is_stored_and_pushed() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    assert_eq!(greet(&mut ana, 2, " Bom dia ").await.0, StatusCode::NO_CONTENT);
    app.sent().await.assert_broadcast_as(BROADCAST_NOTIFICATION_CREATED, |sent| {
        sent.channels == [Channel::private("App.Models.User.2").unwrap()]
            && sent.data["text"] == "Bom dia"
    });
    let (_, list) = app.user("bruno").await.get("/api/notifications").await;
    assert_eq!(list[0]["type"], "App\\Notifications\\Greeting");
    assert_eq!(list[0]["data"], json!({ "from": "Ana Souza", "text": "Bom dia" }));
    assert_eq!(list[0]["read_at"], Value::Null);
}

#[tokio::test]
async fn reading_affects_every_page_of_the_user_and_no_other_user() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    for text in ["1", "2", "3"] {
        greet(&mut ana, 2, text).await;
    }
    let (_, list) = bruno.get("/api/notifications").await;
    let id = &list[1]["id"];
    let unread = async |bruno: &mut Visitor<'_>| {
        let (_, list) = bruno.get("/api/notifications").await;
        list.as_array().unwrap().iter().filter(|one| one["read_at"].is_null()).count()
    };
    ana.post("/api/notifications/read", json!({ "ids": [id] })).await;
    assert_eq!(unread(&mut bruno).await, 3, "another user's notification");
    bruno.post("/api/notifications/read", json!({ "ids": [id] })).await;
    assert_eq!(unread(&mut bruno).await, 2);
    bruno.post("/api/notifications/read", json!({ "ids": null })).await;
    assert_eq!(unread(&mut bruno).await, 0);
    let channel = [Channel::private("App.Models.User.2").unwrap()];
    app.sent().await.assert_broadcast_as("App\\Events\\NotificationsRead", |sent| {
        sent.channels == channel && sent.data["ids"] == json!([id])
    });
    app.sent().await.assert_broadcast_as("App\\Events\\NotificationsRead", |sent| {
        sent.channels == channel && sent.data["ids"].is_null()
    });
}

#[tokio::test]
async fn an_invalid_greeting_is_rejected() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let long = "x".repeat(201);
    for (to, text, field) in [(2, " ", "text"), (2, long.as_str(), "text"), (9, "oi", "to")] {
        let (status, answer) = greet(&mut ana, to, text).await;
        assert_eq!((status, &answer["field"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!(field)));
    }
    app.sent().await.assert_nothing_broadcast();
}

#[tokio::test]
async fn a_user_can_join_only_their_own_channel() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    assert_eq!(ana.join("private-App.Models.User.1").await, StatusCode::OK);
    assert_eq!(ana.join("private-App.Models.User.2").await, StatusCode::FORBIDDEN);
}
