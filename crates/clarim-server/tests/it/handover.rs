//! Hand-overs, from one server to another one in the same process.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_hub::app::{App, HistoryRule};
use clarim_server::Inherited;
use clarim_server::config::Webhook;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::api::tls::Secure;
use crate::support::{Client, Harness, Setup, app, app_with, event, eventually, start, within};

/// Hands a server over to one with this setup.
async fn hand_over(server: &mut Harness, setup: Setup) {
    hand_over_to(server, setup, app()).await;
}

/// Hands a server over to one with this setup and app.
async fn hand_over_to(server: &mut Harness, setup: Setup, app: App) {
    let old = server.server.take().unwrap();
    let handover = old.handover().hand_over(Vec::new()).await.unwrap();
    let inherited = Inherited::receive(handover.stdin()).unwrap();
    let config = setup.settings();
    let new = inherited.bind(config).unwrap().start(vec![app], false).unwrap();
    handover.complete();
    assert_eq!(new.address(), Some(server.address));
    server.server = Some(new);
}

#[tokio::test]
async fn connections_go_on_at_another_server() {
    let mut server = start();
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    one.subscribe("news").await;
    two.subscribe("news").await;
    for workers in [2, 5, 1] {
        hand_over(&mut server, Setup { workers, ..Setup::default() }).await;
        server.publish("news", "e", &json!({ "workers": workers })).await;
        one.expect(event("news", "e", &json!({ "workers": workers }))).await;
        two.expect(event("news", "e", &json!({ "workers": workers }))).await;
        let body = json!({ "name": "e", "channel": "news", "data": "1", "socket_id": one.id });
        assert_eq!(server.api().post("/events", &body).await.status, 200);
        two.expect(event("news", "e", &json!(1))).await;
    }
    assert_eq!(server.server.as_ref().unwrap().connections("123456"), 2);
    drop((one, two));
    while !server.server.as_ref().unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_hand_over_that_is_given_up_changes_nothing() {
    let server = start();
    let mut client = server.connect().await;
    client.subscribe("news").await;
    let handle = server.server.as_ref().unwrap().handover();
    for n in 0..3 {
        let handover = handle.hand_over(Vec::new()).await.unwrap();
        let error = handle.hand_over(Vec::new()).await.unwrap_err();
        assert_eq!(error.code(), "handover_under_way");
        drop(handover);
        server.publish("news", "e", &json!(n)).await;
        client.expect(event("news", "e", &json!(n))).await;
        client.subscribe(&format!("more-{n}")).await;
    }
}

/// A client whose page names an id.
async fn connect_page(server: &Harness) -> Client {
    let mut client = server.open("/app/~page-1/app/reverb-key?protocol=7", &[]).await;
    client.greeted().await;
    client
}

/// Subscribes to `news`. Returns the data of the confirmation.
async fn subscribe(client: &mut Client) -> Value {
    client.ask("news", None).await;
    client.receive().await["data"]["$text"].clone()
}

#[tokio::test]
async fn pages_are_known_and_get_what_they_missed() {
    let app = app_with(|app| app.history = vec![HistoryRule::new("*")]);
    let mut server = Setup::default().start(vec![app.clone()]);
    let mut page = connect_page(&server).await;
    subscribe(&mut page).await;
    server.publish("news", "e", &json!(1)).await;
    assert_eq!(page.receive().await["offset"], 1);
    page.pinged().await;
    page.expect_nothing().await;
    // The page is live during one hand-over, and without a connection during the other one.
    hand_over_to(&mut server, Setup::default(), app.clone()).await;
    server.publish("news", "e", &json!(2)).await;
    assert_eq!(page.receive().await["offset"], 2);
    let id = page.id.clone();
    drop(page);
    eventually(|| server.running().connections("123456") == 0).await;
    hand_over_to(&mut server, Setup::default(), app).await;
    server.publish("news", "e", &json!(3)).await;
    let mut page = connect_page(&server).await;
    assert_eq!(page.id, id);
    let start = subscribe(&mut page).await;
    assert_eq!((&start["recovered"], &start["missed"]), (&json!(true), &json!(2)));
    assert_eq!(page.receive().await["offset"], 2);
    assert_eq!(page.receive().await["offset"], 3);
}

/// An endpoint of webhooks. Returns its configuration and the events that it receives.
async fn endpoint(names: &[&str]) -> (Webhook, mpsc::UnboundedReceiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, events) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let sender = sender.clone();
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let body: Value = serde_json::from_slice(&body).unwrap();
                    for event in body["events"].as_array().unwrap() {
                        sender.send(event.clone()).unwrap();
                    }
                    Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    let mut webhook = Webhook::new(url.parse().unwrap());
    webhook.events = names.iter().map(|&name| name.to_owned()).collect();
    (webhook, events)
}

#[tokio::test]
async fn delayed_webhooks_stay_delayed_and_are_sent_once() {
    let (webhook, mut events) = endpoint(&["channel_occupied", "channel_vacated"]).await;
    let webhooks = HashMap::from([("123456".to_owned(), vec![webhook])]);
    let setup = Setup { webhooks, ..Setup::default() };
    let mut server = setup.clone().start(vec![app()]);
    let mut client = server.connect().await;
    client.subscribe("news").await;
    let occupied = within(events.recv()).await.unwrap();
    assert_eq!(occupied, json!({ "name": "channel_occupied", "channel": "news" }));
    let left = Instant::now();
    client.send(&json!({ "event": "pusher:unsubscribe", "data": { "channel": "news" } })).await;
    client.expect_nothing().await;
    hand_over(&mut server, setup.clone()).await;
    hand_over(&mut server, setup).await;
    let vacated = within(events.recv()).await.unwrap();
    assert_eq!(vacated, json!({ "name": "channel_vacated", "channel": "news" }));
    assert!(left.elapsed() >= Duration::from_secs(3), "{:?}", left.elapsed());
    client.subscribe("orders").await;
    let next = within(events.recv()).await.unwrap();
    assert_eq!(next, json!({ "name": "channel_occupied", "channel": "orders" }));
}

#[tokio::test]
async fn connections_over_tls_go_on_too() {
    let mut server = Secure::start("handover");
    let mut one = server.connect().await;
    let mut two = server.connect().await;
    let mut old = server.connect_with_tls12().await;
    one.subscribe("private-x").await;
    two.subscribe("private-x").await;
    for workers in [2, 5, 1] {
        let setup = server.setup(workers);
        hand_over(&mut server.harness, setup).await;
        let mut connection = server.http().await;
        for n in 0..3 {
            server.publish(&mut connection, &json!({ "n": n }).to_string()).await;
            one.expect(event("private-x", "e", &json!({ "n": n }))).await;
            two.expect(event("private-x", "e", &json!({ "n": n }))).await;
        }
        let data = json!({ "text": "x".repeat(50_000) });
        one.whisper("private-x", "client-x", &data).await;
        let data = data.to_string();
        two.expect(json!({ "event": "client-x", "channel": "private-x", "data": data })).await;
    }
    // Of TLS 1.2, nothing is handed over.
    assert_eq!(old.expect_close(4200).await, "The server is being restarted");
}
