mod hostile;

use axum::http::StatusCode;
use clarim::Channel;
use serde_json::{Value, json};
use yrs::updates::decoder::Decode as _;
use yrs::updates::encoder::Encode as _;
use yrs::{Doc, GetString as _, ReadTxn as _, StateVector, Text as _, Transact as _, Update};

use super::content::{MAX_UPDATE, decode, encode};
use crate::tests::{TestApp, Visitor};

/// A page with the document open.
struct Page(Doc);

impl Page {
    fn new() -> Self {
        Self(Doc::new())
    }

    /// Types at the end, and returns the update.
    fn types(&self, words: &str) -> String {
        let text = self.0.get_or_insert_text("text");
        let mut transaction = self.0.transact_mut();
        text.push(&mut transaction, words);
        encode(&transaction.encode_update_v1())
    }

    fn takes(&self, update: &Value) {
        let update = decode(update.as_str().unwrap()).unwrap();
        self.0.transact_mut().apply_update(Update::decode_v1(&update).unwrap()).unwrap();
    }

    fn state(&self) -> String {
        encode(&self.0.transact().state_vector().encode_v1())
    }

    /// The text and the sequence number that the backend has.
    async fn reads(user: &mut Visitor<'_>, document: i64) -> (String, i64) {
        let page = Self::new();
        let path = format!("/api/documents/{document}/sync");
        let (status, answer) = user.post(&path, json!({ "state": page.state() })).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        page.takes(&answer["update"]);
        let text = page.0.get_or_insert_text("text");
        (text.get_string(&page.0.transact()), answer["seq"].as_i64().unwrap())
    }
}

async fn save(user: &mut Visitor<'_>, update: &str) -> (StatusCode, Value) {
    user.post("/api/documents/1/updates", json!({ "update": update })).await
}

#[tokio::test]
async fn an_edit_is_stored_and_broadcast() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let update = Page::new().types("Olá");
    let (status, answer) = save(&mut ana, &update).await;
    assert_eq!((status, &answer), (StatusCode::OK, &json!({ "seq": 1 })));
    app.sent().await.assert_broadcast_as("App\\Events\\DocumentUpdated", |sent| {
        sent.channels == [Channel::presence("document.1").unwrap()]
            && sent.data == json!({ "seq": 1, "update": update })
    });
    assert_eq!(Page::reads(&mut bruno, 1).await, ("Olá".to_owned(), 1));
    assert_eq!(Page::reads(&mut bruno, 2).await, (String::new(), 0), "another document");
}

#[tokio::test]
async fn an_edit_that_is_sent_twice_is_applied_once() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let update = Page::new().types("uma vez");
    for _ in 0..2 {
        assert_eq!(save(&mut ana, &update).await.0, StatusCode::OK);
    }
    assert_eq!(Page::reads(&mut ana, 1).await.0, "uma vez");
}

#[tokio::test]
async fn state_vectors_find_missing_changes_on_both_sides() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let hers = Page::new();
    let his = Page::new();
    save(&mut ana, &hers.types("dela")).await;
    // An edit while disconnected.
    his.types("dele");
    let (_, answer) = bruno.post("/api/documents/1/sync", json!({ "state": his.state() })).await;
    his.takes(&answer["update"]);
    let known = StateVector::decode_v1(&decode(answer["state"].as_str().unwrap()).unwrap());
    let missing = his.0.transact().encode_state_as_update_v1(&known.unwrap());
    assert_eq!(save(&mut bruno, &encode(&missing)).await.0, StatusCode::OK);
    let text = Page::reads(&mut ana, 1).await.0;
    assert!(text == "deladele" || text == "deledela", "{text}");
}

#[tokio::test]
async fn updates_are_compacted_without_loss() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let page = Page::new();
    let mut expected = String::new();
    for n in 1..=205_i64 {
        let word = format!("{n} ");
        let (_, answer) = save(&mut ana, &page.types(&word)).await;
        assert_eq!(answer["seq"], n);
        expected.push_str(&word);
    }
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM document_updates")
        .fetch_one(&app.app().db)
        .await
        .unwrap();
    assert_eq!(rows, 5, "those since the last snapshot");
    assert_eq!(Page::reads(&mut ana, 1).await, (expected, 205));
}

#[tokio::test]
async fn concurrent_edits_are_all_stored() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let mut carla = app.user("carla").await;
    let a = Page::new().types("a");
    let b = Page::new().types("b");
    let c = Page::new().types("c");
    let answers = tokio::join!(save(&mut ana, &a), save(&mut bruno, &b), save(&mut carla, &c));
    let mut seqs: Vec<_> =
        [answers.0, answers.1, answers.2].map(|(_, answer)| answer["seq"].as_i64()).to_vec();
    seqs.sort_unstable();
    assert_eq!(seqs, [Some(1), Some(2), Some(3)]);
    let mut letters: Vec<char> = Page::reads(&mut ana, 1).await.0.chars().collect();
    letters.sort_unstable();
    assert_eq!(letters, ['a', 'b', 'c']);
}

