//! The examples, as programs.

use std::process::Stdio;

use clarim::{Clarim, Settings};
use clarim_server::Server;
use clarim_server::config::Tls;
use clarim_testing::Certificate;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::support::{Client, World, app, server_settings};

/// Starts an example, which ends with the test, and returns the address that it prints.
async fn run(name: &str, variables: &[(&str, String)]) -> (Child, String) {
    let mut command = Command::new(clarim_testing::example(name));
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("an address");
    (child, line.strip_prefix("http://").unwrap().to_owned())
}

/// Sends a request without a body, and returns the body of the answer. Its status must be 200.
async fn request(address: &str, head: &str) -> String {
    request_as(address, head, &[]).await
}

async fn request_as(address: &str, head: &str, headers: &[(&str, &str)]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let more: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n{more}\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[tokio::test]
async fn hello_greets() {
    let (_child, address) = run("hello", &[]).await;
    assert!(request(&address, "GET /").await.contains("Say hello"));
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let mut client = Client::connect_as("hello-key", port).await;
    client.subscribe_with(&json!({ "channel": "greetings" })).await;
    request(&address, "POST /hello").await;
    let (name, _, data) = client.event().await;
    assert_eq!((name.as_str(), data), ("App\\Events\\Greeting", json!({ "text": "Olá" })));
}

#[tokio::test]
async fn document_shows_its_members() {
    let (_child, address) = run("document", &[]).await;
    assert!(request(&address, "GET /").await.contains("<textarea>"));
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    let mut ana = join(&address, port, "Ana").await;
    let mut rui = join(&address, port, "Rui").await;
    let joined = ana.receive().await;
    assert_eq!(joined["event"], "pusher_internal:member_added");
    let written = json!({ "written": "Olá" });
    rui.send(&json!({ "event": "client-written", "channel": DOCUMENT, "data": written })).await;
    let heard = ana.receive().await;
    assert_eq!((&heard["event"], &heard["user_id"]), (&json!("client-written"), &json!("Rui")));
    assert_eq!(heard["data"], written.to_string());
}

const DOCUMENT: &str = "presence-documents.1";

async fn join(address: &str, port: u16, user: &str) -> Client {
    let mut client = Client::connect_as("document-key", port).await;
    let query = format!("socket_id={}&channel_name={DOCUMENT}", client.id);
    let head = format!("GET /broadcasting/auth?{query}");
    let answer = request_as(address, &head, &[("x-user", user)]).await;
    let mut data: serde_json::Value = serde_json::from_str(&answer).unwrap();
    data["channel"] = DOCUMENT.into();
    client.subscribe_with(&data).await;
    client
}

#[tokio::test]
async fn orders_ships_over_http() {
    let world = World::start();
    let port = world.0.address().unwrap().port();
    orders_ships("reverb", port, port, &[]).await;
}

#[tokio::test]
async fn orders_ships_with_an_embedded_server_from_its_environment() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let variables =
        [("REVERB_SERVER_HOST", "127.0.0.1".to_owned()), ("REVERB_SERVER_PORT", port.to_string())];
    orders_ships("embedded", port, port, &variables).await;
}

/// Its own server would have no clients, and the port of the application is taken.
#[tokio::test]
async fn a_worker_process_publishes_to_the_embedded_server_of_the_application() {
    let files = tempfile::tempdir().unwrap();
    let queue = format!("sqlite:{}", files.path().join("queue.sqlite").display());
    let port = clarim_testing::free_port();
    let more = [
        ("REVERB_SERVER_HOST", "127.0.0.1".to_owned()),
        ("REVERB_SERVER_PORT", port.to_string()),
        ("QUEUE_CONNECTION", "sqlite".to_owned()),
        ("DATABASE_URL", queue),
    ];
    let variables = [&variables("embedded", port), &more[..]].concat();
    let (_child, address) = run("orders", &variables).await;
    let mut client = Client::connect(port).await;
    client.subscribe("private-orders.101").await;
    request(&address, "POST /orders/101/ship").await;
    let mut worker = Command::new(clarim_testing::example("orders"));
    worker.args(["queue", "work", "--once"]).envs(variables).stdout(Stdio::null());
    assert!(worker.kill_on_drop(true).status().await.unwrap().success());
    assert_eq!(client.event().await.0, "App\\Events\\OrderShipped");
}

