//! Events whose answer was lost: they are sent again, and heard once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse;
use clarim::{Clarim, Delivery};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{World, settings_for};

/// Passes a request on, and returns the server's whole response.
async fn pass_on(port: u16, uri: &Uri, body: &[u8]) -> String {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let length = body.len();
    let head = format!(
        "POST {uri} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    server.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut response = String::new();
    server.read_to_string(&mut response).await.unwrap();
    response
}

/// A proxy to the server on this port that loses two of three answers. Returns its port and the number of
/// requests.
async fn losing_proxy(port: u16) -> (u16, Arc<AtomicUsize>) {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let router = Router::new().fallback(move |uri: Uri, body: Bytes| async move {
        let response = pass_on(port, &uri, &body).await;
        assert!(response.starts_with("HTTP/1.1 200"), "{response}");
        match count.fetch_add(1, Ordering::SeqCst) % 3 {
            2 => StatusCode::OK.into_response(),
            _ => StatusCode::BAD_GATEWAY.into_response(),
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (proxy, requests)
}

#[tokio::test]
async fn an_event_whose_answer_was_lost_is_heard_once() {
    const EVENTS: usize = 50;
    let world = World::start();
    let mut client = world.connect().await;
    client.subscribe("news").await;
    let (proxy, requests) = losing_proxy(world.0.address().unwrap().port()).await;
    let clarim = Clarim::new(settings_for(proxy)).unwrap();
    for n in 0..EVENTS {
        let delivery = Delivery::queued().tries(10).backoff([Duration::from_millis(1)]);
        let event = clarim.on("news").name("n").with(json!(n)).delivery(delivery);
        event.send().await.unwrap();
    }
    clarim.idle().await;
    assert_eq!(requests.load(Ordering::SeqCst), 3 * EVENTS);
    for n in 0..EVENTS {
        assert_eq!(client.event().await.2, json!(n));
    }
    client.expect_nothing().await;
}
