//! The server behind the application's own router.

use axum::Router;
use axum::routing::get;
use clarim::{Clarim, Settings};
use clarim_server::config::ServerConfig;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_websockets::{ClientBuilder, Message};

use crate::support::{Client, TIMEOUT, app, server_settings, settings_for};

fn embedded(settings: ServerConfig) -> (Clarim, Router) {
    let clarim = Clarim::embedded(settings, vec![app()]).unwrap();
    let router = Router::new().route("/", get(|| async { "home" })).merge(clarim.routes());
    (clarim, router)
}

/// Serves a router as documented, and returns the port.
async fn serve(router: Router) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(clarim::embedded::serve(listener, router, std::future::pending()));
    port
}

#[tokio::test]
async fn pages_clients_and_other_backends_share_one_port() {
    let (clarim, router) = embedded(server_settings());
    let port = serve(router).await;
    assert_eq!(clarim.server().unwrap().address(), None);
    let mut client = Client::connect(port).await;
    client.subscribe("private-orders.7").await;
    clarim.on(clarim::Channel::private("orders.7")).name("in.process").now().send().await.unwrap();
    assert_eq!(client.event().await.0, "in.process");
    let elsewhere = Clarim::new(settings_for(port)).unwrap();
    let news = clarim::Channel::private("orders.7");
    elsewhere.on(news).name("over.http").now().send().await.unwrap();
    assert_eq!(client.event().await.0, "over.http");
    let server = clarim.server().unwrap();
    assert_eq!(server.connections("123456"), 1);
    let mut page = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    page.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    page.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("home"), "{answer}");
    server.stop();
    assert_eq!(client.close_code().await, 4200);
}

#[tokio::test]
async fn a_graceful_shutdown_disconnects_clients_with_a_code() {
    let (clarim, router) = embedded(server_settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let signal = async { stopped.await.unwrap() };
    let serving = axum::serve(listener, router).with_graceful_shutdown(clarim.drained(signal));
    let served = tokio::spawn(async move { serving.await });
    let mut clients = [Client::connect(port).await, Client::connect(port).await];
    assert!(!served.is_finished());
    stop.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(client.close_code().await, 4200);
    }
    drop(clients);
    timeout(TIMEOUT, served).await.expect("it ends after its clients").unwrap().unwrap();
}