#[tokio::test]
async fn orders_ships_over_https_to_a_server_with_a_trusted_certificate() {
    let certificate = Certificate::new();
    let more = [("REVERB_SCHEME", "https".to_owned()), ("SSL_CERT_FILE", certificate.file.clone())];
    let settings = server_settings().tls(Tls::new(&certificate.file, &certificate.key));
    let server = Server::start(settings, vec![app()], false).unwrap();
    let port = server.address().unwrap().port();
    // The client of the test connects without TLS.
    let clarim = Clarim::with_server(Settings::default(), server, &app());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open_port = listener.local_addr().unwrap().port();
    let routes = clarim.routes::<()>();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    orders_ships("reverb", port, open_port, &more).await;
    clarim.server().unwrap().stop();
}

/// `port` is the server's for the application, `open_port` for the client of the test.
async fn orders_ships(connection: &str, port: u16, open_port: u16, more: &[(&str, String)]) {
    let variables = variables(connection, port);
    let (_child, address) = run("orders", &[&variables, more].concat()).await;
    let mut client = Client::connect(open_port).await;
    client.subscribe("private-orders.101").await;
    request(&address, "POST /orders/101/ship").await;
    let (name, _, data) = client.event().await;
    assert_eq!(name, "App\\Events\\OrderShipped");
    assert_eq!(data, json!({ "order": 101, "tracking": "BR000000101" }));
}

fn variables(connection: &str, port: u16) -> [(&'static str, String); 7] {
    [
        ("BROADCAST_CONNECTION", connection.to_owned()),
        ("REVERB_APP_ID", "123456".to_owned()),
        ("REVERB_APP_KEY", "reverb-key".to_owned()),
        ("REVERB_APP_SECRET", "reverb-secret".to_owned()),
        ("REVERB_HOST", "127.0.0.1".to_owned()),
        ("REVERB_PORT", port.to_string()),
        ("REVERB_SCHEME", "http".to_owned()),
    ]
}

#[tokio::test]
async fn invoice_notifies_its_user_and_stores_the_notification() {
    let world = World::start();
    let port = world.0.address().unwrap().port();
    let (_child, address) = run("invoice", &variables("reverb", port)).await;
    let mut client = Client::connect(port).await;
    client.subscribe("private-App.Models.User.7").await;
    let ana = [("x-user", "7")];
    request_as(&address, "POST /invoices/1/pay", &ana).await;
    let (_, _, heard) = client.event().await;
    assert_eq!(heard["message"], "Fatura #1 foi paga!");
    let list = request_as(&address, "GET /notifications", &ana).await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!((&list["unread"], &list["data"][0]["id"]), (&json!(1), &heard["id"]));
    assert_eq!(list["data"][0]["data"], json!({ "invoice_id": 1, "amount": 4200 }));
}

fn scheduled(port: u16, command: &str) -> Command {
    let mut scheduled = Command::new(clarim_testing::example("scheduled"));
    scheduled.args(["schedule", command]).stdout(Stdio::piped()).kill_on_drop(true).envs([
        ("BROADCAST_CONNECTION", "reverb"),
        ("REVERB_APP_ID", "123456"),
        ("REVERB_APP_KEY", "reverb-key"),
        ("REVERB_APP_SECRET", "reverb-secret"),
        ("REVERB_HOST", "127.0.0.1"),
    ]);
    scheduled.env("REVERB_PORT", port.to_string());
    scheduled
}

#[tokio::test]
async fn scheduled_tasks_are_listed() {
    let output = scheduled(1, "list").output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("MinutePassed  * * * * *"), "{text}");
    assert!(lines[1].starts_with("SecondPassed  every 1 s"), "{text}");
    assert!(lines[0].contains("next 20") && lines[1].ends_with("without overlapping"), "{text}");
}

#[tokio::test]
async fn scheduled_tasks_run_once_or_until_a_signal() {
    let world = World::start();
    let mut client = world.connect().await;
    client.subscribe_with(&json!({ "channel": "clock" })).await;
    let port = world.0.address().unwrap().port();
    let output = scheduled(port, "run").output().await.unwrap();
    assert_eq!(output.stdout, b"2 tasks were due\n");
    let mut names = [client.event().await.0, client.event().await.0];
    names.sort_unstable();
    assert_eq!(names, ["App\\Events\\MinutePassed", "App\\Events\\SecondPassed"]);
    client.expect_nothing().await;

    let mut worker = scheduled(port, "work").spawn().unwrap();
    for _ in 0..2 {
        client.event().await;
    }
    let id = Pid::from_raw(worker.id().unwrap().cast_signed()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert!(worker.wait().await.unwrap().success());
}
