//! The values of `/metrics`.

use std::time::Duration;

use clarim_hub::app::{HistoryRule, Origins, RateLimit};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::raw::{CLOSE, Raw};
use crate::support::{Harness, Setup, app, app_with, eventually, start, within};

pub(crate) const TOKEN: &str = "0123456789abcdef";

pub(crate) fn counted() -> Harness {
    Setup { metrics_token: Some(TOKEN), ..Setup::default() }.start(vec![app()])
}

/// Requests the metrics and returns the complete response.
pub(crate) async fn ask(server: &Harness, authorization: &str) -> String {
    let mut stream = server.dial().await;
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// A response with metrics, whose values have a name and labels.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) async fn of(server: &Harness) -> Self {
        let answer = ask(server, &format!("Bearer {TOKEN}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        Self(answer)
    }

    pub(crate) fn value(&self, name: &str) -> f64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{}", self.0)).parse().unwrap()
    }
}

/// Polls until the metric has the value.
pub(crate) async fn becomes(server: &Harness, name: &str, value: f64) {
    within(async {
        while Metrics::of(server).await.value(name) != value {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn metrics_need_the_token() {
    let server = counted();
    for wrong in ["", "Bearer", "Bearer 0123456789abcde", "Basic 0123456789abcdef", "Bearer é"] {
        let answer = ask(&server, wrong).await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{wrong:?}: {answer}");
    }
    Metrics::of(&server).await;
    let closed = start();
    assert!(ask(&closed, &format!("Bearer {TOKEN}")).await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn connections_channels_and_members_come_and_go() {
    let server = counted();
    let mut ana = server.connect().await;
    let mut rui = server.connect().await;
    ana.subscribe("news").await;
    ana.subscribe("private-orders").await;
    rui.subscribe("news").await;
    ana.join("presence-room", 1).await;
    rui.join("presence-room", 1).await;
    let metrics = Metrics::of(&server).await;
    for (name, value) in [
        ("clarim_connections{app=\"123456\"}", 2.0),
        ("clarim_connections_opened_total", 2.0),
        ("clarim_channels{kind=\"public\"}", 1.0),
        ("clarim_channels{kind=\"private\"}", 1.0),
        ("clarim_channels{kind=\"presence\"}", 1.0),
        ("clarim_subscriptions", 5.0),
        ("clarim_presence_members", 1.0),
        ("clarim_messages_received_total", 5.0),
    ] {
        assert_eq!(metrics.value(name), value, "{name}");
    }
    drop((ana, rui));
    server.becomes_empty().await;
    let metrics = Metrics::of(&server).await;
    for name in
        ["clarim_channels{kind=\"presence\"}", "clarim_subscriptions", "clarim_presence_members"]
    {
        assert_eq!(metrics.value(name), 0.0, "{name}");
    }
}

#[tokio::test]
async fn every_event_and_every_frame_is_counted() {
    let server = counted();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    // A frame is counted after it is sent. The greeting was sent with the handshake response.
    becomes(&server, "clarim_frames_sent_total", 3.0).await;
    let before = Metrics::of(&server).await;
    for _ in 0..10 {
        server.publish("news", "e", &json!({})).await;
    }
    for client in &mut clients {
        for _ in 0..10 {
            client.receive().await;
        }
    }
    let name = "clarim_frames_sent_total";
    becomes(&server, name, before.value(name) + 30.0).await;
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.value("clarim_events_published_total"), 10.0);
    assert_eq!(metrics.value("clarim_publish_seconds_count"), 10.0);
    let bytes = "clarim_sent_bytes_total";
    assert!(metrics.value(bytes) >= before.value(bytes) + 30.0 * 40.0);
}

#[tokio::test]
async fn closed_connections_are_counted_by_cause() {
    let server = counted();
    let mut refused = server.open("/app/nobody?protocol=7", &[]).await;
    refused.expect_error(4001).await;
    becomes(&server, "clarim_connections_refused_total{code=\"4001\"}", 1.0).await;
    drop(server.connect().await);
    becomes(&server, "clarim_connections_closed_total{by=\"lost\"}", 1.0).await;
    let mut polite = Raw::websocket(&server).await;
    polite.send_frame(CLOSE, &1000_u16.to_be_bytes()).await;
    becomes(&server, "clarim_connections_closed_total{by=\"client\"}", 1.0).await;
    let mut violating = Raw::websocket(&server).await;
    let _ = violating.try_send(&[0xff; 16]).await;
    becomes(&server, "clarim_connections_closed_total{by=\"server\"}", 1.0).await;
    eventually(|| server.running().connections("123456") == 0).await;
}

#[tokio::test]
async fn refused_connections_are_counted_by_code() {
    let mut app = app();
    app.origins = Origins::new(["shop.example"]);
    app.limits.connections = Some(1);
    let server = Setup { metrics_token: Some(TOKEN), ..Setup::default() }.start(vec![app]);
    let _only = server.connect().await;
    let path = "/app/reverb-key?protocol=7";
    let evil = [("origin", "https://evil.example")];
    for (code, path, headers) in [
        (4001, "/app/nobody?protocol=7", &[][..]),
        (4004, path, &[]),
        (4007, "/app/reverb-key?protocol=9", &[]),
        (4009, path, &evil),
    ] {
        server.open(path, headers).await.expect_error(code).await;
        let name = format!("clarim_connections_refused_total{{code=\"{code}\"}}");
        becomes(&server, &name, 1.0).await;
    }
    assert_eq!(Metrics::of(&server).await.value("clarim_connections_opened_total"), 1.0);
}

#[tokio::test]
async fn rejected_requests_are_counted_by_reason() {
    let mut app = app();
    app.rate_limit = Some(RateLimit::new(5, Duration::from_secs(600)));
    let server = Setup { metrics_token: Some(TOKEN), ..Setup::default() }.start(vec![app]);
    let mut client = server.connect().await;
    client.subscribe("news").await;
    for message in [
        json!({ "event": "pusher:subscribe", "data": { "channel": "private-x", "auth": "k:s" } }),
        json!({ "event": "pusher:subscribe", "data": { "channel": "no name" } }),
        json!({ "event": "pusher:subscribe", "data": { "channel": "news" } }),
        json!({ "event": "client-x", "channel": "news", "data": {} }),
        // The sixth message is one too many.
        json!({ "event": "pusher:ping", "data": {} }),
    ] {
        client.send(&message).await;
    }
    for why in ["auth", "channel", "duplicate", "client_event", "rate"] {
        becomes(&server, &format!("clarim_messages_rejected_total{{why=\"{why}\"}}"), 1.0).await;
    }
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.value("clarim_messages_rejected_total{why=\"limit\"}"), 0.0);
    assert!(ask(&server, "Bearer wrong").await.starts_with("HTTP/1.1 401"));
    becomes(&server, "clarim_http_errors_total{status=\"401\"}", 1.0).await;
}

#[tokio::test]
async fn exceeded_limits_and_unreadable_messages_are_counted_separately() {
    let mut app = app();
    app.limits.channels_per_connection = 1;
    let server = Setup { metrics_token: Some(TOKEN), ..Setup::default() }.start(vec![app]);
    let mut client = server.connect().await;
    client.subscribe("news").await;
    client.ask("one-too-many", None).await;
    client.send_text("not JSON").await;
    for (why, count) in [("limit", 1.0), ("malformed", 1.0), ("channel", 0.0), ("rate", 0.0)] {
        let name = format!("clarim_messages_rejected_total{{why=\"{why}\"}}");
        becomes(&server, &name, count).await;
    }
}

#[tokio::test]
async fn requests_are_counted_by_status_class() {
    let server = counted();
    let before = Metrics::of(&server).await;
    let _client = server.connect().await;
    server.publish("news", "e", &json!({})).await;
    assert_eq!(server.request("GET", "/nowhere", b"").await.status, 404);
    assert_eq!(server.api().post("/events", &json!({ "name": "e" })).await.status, 422);
    let metrics = Metrics::of(&server).await;
    // The first request for metrics was counted after its own values were read.
    for (class, more) in [("1xx", 1.0), ("2xx", 2.0), ("3xx", 0.0), ("4xx", 2.0), ("5xx", 0.0)] {
        let name = format!("clarim_http_requests_total{{status=\"{class}\"}}");
        assert_eq!(metrics.value(&name), before.value(&name) + more, "{class}");
    }
    for status in [404, 422] {
        let name = format!("clarim_http_errors_total{{status=\"{status}\"}}");
        assert_eq!(metrics.value(&name), 1.0, "{status}");
    }
}

#[tokio::test]
async fn the_time_of_a_publish_is_in_its_bucket_and_in_the_sum() {
    let server = counted();
    for _ in 0..3 {
        server.publish("news", "e", &json!({})).await;
    }
    let metrics = Metrics::of(&server).await;
    assert_eq!(metrics.value("clarim_publish_seconds_bucket{le=\"+Inf\"}"), 3.0);
    assert_eq!(metrics.value("clarim_publish_seconds_count"), 3.0);
    // These never wait, so they are never slower than the last bucket but one.
    assert_eq!(metrics.value("clarim_publish_seconds_bucket{le=\"2.0\"}"), 3.0);
    let sum = metrics.value("clarim_publish_seconds_sum");
    assert!(sum > 0.0 && sum < 6.0, "{sum}");
}

#[tokio::test]
async fn the_delivery_latency_is_measured() {
    let server = counted();
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut client = server.connect().await;
        client.subscribe("news").await;
        clients.push(client);
    }
    let name = "clarim_delivery_lag_seconds_count";
    // Subscriptions pass through the inboxes too.
    becomes(&server, name, 300.0).await;
    let before = Metrics::of(&server).await;
    server.publish("news", "e", &json!({})).await;
    for client in &mut clients {
        client.receive().await;
    }
    // Once for each of the two workers, when it has written to the last of its sockets.
    becomes(&server, name, 302.0).await;
    let metrics = Metrics::of(&server).await;
    let name = "clarim_delivery_lag_seconds_sum";
    let took = metrics.value(name) - before.value(name);
    assert!(took > 0.0 && took < 4.0, "{took}");
    assert_eq!(metrics.value("clarim_delivery_lag_seconds_bucket{le=\"+Inf\"}"), 302.0);
}

#[tokio::test]
async fn version_memory_and_limits_of_the_process_are_reported() {
    let metrics = Metrics::of(&counted()).await;
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(metrics.value(&format!("clarim_build_info{{version=\"{version}\"}}")), 1.0);
    // The server runs in the process of the tests.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let open_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let open_files = open_files.unwrap().split_whitespace().next().unwrap();
    assert_eq!(metrics.value("process_max_fds"), open_files.parse::<f64>().unwrap());
    let resident = metrics.value("process_resident_memory_bytes");
    assert!(resident > f64::from(1 << 20), "{resident}");
}

#[tokio::test]
async fn histories_and_repeated_events_are_counted() {
    let app = app_with(|app| app.history = vec![HistoryRule::new("news")]);
    let server = Setup { metrics_token: Some(TOKEN), ..Setup::default() }.start(vec![app]);
    let body = json!({ "name": "e", "channel": "news", "data": "{}", "idempotency_key": "a" });
    for _ in 0..2 {
        assert_eq!(server.api().post("/events", &body).await.status, 200);
    }
    let epoch = server.api().read("/channels/news/position", "").await["epoch"].clone();
    for epoch in [epoch, "1".into()] {
        let mut client = server.connect().await;
        let data = json!({ "channel": "news", "since": { "epoch": epoch, "offset": 0 } });
        client.send(&json!({ "event": "pusher:subscribe", "data": data })).await;
        client.receive().await;
    }
    let metrics = Metrics::of(&server).await;
    for (name, value) in [
        ("clarim_history_recoveries_total", 1.0),
        ("clarim_history_events_replayed_total", 1.0),
        (r#"clarim_history_gaps_total{reason="epoch"}"#, 1.0),
        (r#"clarim_history_gaps_total{reason="expired"}"#, 0.0),
        ("clarim_idempotency_repeats_total", 1.0),
        ("clarim_idempotency_keys_forgotten_total", 0.0),
    ] {
        assert_eq!(metrics.value(name), value, "{name}");
    }
    assert!(metrics.value("clarim_history_bytes") > 0.0);
}
