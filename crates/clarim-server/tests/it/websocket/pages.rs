//! Pages that name an id in the path: over WebSockets and the fallback transports.

use std::time::Duration;

use bytes::Bytes;
use clarim_hub::app::HistoryRule;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::support::{Client, Harness, eventually, start, start_with, within};

const PAGE: &str = "/app/~page-1/app/reverb-key?protocol=7";

fn with_history() -> Harness {
    start_with(|app| app.history = vec![HistoryRule::new("*")])
}

async fn connect(server: &Harness) -> Client {
    let mut client = server.open(PAGE, &[]).await;
    client.greeted().await;
    client
}

/// Subscribes to `news`. Returns the data of the confirmation.
async fn subscribe(client: &mut Client) -> Value {
    client.ask("news", None).await;
    client.receive().await["data"]["$text"].clone()
}

/// The offset of the next event.
async fn offset(client: &mut Client) -> Value {
    client.receive().await["offset"].clone()
}

async fn publish(server: &Harness, n: u32) {
    server.publish("news", "e", &json!(n)).await;
}

async fn all_gone(server: &Harness) {
    eventually(|| server.running().connections("123456") == 0).await;
}

#[tokio::test]
async fn a_page_that_is_back_gets_what_its_websocket_has_not_acknowledged() {
    let server = with_history();
    let mut client = connect(&server).await;
    assert_eq!(subscribe(&mut client).await["recovered"], false);
    publish(&server, 1).await;
    assert_eq!(offset(&mut client).await, 1);
    client.pinged().await;
    client.expect_nothing().await;
    publish(&server, 2).await;
    assert_eq!(offset(&mut client).await, 2);
    let id = client.id.clone();
    drop(client);
    all_gone(&server).await;
    publish(&server, 3).await;

    let mut client = connect(&server).await;
    assert_eq!(client.id, id);
    let start = subscribe(&mut client).await;
    assert_eq!((&start["recovered"], &start["missed"]), (&json!(true), &json!(2)));
    assert_eq!(offset(&mut client).await, 2);
    assert_eq!(offset(&mut client).await, 3);
    let body = json!({ "name": "e", "channel": "news", "data": "4", "socket_id": id });
    assert_eq!(server.api().post("/events", &body).await.status, 200);
    client.expect_nothing().await;

    // The older of two connections is closed.
    let mut second = connect(&server).await;
    assert_ne!(second.id, id);
    client.expect_error(4200).await;
    client.expect_close(4200).await;
    assert_eq!(subscribe(&mut second).await["recovered"], true);
    drop((client, second));
    all_gone(&server).await;
}

#[tokio::test]
async fn invalid_page_ids_are_refused() {
    let server = start();
    let long = "x".repeat(10_000);
    for (id, status) in [("~", 400), ("~a.b", 400), ("~a%20b", 400), ("a", 404)]
        .into_iter()
        .chain([(format!("~{long}").as_str(), 400)])
    {
        let socket = format!("/app/{id}/app/reverb-key");
        let session = format!("/pusher/{id}/app/reverb-key/7/abcdefgh/xhr");
        for (method, target) in [("GET", socket), ("POST", session)] {
            let reply = server.request(method, &target, b"").await;
            assert_eq!(reply.status, status, "{method} {target}");
            if status == 400 {
                assert!(reply.text.contains("1 to 64 characters"), "{}", reply.text);
            }
        }
    }
}

/// A page without a WebSocket.
struct Session<'a> {
    server: &'a Harness,
    path: &'static str,
}

impl Session<'_> {
    async fn say(&self, message: &Value) {
        let body = json!([message.to_string()]).to_string();
        let target = format!("{}/xhr_send?t=1", self.path);
        assert_eq!(self.server.request("POST", &target, body.as_bytes()).await.status, 204);
    }

    async fn subscribe(&self) {
        self.say(&json!({ "event": "pusher:subscribe", "data": { "channel": "news" } })).await;
    }

    /// The messages of the next response.
    async fn poll(&self) -> Vec<Value> {
        let text = self.server.request("POST", &format!("{}/xhr", self.path), b"").await.text;
        messages(&text)
    }

    async fn stream(&self) -> Lines {
        let stream = self.server.dial().await;
        let (mut sender, connection) =
            within(http1::handshake(TokioIo::new(stream))).await.unwrap();
        tokio::spawn(connection);
        let target = format!("{}/xhr_streaming", self.path);
        let request = Request::post(target).header(HOST, "localhost");
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        Lines { body: response.into_body(), text: String::new() }
    }
}

/// The messages of a line.
fn messages(line: &str) -> Vec<Value> {
    let Some(messages) = line.strip_prefix('a') else { return Vec::new() };
    let messages: Vec<String> = serde_json::from_str(messages).unwrap();
    messages.iter().map(|message| serde_json::from_str(message).unwrap()).collect()
}

/// The response to a streaming request.
struct Lines {
    body: Incoming,
    text: String,
}

impl Lines {
    /// Waits for an event.
    async fn wait_for(&mut self, event: &str) {
        loop {
            while let Some((line, rest)) = self.text.split_once('\n') {
                let found = messages(line).iter().any(|message| message["event"] == event);
                self.text = rest.to_owned();
                if found {
                    return;
                }
            }
            let frame = within(self.body.frame()).await.expect("the stream has ended").unwrap();
            self.text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    }
}

#[tokio::test]
async fn a_streaming_session_acknowledges_what_its_page_has_received() {
    let server = with_history();
    let session = Session { server: &server, path: "/pusher/~page-1/app/reverb-key/7/stream" };
    let mut lines = session.stream().await;
    lines.wait_for("pusher:connection_established").await;
    session.subscribe().await;
    lines.wait_for("pusher_internal:subscription_succeeded").await;
    for (n, is_acknowledged) in [(1, true), (2, false)] {
        publish(&server, n).await;
        lines.wait_for("e").await;
        lines.wait_for("pusher:ping").await;
        if is_acknowledged {
            session.say(&json!({ "event": "pusher:pong", "data": {} })).await;
            session.say(&json!({ "event": "pusher:ping", "data": {} })).await;
            lines.wait_for("pusher:pong").await;
        }
    }
    drop(lines);
    all_gone(&server).await;
    let mut client = connect(&server).await;
    assert_eq!(subscribe(&mut client).await["missed"], 1);
    assert_eq!(offset(&mut client).await, 2);
}

#[tokio::test]
async fn a_polling_session_acknowledges_with_its_next_request() {
    // The page is asked about once a second, which it does not see.
    for seconds in [2, 4, 8, 16] {
        let server = with_history();
        let session = Session { server: &server, path: "/pusher/~page-1/app/reverb-key/7/poll" };
        session.poll().await;
        session.poll().await;
        session.subscribe().await;
        session.poll().await;
        publish(&server, 1).await;
        assert_eq!(session.poll().await[0]["offset"], 1);
        let later = async {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            publish(&server, 2).await;
        };
        let (polled, ()) = tokio::join!(session.poll(), later);
        assert_eq!(polled[0]["offset"], 2);
        // It does not poll any more.
        all_gone(&server).await;
        let mut client = connect(&server).await;
        let missed = subscribe(&mut client).await["missed"].clone();
        if missed == 1 {
            assert_eq!(offset(&mut client).await, 2);
            return;
        }
        assert_eq!(missed, 2);
    }
    panic!("the first event was never acknowledged");
}
