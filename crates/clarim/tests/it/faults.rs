//! Errors, as an application sees them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use clarim::{Broadcast, Channel, Clarim, Connection, Error, Settings};
use clarim_server::Server;
use clarim_testing::Certificate;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{World, app, log, server_settings, settings_for};

async fn publish(settings: Settings) -> Result<(), Error> {
    Clarim::new(settings).unwrap().on("news").name("x").with(json!({})).now().send().await
}

/// A port that no program listens on.
async fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// A fake server. Returns its number of requests and its port.
async fn answering<F>(answer: F) -> (Arc<AtomicUsize>, u16)
where
    F: Fn(usize) -> Response + Clone + Send + Sync + 'static,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let router = Router::new().fallback(move || {
        let answer = answer(count.fetch_add(1, Ordering::SeqCst) + 1);
        async move { answer }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (asked, port)
}

#[tokio::test]
async fn an_error_about_a_server_that_is_down_names_port_and_cause() {
    let port = closed_port().await;
    let started = Instant::now();
    let error = publish(settings_for(port)).await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(200), "there are three attempts");
    assert!(started.elapsed() < settings_for(port).timeout);
    assert!(error.is_temporary());
    let text = error.to_string();
    assert!(text.starts_with(&format!("cannot publish to 127.0.0.1:{port}: ")), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let timeout = Duration::from_millis(200);
    let error = publish(settings_for(port).timeout(timeout)).await.unwrap_err();
    assert!(error.is_temporary());
    let expected = format!("cannot publish to 127.0.0.1:{port}: no answer within 200ms");
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_busy_server_is_retried_after_the_time_in_its_answer() {
    let busy_once = |n| match n {
        1 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")], "busy").into_response(),
        _ => "{}".into_response(),
    };
    let (asked, port) = answering(busy_once).await;
    publish(settings_for(port)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_wrong_clock_and_an_app_that_is_not_there_yet_are_temporary() {
    let expired = "Timestamp expired: Given timestamp (1) not within 600s of server time (2000)";
    let (_, port) = answering(move |_| (StatusCode::UNAUTHORIZED, expired).into_response()).await;
    assert!(publish(settings_for(port)).await.unwrap_err().is_temporary());
    let other = World::start_with(clarim_server::App::new("7", "reverb-key", "reverb-secret"));
    let error = publish(other.settings()).await.unwrap_err();
    assert!(error.to_string().contains("answered 404"), "{error}");
    assert!(error.is_temporary());
    let other = World::start_with(clarim_server::App::new("123456", "reverb-key", "another"));
    let error = publish(other.settings()).await.unwrap_err();
    assert!(error.to_string().contains("answered 401"), "{error}");
    assert!(!error.is_temporary());
}

#[tokio::test]
async fn nothing_else_is_retried() {
    for (status, retry_after) in [(503, None), (503, Some("3600")), (500, Some("0")), (401, None)] {
        let answer = move |_| {
            let status = StatusCode::from_u16(status).unwrap();
            let mut response = (status, "because\n").into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert("retry-after", seconds.parse().unwrap());
            }
            response
        };
        let (asked, port) = answering(answer).await;
        let error = publish(settings_for(port)).await.unwrap_err();
        assert_eq!(error.to_string(), format!("127.0.0.1:{port} answered {status}: because"));
        assert_eq!(error.is_temporary(), status >= 500);
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{status} {retry_after:?}");
    }
}

#[tokio::test]
async fn connections_are_reused() {
    let connections = Arc::new(AtomicUsize::new(0));
    let count = connections.clone();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = listener.tap_io(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let router = Router::new().fallback(async || "{}");
    tokio::spawn(async move { axum::serve(listener, router).await });
    let clarim = Clarim::new(settings_for(port)).unwrap();
    for _ in 0..10 {
        clarim.on("news").now().send().await.unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_untrusted_certificate_is_the_cause() {
    let certificate = Certificate::new();
    let tls = Some(clarim_server::config::Tls::new(&certificate.file, &certificate.key));
    let settings = server_settings().tls(tls);
    let server = Server::start(settings, vec![app()], false).unwrap();
    let port = server.address().unwrap().port();
    let error = publish(settings_for(port).https(true)).await.unwrap_err();
    let text = error.to_string();
    let expected =
        format!("cannot publish to 127.0.0.1:{port}: invalid peer certificate: UnknownIssuer");
    assert_eq!(text, expected);
    server.stop();
}

#[tokio::test]
async fn a_wrong_secret_is_reported_in_the_servers_words() {
    let world = World::start();
    let port = world.0.address().unwrap().port();
    let settings = Settings::http("123456", "reverb-key", "wrong").port(port);
    let error = publish(settings).await.unwrap_err();
    assert!(!error.is_temporary());
    assert!(error.to_string().contains("answered 401: Invalid signature"), "{error}");
}

#[tokio::test]
async fn a_payload_over_the_limit_is_refused_before_anything_is_sent() {
    let port = closed_port().await;
    let clarim = Clarim::new(settings_for(port).max_data_bytes(20)).unwrap();
    let event = || clarim.on("news").name("big").with("x".repeat(19)).now();
    let error = event().send().await.unwrap_err();
    assert_eq!(error.code(), "payload_too_large");
    let text = error.to_string();
    assert_eq!(format!("{error:?}"), text, "`main` prints the debug output");
    assert!(text.starts_with("the data of big has 21 bytes, the limit is 20; "), "{text}");
    assert!(!error.is_temporary());
    event().queued().send().await.unwrap_err();
}

#[derive(Serialize, Broadcast)]
#[broadcast(channel = "news", now)]
struct Rescued;

#[tokio::test]
async fn rescue_logs_and_does_not_fail() {
    let log = log();
    let port = closed_port().await;
    let clarim = Clarim::new(settings_for(port)).unwrap();
    clarim.on("news").name("said").now().rescue().await;
    clarim.broadcast(Rescued).rescue().await;
    let log = log();
    let error = format!("error=cannot publish to 127.0.0.1:{port}");
    for event in ["said", r"App\\Events\\Rescued"] {
        let expected = format!("broadcast failed event=\"{event}\" {error}");
        assert!(log.contains(&expected), "{expected}:\n{log}");
    }
}

#[tokio::test]
async fn the_log_publisher_logs_event_channels_and_data() {
    let log = log();
    let mut settings = Settings::default();
    settings.connection = Connection::Log;
    let clarim = Clarim::new(settings).unwrap();
    clarim.on("news").name("said").with("Olá").now().send().await.unwrap();
    let log = log();
    assert!(log.contains(r#"broadcast event="said" channels=["news"] data="\"Olá\"""#), "{log}");
}

#[tokio::test]
async fn invalid_names_and_missing_keys_are_errors() {
    let clarim = Clarim::new(Settings::default()).unwrap();
    let bad = clarim.on(Channel::private("orders:7")).send().await.unwrap_err();
    let text = bad.to_string();
    assert!(
        text.starts_with("invalid channel name \"private-orders:7\": a channel name"),
        "{text}"
    );
    let queued = clarim.on("news").and("no channel!").send().await.unwrap_err();
    assert_eq!(queued.code(), "invalid_channel");
    let key = clarim.on(Channel::encrypted("vault")).send().await.unwrap_err();
    assert!(key.to_string().contains("PUSHER_ENCRYPTION_MASTER_KEY_BASE64"), "{key}");
    assert!(!bad.is_temporary() && !key.is_temporary());
}

#[tokio::test]
async fn an_embedded_server_that_cannot_start_reports_the_cause() {
    let none = Clarim::embedded(server_settings(), vec![]).unwrap_err();
    assert!(none.to_string().starts_with("embedded server: it has no app; "), "{none}");
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = server_settings().port(port);
    let error = Server::start(settings, vec![app()], false).unwrap_err().to_string();
    let expected = format!("cannot listen on 127.0.0.1:{port}: the address is already in use");
    assert!(error.starts_with(&expected), "{error}");
}

#[tokio::test]
async fn the_embedded_server_checks_events_like_its_api() {
    let mut app = app();
    app.limits.channel_name_bytes = 10;
    let clarim = Clarim::embedded(server_settings(), vec![app]).unwrap();
    let error = clarim.on("a-name-too-long").now().send().await.unwrap_err();
    assert!(error.to_string().contains("has 15 bytes, the maximum is 10"), "{error}");
    assert_eq!((error.code(), error.is_temporary()), ("embedded_server", false));
    assert!(std::error::Error::source(&error).is_some());
    clarim.server().unwrap().stop();
}
