use axum::http::StatusCode;
use serde_json::Value;

use super::{Language, Seed, fill};
use crate::notifications::notify_all;
use crate::tests::{TestApp, Visitor};

async fn list(user: &mut Visitor<'_>, path: &str) -> Vec<Value> {
    let (status, found) = user.get(path).await;
    assert_eq!(status, StatusCode::OK, "{path}: {found}");
    found.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_new_database_has_content_for_each_user_and_in_both_languages() {
    for language in [Language::English, Language::Portuguese] {
        let seed = Seed::Content(language);
        let app = TestApp::start_with(seed).await;
        notify_all(app.app(), language).await.unwrap();
        for login in ["ana", "bruno", "carla"] {
            let mut user = app.user(login).await;
            for conversation in list(&mut user, "/api/conversations").await {
                let id = &conversation["id"];
                let (_, page) = user.get(&format!("/api/conversations/{id}/messages")).await;
                let messages = page["messages"].as_array().unwrap();
                assert!(messages.len() > 1, "{page}");
                assert!(messages.is_sorted_by_key(|one| one["sent_at"].as_i64()), "{page}");
                if id == 1 {
                    assert_eq!(messages[4]["reactions"][0]["users"], serde_json::json!([1, 2]));
                }
                let read = conversation["read_seq"].as_i64().unwrap();
                let last = conversation["last_seq"].as_i64().unwrap();
                assert!((last - 1..=last).contains(&read), "{conversation}");
            }
            let notifications = list(&mut user, "/api/notifications").await;
            assert!(notifications.len() > 1, "{login}: {notifications:?}");
            let (_, metrics) = user.get("/api/metrics?range=3600").await;
            assert!(metrics["samples"].as_array().unwrap().len() > 100);
            let document = &list(&mut user, "/api/documents").await[0];
            assert!(document["edited_at"].as_i64() > Some(0), "{document}");
        }
        assert!(!fill(&app.app().db, seed).await.unwrap(), "only once");
    }
}
