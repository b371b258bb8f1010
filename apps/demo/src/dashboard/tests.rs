use axum::http::StatusCode;
use clarim::Channel;
use serde_json::{Value, json};

use super::{Probe, measure};
use crate::tests::{TestApp, Visitor};

/// The stored notifications of exceeded limits.
async fn notifications(user: &mut Visitor<'_>) -> Vec<Value> {
    let (_, stored) = user.get("/api/notifications").await;
    let stored = stored.as_array().unwrap().iter();
    let notifications = stored.filter(|one| one["type"] == "App\\Notifications\\LimitCrossed");
    notifications.map(|one| one["data"].clone()).collect()
}

#[tokio::test]
async fn samples_are_stored_and_broadcast() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let (_, empty) = ana.get("/api/metrics").await;
    assert_eq!(empty, json!({ "samples": [], "every": 30 }));
    let probe = Probe::new().unwrap();
    measure(app.app(), &probe).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    ana.post(
        "/api/conversations/1/messages",
        json!({ "id": "6f1f6f0e-6d0e-4b5c-8a43-0f6a3b1c7a10", "body": "Oi" }),
    )
    .await;
    measure(app.app(), &probe).await.unwrap();

    let (status, page) = ana.get("/api/metrics").await;
    assert_eq!(status, StatusCode::OK);
    let samples = page["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    assert!(samples[1]["memory"].as_f64().unwrap() > 1.0, "a process has memory: {page}");
    assert_eq!(samples[0]["activity"], 0.0);
    assert!(samples[1]["activity"].as_f64().unwrap() > 0.0, "a message was sent: {page}");
    assert_eq!(samples[0]["connections"], Value::Null, "without a server in this process");

    let after = format!("/api/metrics?after={}", samples[0]["at"]);
    let (_, newer) = ana.get(&after).await;
    assert_eq!(newer["samples"], json!([samples[1]]));
    app.sent().await.assert_broadcast_as("App\\Events\\MetricsUpdated", |sent| {
        sent.channels == [Channel::private("dashboard").unwrap()]
            && sent.data["sample"] == samples[1]
    });
}

#[tokio::test]
async fn a_range_has_averages_of_equal_periods() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    // A day of samples, one each 30 s.
    sqlx::query(
        "WITH RECURSIVE n(n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM n WHERE n < 2879)
         INSERT INTO metrics (at, cpu, memory, connections, activity, total)
         SELECT $1 - n * 30000, 10.0 + n % 2 * 20, 1.0, n, 0.0, 0 FROM n",
    )
    .bind(crate::database::now())
    .execute(&app.app().db)
    .await
    .unwrap();
    let (_, day) = ana.get("/api/metrics?range=86400").await;
    let samples = day["samples"].as_array().unwrap();
    assert!((500..=601).contains(&samples.len()), "{}", samples.len());
    assert!(samples.is_sorted_by_key(|one| one["at"].as_i64()));
    assert!(samples[1..499].iter().all(|one| (17.0..23.0).contains(&one["cpu"].as_f64().unwrap())));
    let (_, minutes) = ana.get("/api/metrics?range=300").await;
    let count = minutes["samples"].as_array().unwrap().len();
    assert!((9..=10).contains(&count), "{count}");
}

#[tokio::test]
async fn a_limit_notifies_once_until_the_value_was_below_it() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    let mut bruno = app.user("bruno").await;
    let probe = Probe::new().unwrap();
    let limit = json!({ "metric": "memory", "above": 1.0 });
    assert_eq!(ana.put("/api/metrics/limits", limit.clone()).await.0, StatusCode::NO_CONTENT);
    assert_eq!(ana.get("/api/metrics/limits").await.1, json!([limit]));
    assert_eq!(bruno.get("/api/metrics/limits").await.1, json!([]), "limits belong to one user");
    for _ in 0..3 {
        measure(app.app(), &probe).await.unwrap();
    }
    let first = notifications(&mut ana).await;
    assert_eq!(first.len(), 1);
    assert_eq!((&first[0]["metric"], &first[0]["above"]), (&json!("memory"), &json!(1.0)));
    assert_eq!(notifications(&mut bruno).await, Vec::<Value>::new());

    // A higher limit, so that the value is below it.
    let below = json!({ "metric": "memory", "above": 900_000.0 });
    ana.put("/api/metrics/limits", below).await;
    measure(app.app(), &probe).await.unwrap();
    assert_eq!(notifications(&mut ana).await.len(), 1);
    ana.put("/api/metrics/limits", limit).await;
    measure(app.app(), &probe).await.unwrap();
    assert_eq!(notifications(&mut ana).await.len(), 2);
    let none = json!({ "metric": "memory", "above": null });
    ana.put("/api/metrics/limits", none).await;
    assert_eq!(ana.get("/api/metrics/limits").await.1, json!([]));
}

#[tokio::test]
async fn an_invalid_limit_is_rejected() {
    let app = TestApp::start().await;
    let mut ana = app.user("ana").await;
    for limit in
        [json!({ "metric": "cpu", "above": -1 }), json!({ "metric": "cpu", "above": 1e300 })]
    {
        let (status, body) = ana.put("/api/metrics/limits", limit).await;
        assert_eq!((status.as_u16(), &body["code"]), (422, &json!("out_of_range")));
    }
    let unknown = json!({ "metric": "luck", "above": 1 });
    assert!(ana.put("/api/metrics/limits", unknown).await.0.is_client_error());
}

#[tokio::test]
async fn guests_cannot_read_metrics() {
    let app = TestApp::start().await;
    let mut guest = app.guest().await;
    for path in ["/api/metrics", "/api/metrics/limits"] {
        assert_eq!(guest.get(path).await.0, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(guest.join("private-dashboard").await, StatusCode::FORBIDDEN);
}