#[tokio::test]
async fn a_page_without_websockets_is_served() {
    let (clarim, router) = embedded(server_settings());
    let port = serve(router).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = "POST /pusher/app/reverb-key/1/abcdefgh/xhr_streaming HTTP/1.1\r\nhost: x\r\n\
        content-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut received = String::new();
    while !received.contains("pusher:connection_established") {
        let mut buffer = [0; 4096];
        let read = timeout(TIMEOUT, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "ended after {received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert_eq!(clarim.server().unwrap().connections("123456"), 1);
}

#[tokio::test]
async fn pages_with_an_id_are_served() {
    let (clarim, router) = embedded(server_settings());
    let port = serve(router).await;
    let uri = format!("ws://127.0.0.1:{port}/app/~page-1/app/reverb-key?protocol=7");
    let (mut ws, _) = ClientBuilder::new().uri(&uri).unwrap().connect().await.unwrap();
    let greeting = timeout(TIMEOUT, ws.next()).await.unwrap().unwrap().unwrap();
    assert!(greeting.as_text().unwrap().contains("pusher:connection_established"));
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request =
        "OPTIONS /pusher/~page-1/app/reverb-key/1/abcdefgh/xhr HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    timeout(TIMEOUT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 204");
    clarim.server().unwrap().stop();
}

#[tokio::test]
async fn a_frame_right_after_the_handshake_is_not_lost() {
    let (clarim, router) = embedded(server_settings());
    let port = serve(router).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut bytes =
        b"GET /app/reverb-key HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
    let ping = br#"{"event":"pusher:ping","data":{}}"#;
    bytes.extend([0x81, 0x80 | ping.len() as u8, 0, 0, 0, 0]);
    bytes.extend(ping);
    stream.write_all(&bytes).await.unwrap();
    let mut received = String::new();
    while !received.contains("pusher:pong") {
        let mut buffer = [0; 4096];
        let read = timeout(TIMEOUT, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "ended after {received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(received.starts_with("HTTP/1.1 101"), "{received}");
    assert!(received.contains("pusher:connection_established"), "{received}");
    clarim.server().unwrap().stop();
}

#[tokio::test]
async fn a_prefix_is_part_of_the_signed_path() {
    let settings = server_settings().path("/ws");
    let (clarim, router) = embedded(settings);
    let port = serve(router).await;
    let elsewhere = Clarim::new(settings_for(port).path("/ws")).unwrap();
    elsewhere.on("news").name("heard").now().send().await.unwrap();
    let error = Clarim::new(settings_for(port)).unwrap().on("news").name("x").now().send().await;
    assert!(error.unwrap_err().to_string().contains("404"));
    clarim.server().unwrap().stop();
}

#[tokio::test]
async fn a_refused_client_gets_the_error() {
    let (clarim, router) = embedded(server_settings());
    let port = serve(router).await;
    let uri = format!("ws://127.0.0.1:{port}/app/nobody?protocol=7");
    let (mut ws, _) = ClientBuilder::new().uri(&uri).unwrap().connect().await.unwrap();
    let mut messages = Vec::new();
    while let Some(Ok(message)) = timeout(TIMEOUT, ws.next()).await.unwrap() {
        messages.push(message);
    }
    let error: Value = serde_json::from_str(messages[0].as_text().unwrap()).unwrap();
    assert_eq!(error["data"]["code"], 4001);
    assert_eq!(u16::from(messages[1].as_close().unwrap().0), 4001);
    clarim.server().unwrap().stop();
}

/// A stream other than a TCP socket can't be registered with a worker's poll, and is bridged.
#[tokio::test]
async fn streams_other_than_tcp_sockets_are_served() {
    let (clarim, router) = embedded(server_settings());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let stream = UnixStream::connect(&path).await.unwrap();
    let builder = ClientBuilder::new().uri("ws://localhost/app/reverb-key?protocol=7").unwrap();
    let (mut ws, _) = builder.connect_on(stream).await.unwrap();
    let greeting = timeout(TIMEOUT, ws.next()).await.unwrap().unwrap().unwrap();
    assert!(greeting.as_text().unwrap().contains("pusher:connection_established"));
    let subscribe = json!({ "event": "pusher:subscribe", "data": { "channel": "news" } });
    ws.send(Message::text(subscribe.to_string())).await.unwrap();
    let answer = timeout(TIMEOUT, ws.next()).await.unwrap().unwrap().unwrap();
    assert!(answer.as_text().unwrap().contains("subscription_succeeded"));
    clarim.on("news").name("heard").now().send().await.unwrap();
    let event = timeout(TIMEOUT, ws.next()).await.unwrap().unwrap().unwrap();
    assert!(event.as_text().unwrap().contains("heard"));
    clarim.server().unwrap().stop();
}

#[tokio::test]
async fn without_an_embedded_server_there_are_no_routes() {
    let clarim = Clarim::new(Settings::default()).unwrap();
    assert!(!clarim.routes::<()>().has_routes());
}

#[tokio::test]
async fn the_server_of_applications_gives_up_on_requests_that_do_not_arrive() {
    let (clarim, router) = embedded(server_settings());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(async move {
        clarim::embedded::serve(listener, router, async { drop(stopped.await) }).await;
    });
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"GET /app/reverb-key HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let uri = format!("ws://{address}/app/reverb-key?protocol=7");
    let (mut ws, _) = ClientBuilder::new().uri(&uri).unwrap().connect().await.unwrap();
    let greeting = timeout(TIMEOUT, ws.next()).await.unwrap().unwrap().unwrap();
    assert!(greeting.as_text().unwrap().contains("pusher:connection_established"));
    // The end of the connection, or a response before it.
    let mut rest = Vec::new();
    timeout(6 * TIMEOUT, half.read_to_end(&mut rest)).await.unwrap().unwrap();
    clarim.server().unwrap().stop();
    stop.send(()).unwrap();
    timeout(6 * TIMEOUT, serving).await.unwrap().unwrap();
}
