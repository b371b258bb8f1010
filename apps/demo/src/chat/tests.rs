use axum::http::StatusCode;
use clarim::Channel;
use clarim::notification::BROADCAST_NOTIFICATION_CREATED;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::tests::{TestApp, Visitor};

async fn write(user: &mut Visitor<'_>, id: Uuid, body: &str) -> (StatusCode, Value) {
    user.post("/api/conversations/1/messages", json!({ "id": id, "body": body })).await
}

fn seqs(page: &Value) -> Vec<i64> {
    page["messages"].as_array().unwrap().iter().map(|one| one["seq"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_message_is_stored_and_broadcast() {
    let app = TestApp::start().await;
    let (status, message) = write(&mut app.user("ana").await, Uuid::new_v4(), " <b>Olá</b> ").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!((&message["seq"], &message["body"]), (&json!(1), &json!("<b>Olá</b>")));
    app.sent().await.assert_broadcast_as("App\\Events\\MessageSent", |sent| {
        sent.channels == [Channel::private("chat.1").unwrap()]
            && sent.data["message"]["author"] == 1
    });
    let (_, page) = app.user("bruno").await.get("/api/conversations/1/messages").await;
    assert_eq!(page["messages"], json!([message]));
}

#[tokio::test]
async fn a_message_that_is_sent_twice_is_stored_once() {
    let app = TestApp::start().await;
    let id = Uuid::new_v4();
    let mut first = app.user("ana").await;
    let mut second = app.user("ana").await;
    let (one, two) = tokio::join!(write(&mut first, id, "once"), write(&mut second, id, "once"));
    assert_eq!(one, two);
    let (_, next) = write(&mut first, Uuid::new_v4(), "next").await;
    assert_eq!(next["seq"], 2, "sequence numbers have no gaps");
    let (status, body) = write(&mut app.user("bruno").await, id, "mine").await;
    assert_eq!((status, &body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("taken")));
}

#[tokio::test]
async fn history_and_missed_messages_come_in_pages() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    for n in 1..=120 {
        write(&mut ana, Uuid::new_v4(), &n.to_string()).await;
    }
    let page = async |query: &str| {
        let path = format!("/api/conversations/1/messages{query}");
        let (_, page) = app.user("bruno").await.get(&path).await;
        (seqs(&page), page["has_more"].as_bool().unwrap())
    };
    assert_eq!(page("").await, ((71..=120).collect(), true));
    assert_eq!(page("?before=71").await, ((21..=70).collect(), true));
    assert_eq!(page("?before=21").await, ((1..=20).collect(), false));
    assert_eq!(page("?after=10").await, ((11..=60).collect(), true));
    assert_eq!(page("?after=118").await, (vec![119, 120], false));
    assert_eq!(page("?after=120").await, (vec![], false));
}

#[tokio::test]
async fn only_members_have_access() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    for id in [3, 99] {
        let path = format!("/api/conversations/{id}");
        let message = json!({ "id": Uuid::new_v4(), "body": "let me in" });
        let answers = [
            ana.get(&format!("{path}/messages")).await,
            ana.post(&format!("{path}/messages"), message).await,
            ana.post(&format!("{path}/read"), json!({ "seq": 1 })).await,
        ];
        for (status, body) in answers {
            assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
        }
        assert_eq!(ana.join(&format!("private-chat.{id}")).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(ana.join("private-chat.1").await, StatusCode::OK);
    assert_eq!(ana.join("presence-online").await, StatusCode::OK);
    let (_, list) = ana.get("/api/conversations").await;
    let ids: Vec<i64> =
        list.as_array().unwrap().iter().filter_map(|one| one["id"].as_i64()).collect();
    assert_eq!(ids, [1, 2, 4]);
    app.sent().await.assert_nothing_broadcast();
}

#[tokio::test]
async fn an_invalid_message_is_rejected() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    for (body, code) in [(" \n ", "empty"), ("x".repeat(2001).as_str(), "too_long")] {
        let (status, answer) = write(&mut ana, Uuid::new_v4(), body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!((&answer["field"], &answer["code"]), (&json!("body"), &json!(code)));
    }
    let (status, _) = write(&mut ana, Uuid::new_v4(), &"ç".repeat(2000)).await;
    assert_eq!(status, StatusCode::OK);
    let path = "/api/conversations/1/messages";
    let (status, _) = ana.post(path, json!({ "id": "1", "body": "x" })).await;
    assert!(status.is_client_error());
}

#[tokio::test]
async fn read_positions_are_broadcast_to_the_members() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    for _ in 0..3 {
        write(&mut ana, Uuid::new_v4(), "olá").await;
    }
    let (_, list) = bruno.get("/api/conversations").await;
    assert_eq!((&list[0]["last_seq"], &list[0]["read_seq"]), (&json!(3), &json!(0)));
    assert_eq!(list[0]["last_message"]["body"], "olá");
    let (_, list) = ana.get("/api/conversations").await;
    assert_eq!(list[0]["read_seq"], 3, "own messages are read");
    // Out of order, and beyond the last message.
    for seq in [2, 1, 9] {
        bruno.post("/api/conversations/1/read", json!({ "seq": seq })).await;
    }
    let (_, list) = bruno.get("/api/conversations").await;
    assert_eq!(list[0]["read_seq"], 2);
    let read: Vec<&Value> =
        list[0]["members"].as_array().unwrap().iter().map(|one| &one["read_seq"]).collect();
    assert_eq!(read, [3, 2, 0], "Ana, Bruno and Carla");
    app.sent().await.assert_broadcast_as("App\\Events\\ConversationRead", |sent| {
        sent.channels == [Channel::private("chat.1").unwrap()]
            && sent.data == json!({ "user": 2, "seq": 2 })
    });
}

#[tokio::test]
async fn a_mention_notifies_once() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let id = Uuid::new_v4();
    for _ in 0..2 {
        write(&mut ana, id, "Veja isto, @Bruno! (ana@carla.example, @ana)").await;
    }
    let told = async |login| app.user(login).await.get("/api/notifications").await.1;
    let bruno = told("bruno").await;
    assert_eq!(bruno.as_array().unwrap().len(), 1);
    assert_eq!(bruno[0]["data"]["from"], "Ana Souza");
    assert_eq!(told("carla").await, json!([]));
    assert_eq!(told("ana").await, json!([]));
    app.sent().await.assert_broadcast_as(BROADCAST_NOTIFICATION_CREATED, |sent| {
        sent.data["text"] == "Veja isto, @Bruno! (ana@carla.example, @ana)"
    });

    // The text is that of the message.
    let path = format!("/api/conversations/1/messages/{id}");
    ana.put(&path, json!({ "body": "@Bruno, veja" })).await;
    assert_eq!(told("bruno").await[0]["data"]["text"], "@Bruno, veja");
    ana.delete(&path).await;
    assert_eq!(told("bruno").await[0]["data"]["text"], "");
    let rows: Vec<String> = sqlx::query_scalar("SELECT data FROM notifications")
        .fetch_all(&app.app().db)
        .await
        .unwrap();
    assert!(rows.iter().all(|data| !data.contains("veja") && !data.contains("Veja")), "{rows:?}");
}

#[tokio::test]
async fn authors_edit_and_delete_their_messages() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let id = Uuid::new_v4();
    write(&mut ana, id, "Oi").await;
    let path = format!("/api/conversations/1/messages/{id}");
    let edit = |body: &str| json!({ "body": body });
    let (_, message) = ana.put(&path, edit(" Olá ")).await;
    assert_eq!((&message["body"], &message["version"]), (&json!("Olá"), &json!(1)));
    assert!(message["changed_at"].is_i64());
    app.sent().await.assert_broadcast_as("App\\Events\\MessageChanged", |sent| {
        sent.channels == [Channel::private("chat.1").unwrap()] && sent.data["message"] == message
    });
    // A repeated request is not a change.
    assert_eq!(ana.put(&path, edit("Olá")).await, (StatusCode::OK, message.clone()));
    assert_eq!(ana.put(&path, edit(" ")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(bruno.put(&path, edit("minha")).await.0, StatusCode::FORBIDDEN);
    assert_eq!(bruno.delete(&path).await, StatusCode::FORBIDDEN);
    let other = format!("/api/conversations/2/messages/{id}");
    assert_eq!(ana.put(&other, edit("outra conversa")).await.0, StatusCode::NOT_FOUND);
    let (_, page) = bruno.get("/api/conversations/1/messages").await;
    assert_eq!(page["messages"], json!([message]), "only the author's change is stored");

    bruno.put(&format!("{path}/reactions"), json!({ "emoji": "👍", "is_on": true })).await;
    assert_eq!(ana.delete(&path).await, StatusCode::OK);
    let (_, page) = bruno.get("/api/conversations/1/messages").await;
    let deleted = &page["messages"][0];
    assert_eq!((&deleted["body"], &deleted["reactions"]), (&json!(""), &json!([])));
    assert_eq!(ana.put(&path, edit("de volta")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn members_react_to_a_message() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let id = Uuid::new_v4();
    write(&mut ana, id, "Oi").await;
    write(&mut ana, Uuid::new_v4(), "Oi de novo").await;
    let path = format!("/api/conversations/1/messages/{id}/reactions");
    let react = |emoji: &str, is_on: bool| json!({ "emoji": emoji, "is_on": is_on });
    // A repeated request changes nothing.
    for _ in 0..2 {
        bruno.put(&path, react("👍", true)).await;
    }
    bruno.put(&path, react("🎉", true)).await;
    let (_, message) = ana.put(&path, react("👍", true)).await;
    assert_eq!(message["version"], 3, "without the repeated request");
    assert_eq!(message["changed_at"], Value::Null, "the text is as it was sent");
    let (_, message) = bruno.put(&path, react("🎉", false)).await;
    assert_eq!(message["reactions"], json!([{ "emoji": "👍", "users": [1, 2] }]));
    let (_, page) = ana.get("/api/conversations/1/messages").await;
    assert_eq!(page["messages"][0], message);
    assert_eq!(page["messages"][1]["reactions"], json!([]));

    assert_eq!(bruno.put(&path, react("<b>", true)).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let other = format!("/api/conversations/3/messages/{id}/reactions");
    assert_eq!(ana.put(&other, react("👍", true)).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_new_conversation_is_announced_to_its_members() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    ana.socket = Some("1.2");
    let key = Uuid::new_v4();
    let new =
        |title: &str, members: &[i64]| json!({ "key": key, "title": title, "members": members });
    // A request that is sent twice creates one conversation.
    for _ in 0..2 {
        let (_, id) = ana.post("/api/conversations", new(" Feira ", &[3, 1, 3])).await;
        assert_eq!(id, 5);
    }
    let (status, _) = app.user("bruno").await.post("/api/conversations", new("Feira", &[3])).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "another user's key");
    for user in [1, 3] {
        app.sent().await.assert_broadcast_as("App\\Events\\ConversationCreated", |sent| {
            sent.channels == [Channel::private(format!("App.Models.User.{user}")).unwrap()]
                && sent.data == json!({ "conversation": 5 })
                // The page that has created it knows it.
                && sent.except.as_ref().is_some_and(|socket| socket.to_string() == "1.2")
        });
    }
    let (_, list) = app.user("carla").await.get("/api/conversations").await;
    assert_eq!(list.as_array().unwrap().len(), 4);
    let last = list.as_array().unwrap().last().unwrap();
    assert_eq!((&last["title"], last["members"].as_array().unwrap().len()), (&json!("Feira"), 2));
    assert_eq!(app.user("bruno").await.join("private-chat.5").await, StatusCode::FORBIDDEN);
    for wrong in [new("Só eu", &[1]), new("", &[3]), new("Ninguém", &[99])] {
        let (status, _) = ana.post("/api/conversations", wrong).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}