#[tokio::test]
async fn a_long_update_is_announced_without_its_data() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let long = "muito ".repeat(2_000);
    save(&mut ana, &Page::new().types(&long)).await;
    app.sent().await.assert_broadcast_as("App\\Events\\DocumentUpdated", |sent| {
        sent.data == json!({ "seq": 1, "update": null })
    });
    assert_eq!(Page::reads(&mut ana, 1).await.0, long);
}

#[tokio::test]
async fn an_invalid_update_is_rejected_and_changes_nothing() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let page = Page::new();
    page.types("não chega");
    let later = page.types("depende do que falta");
    let too_long = encode(&vec![0; MAX_UPDATE + 1]);
    for (update, code) in [
        ("!", "malformed"),
        ("aGVsbG8gd29ybGQ=", "malformed"),
        ("", "malformed"),
        (later.as_str(), "incomplete"),
        (too_long.as_str(), "too_long"),
    ] {
        let (status, body) = save(&mut ana, update).await;
        assert_eq!((status.as_u16(), &body["code"]), (422, &json!(code)), "{update:.20}");
    }
    let (status, body) = ana.post("/api/documents/1/sync", json!({ "state": "////" })).await;
    assert_eq!((status.as_u16(), &body["code"]), (422, &json!("malformed")));
    assert_eq!(Page::reads(&mut ana, 1).await, (String::new(), 0));
    app.sent().await.assert_nothing_broadcast();
}

#[tokio::test]
async fn only_editors_have_access() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut carla = app.user("carla").await;
    let mut guest = app.guest().await;
    // Document 3 belongs to Bruno and Carla. Document 100 does not exist.
    for document in [3, 100] {
        for (what, body) in
            [("sync", json!({ "state": "AA==" })), ("updates", json!({ "update": "AAA=" }))]
        {
            let path = format!("/api/documents/{document}/{what}");
            assert_eq!(ana.post(&path, body.clone()).await.0, StatusCode::FORBIDDEN, "{path}");
            assert_eq!(guest.post(&path, body).await.0, StatusCode::UNAUTHORIZED, "{path}");
        }
        let channel = format!("presence-document.{document}");
        assert_eq!(ana.join(&channel).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(carla.join("presence-document.3").await, StatusCode::OK);
    assert_eq!(guest.join("presence-document.1").await, StatusCode::FORBIDDEN);
    let (_, list) = ana.get("/api/documents").await;
    assert_eq!(list.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_new_document_belongs_to_all_users() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut carla = app.user("carla").await;
    let (status, document) = ana.post("/api/documents", json!({ "title": " Ideias " })).await;
    assert_eq!((status, &document["title"]), (StatusCode::OK, &json!("Ideias")));
    app.sent().await.assert_broadcast_as("App\\Events\\DocumentCreated", |sent| {
        sent.channels == [Channel::private("documents").unwrap()]
            && sent.data["document"] == document
    });
    let (_, list) = carla.get("/api/documents").await;
    assert_eq!(list[0], document, "the newest first");
    for (title, code) in [(String::from(" "), "empty"), ("x".repeat(81), "too_long")] {
        let (status, body) = ana.post("/api/documents", json!({ "title": title })).await;
        assert_eq!((status.as_u16(), &body["code"]), (422, &json!(code)));
    }
}

#[tokio::test]
async fn editors_can_rename_and_delete_a_document() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let path = "/api/documents/3";
    let title = json!({ "title": " Rascunho 2 " });
    assert_eq!(ana.put(path, title.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(ana.delete(path).await, StatusCode::FORBIDDEN);
    assert_eq!(bruno.put(path, title).await.0, StatusCode::NO_CONTENT);
    let long = json!({ "title": "a".repeat(81) });
    assert_eq!(bruno.put(path, long).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, all) = bruno.get("/api/documents").await;
    assert!(all.as_array().unwrap().iter().any(|one| one["title"] == "Rascunho 2"), "{all}");

    let update = json!({ "update": Page::new().types("a") });
    assert_eq!(bruno.post("/api/documents/3/updates", update.clone()).await.0, StatusCode::OK);
    assert_eq!(bruno.delete(path).await, StatusCode::NO_CONTENT);
    let (_, all) = bruno.get("/api/documents").await;
    assert!(all.as_array().unwrap().iter().all(|one| one["id"] != 3), "{all}");
    let late = bruno.post("/api/documents/3/updates", update).await.0;
    assert_eq!(late, StatusCode::FORBIDDEN, "as for a document that does not exist");
    let changes = app.sent().await.sent();
    let is_change = |sent: &&clarim::Sent| sent.name == "App\\Events\\DocumentsChanged";
    assert_eq!(changes.iter().filter(is_change).count(), 2);
}
