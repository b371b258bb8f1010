//! The inspector's API: who may use it, what it tells and does, and that whoever looks holds up nobody.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use clarim_bus::MemoryBus;
use clarim_server::HistoryRule;
use clarim_server::config::{Scaling, Webhook};
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{Harness, Reply, Setup, app, dial_narrow, event, start, within};

const TOKEN: &str = "inspector-0123456789";

fn watched() -> Harness {
    Setup { inspector_token: Some(TOKEN), ..Setup::default() }.start(vec![app()])
}

async fn ask(
    server: &Harness,
    token: Option<&str>,
    method: &str,
    path: &str,
    body: &Value,
) -> Reply {
    let stream = server.dial().await;
    let (mut sender, connection) = within(http1::handshake(TokioIo::new(stream))).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    Reply::of(within(sender.send_request(request)).await.unwrap()).await
}

async fn get(server: &Harness, path: &str) -> Value {
    let path = format!("/inspector/api/{path}");
    let reply = ask(server, Some(TOKEN), "GET", &path, &Value::Null).await;
    assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    reply.json()
}

async fn post(server: &Harness, path: &str, body: &Value) -> u16 {
    let path = format!("/inspector/api/{path}");
    ask(server, Some(TOKEN), "POST", &path, body).await.status
}

#[tokio::test]
async fn the_inspector_is_off_by_default() {
    let server = start();
    for path in ["/inspector", "/inspector/main.js", "/inspector/api/overview"] {
        assert_eq!(
            ask(&server, Some(TOKEN), "GET", path, &Value::Null).await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn in_development_the_inspector_is_open_to_this_machine_only() {
    let server = Setup { development: true, ..Setup::default() }.start(vec![app()]);
    for (host, status) in [("localhost", 200), ("127.0.0.1:8080", 200), ("evil.example", 403)] {
        for path in ["/inspector", "/inspector/api/overview"] {
            let mut stream = server.dial().await;
            let request =
                format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            within(stream.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host} {path}: {answer}");
        }
    }
    // A request without an origin, by a program or a page of another site.
    let path = "/inspector/api/apps/123456/events";
    assert_eq!(ask(&server, None, "POST", path, &json!({})).await.status, 403);
}

#[tokio::test]
async fn the_overview_lists_the_nodes_of_a_cluster() {
    let bus = MemoryBus::new();
    let start = || {
        let scaling = Some(Scaling::new(bus.clone().into()));
        let inspector_token = Some(TOKEN);
        Setup { scaling, inspector_token, ..Setup::default() }.start(vec![app()])
    };
    let a = start();
    let b = start();
    let cluster = |server| async move { get(server, "overview").await["cluster"].clone() };
    let (of_a, of_b) = within(async {
        loop {
            // Counters are added up once a second.
            let both = (cluster(&a).await, cluster(&b).await);
            if [&both.0, &both.1].iter().all(|it| it["nodes"].as_array().unwrap().len() == 1) {
                return both;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!((&of_a["nodes"][0], &of_b["nodes"][0]), (&of_b["me"], &of_a["me"]));
}

#[tokio::test]
async fn the_page_is_public_and_its_data_needs_the_token() {
    let server = watched();
    let page = ask(&server, None, "GET", "/inspector", &Value::Null).await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    for path in ["overview", "stream", "connections", "deliveries", "apps/123456/channels"] {
        let whole = format!("/inspector/api/{path}");
        for (token, status) in [(None, 401), (Some(TOKEN), 200)] {
            let reply = ask(&server, token, "GET", &whole, &Value::Null).await;
            assert_eq!(reply.status, status, "{path}");
        }
    }
    for path in ["apps/123456/events", "apps/123456/users/1/terminate", "connections/1.1/close"] {
        let whole = format!("/inspector/api/{path}");
        assert_eq!(ask(&server, None, "POST", &whole, &json!({})).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn wrong_tokens_are_rate_limited() {
    let server = watched();
    let path = "/inspector/api/overview";
    for _ in 0..10 {
        assert_eq!(ask(&server, Some("wrong"), "GET", path, &Value::Null).await.status, 401);
    }
    // Nobody locks the operator out.
    for (token, status) in [("wrong", 429), (TOKEN, 200)] {
        assert_eq!(ask(&server, Some(token), "GET", path, &Value::Null).await.status, status);
    }
}

#[tokio::test]
async fn lists_are_limited_and_counters_are_not() {
    let server = watched();
    // All at once, within the second that the limit is for.
    let asked = (0..80)
        .map(|_| ask(&server, Some(TOKEN), "GET", "/inspector/api/deliveries", &Value::Null));
    let replies = join_all(asked).await;
    let refused = replies.iter().filter(|reply| reply.status == 429).count();
    assert!(refused > 0);
    get(&server, "overview").await;
}

#[tokio::test]
async fn the_inspector_shows_counters_channels_members_and_connections() {
    let server = watched();
    let origin = [("origin", "https://shop.example")];
    let mut ana = server.open("/app/reverb-key?protocol=7", &origin).await;
    ana.greeted().await;
    ana.subscribe("news").await;
    ana.join("presence-room", 7).await;
    let mut rui = server.connect().await;
    rui.subscribe("news").await;

    let subscription = json!({ "channel": "private-orders", "auth": "reverb-key:wrong" });
    rui.send(&json!({ "event": "pusher:subscribe", "data": subscription })).await;
    rui.expect_refusal("private-orders", None).await;

    let overview = get(&server, "overview").await;
    assert_eq!(overview["apps"], json!([{ "app": "123456", "connections": 2 }]));
    assert_eq!((&overview["subscriptions"], &overview["members"]), (&json!(3), &json!(1)));

    let problems = &overview["problems"];
    assert_eq!((&problems["slow"], &problems["rejected"]["auth"]), (&json!(0), &json!(1)));

    let channels = get(&server, "apps/123456/channels").await;
    assert_eq!(channels["count"], 2);
    assert_eq!(channels["channels"][0], json!({ "name": "news", "subscriptions": 2, "users": 0 }));
    // By a part of the name, as users of Echo know it.
    let found = get(&server, "apps/123456/channels?contains=room").await;
    assert_eq!(found["channels"][0]["users"], 1);
    assert_eq!((&found["count"], &found["total"]), (&json!(1), &json!(2)));
    let nothing = get(&server, "apps/123456/channels?contains=private").await;
    assert_eq!((&nothing["count"], &nothing["total"]), (&json!(0), &json!(2)));
    let room = get(&server, "apps/123456/channels/presence-room").await;
    assert_eq!(room["members"], json!(["7"]));

    let one = get(&server, &format!("connections?filter={}", ana.id)).await;
    let row = &one["connections"][0];
    assert_eq!(row["id"], ana.id);
    assert_eq!(row["origin"], "https://shop.example");
    assert_eq!(row["user"], "7");
    assert_eq!(row["channels"], json!(["news", "presence-room"]));
    assert!(row["age"].is_number() && row["outbox"] == 0, "{row}");
    assert_eq!(row["transport"], "ws");
    for (filter, found) in [
        ("channel:news", 2),
        // Not a part of a name, as without a field.
        ("channel:new", 0),
        ("new", 2),
        ("user:7", 1),
        ("user:7%20channel:news", 1),
        ("user:7%20channel:other", 0),
        ("origin:shop", 1),
        ("shop.example", 1),
        ("transport:ws", 2),
        ("transport:fallback", 0),
        ("nobody", 0),
    ] {
        let list = get(&server, &format!("connections?filter={filter}")).await;
        assert_eq!(list["connections"].as_array().unwrap().len(), found, "{filter}: {list}");
    }
    let other_app = get(&server, "connections?app=other").await;
    assert_eq!(other_app["connections"], json!([]));
}

#[tokio::test]
async fn the_inspector_reads_the_history_of_a_channel() {
    let mut app = app();
    app.history = vec![HistoryRule::new("kept-*")];
    let server = Setup { inspector_token: Some(TOKEN), ..Setup::default() }.start(vec![app]);
    for n in 1..=3 {
        server.publish("kept-1", "e", &json!({ "zebra": n, "a": 1 })).await;
    }
    let path = "apps/123456/channels/kept-1/history?direction=backward&limit=2";
    let history = &get(&server, path).await["history"];
    assert_eq!((&history["offset"], &history["has_more"]), (&json!(3), &json!(true)));
    let offsets = history["events"].as_array().unwrap().iter().map(|event| &event["offset"]);
    assert!(offsets.eq([&json!(3), &json!(2)]), "{history}");
    let none = get(&server, "apps/123456/channels/other/history").await;
    assert_eq!(none, json!({ "history": null }));
    let wrong = "/inspector/api/apps/123456/channels/kept-1/history?limit=0";
    assert_eq!(ask(&server, Some(TOKEN), "GET", wrong, &Value::Null).await.status, 400);
}

#[tokio::test]
async fn lists_are_sorted_over_all_pages() {
    let server = watched();
    let mut clients = Vec::new();
    for n in 0..230 {
        let mut client = server.connect().await;
        client.subscribe(&format!("only.{n:03}")).await;
        if n % 2 == 0 {
            client.subscribe("even").await;
        }
        clients.push(client);
    }
    clients[200].subscribe("third").await;
    let subscriptions = |list: &Value| -> Vec<u64> {
        let rows = list["connections"].as_array().unwrap().iter();
        rows.map(|row| row["channel_count"].as_u64().unwrap()).collect()
    };
    let most = get(&server, "connections?sort=-subscriptions").await;
    assert_eq!(most["connections"][0]["id"], clients[200].id);
    assert_eq!(subscriptions(&most)[..], [&[3][..], &[2; 99]].concat());
    let fewest = get(&server, "connections?sort=subscriptions").await;
    assert_eq!(subscriptions(&fewest), [1; 100]);
    let filtered = get(&server, "connections?sort=-age&filter=channel:even").await;
    assert!(subscriptions(&filtered).iter().all(|count| *count > 1), "{filtered}");
    let ages = filtered["connections"].as_array().unwrap().iter();
    assert!(ages.map(|row| row["age"].as_u64().unwrap()).is_sorted_by(|a, b| a >= b));
    assert_eq!(
        ask(&server, Some(TOKEN), "GET", "/inspector/api/connections?sort=name", &Value::Null)
            .await
            .status,
        400
    );

    let channels = get(&server, "apps/123456/channels?sort=subscriptions").await;
    assert_eq!(channels["channels"][0]["name"], "even");
    assert_eq!(channels["channels"][1]["name"], "only.000");
    let mut names = BTreeSet::new();
    let mut after = String::new();
    loop {
        let path = format!("apps/123456/channels?sort=subscriptions&after={after}");
        let page = get(&server, &path).await;
        for channel in page["channels"].as_array().unwrap() {
            assert!(names.insert(channel["name"].to_string()), "listed twice: {channel}");
        }
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    assert_eq!(names.len(), 232);
    let wrong = "/inspector/api/apps/123456/channels?sort=age";
    assert_eq!(ask(&server, Some(TOKEN), "GET", wrong, &Value::Null).await.status, 400);
}

#[tokio::test]
async fn connections_are_listed_once_in_pages_of_a_hundred() {
    let server = watched();
    let mut clients = Vec::new();
    for _ in 0..230 {
        clients.push(server.connect().await);
    }
    let mut seen = Vec::new();
    let mut after = "0.0".to_owned();
    loop {
        // With a filter that matches all of them.
        let page = get(&server, &format!("connections?filter=ws&after={after}")).await;
        let rows = page["connections"].as_array().unwrap();
        assert!(rows.len() <= 100, "{}", rows.len());
        seen.extend(rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        next.clone_into(&mut after);
    }
    seen.sort();
    let mut there: Vec<String> = clients.iter().map(|client| client.id.clone()).collect();
    there.sort();
    assert_eq!(seen, there);
}

#[tokio::test]
async fn a_connection_is_closed_and_a_user_terminated() {
    let server = watched();
    let mut ana = server.connect().await;
    let mut rui = server.connect().await;
    let path = format!("connections/{}/close", ana.id);
    assert_eq!(post(&server, &path, &Value::Null).await, 200);
    ana.expect_close(4200).await;
    assert_eq!(post(&server, "connections/1.9999999/close", &Value::Null).await, 404);
    rui.join("presence-room", 7).await;
    assert_eq!(post(&server, "apps/123456/users/7/terminate", &Value::Null).await, 200);
    rui.expect_error(4009).await;
    rui.expect_close(4009).await;
}

#[tokio::test]
async fn an_event_can_be_published_and_seen_with_client_messages() {
    let server = watched();
    let mut ana = server.connect().await;
    ana.subscribe("news").await;
    let begun = get(&server, "stream").await["next"].clone();
    let script = "<script>alert(1)</script>";
    let body =
        json!({ "name": script, "channel": "news", "data": json!({ "x": script }).to_string() });
    assert_eq!(post(&server, "apps/123456/events", &body).await, 200);
    ana.expect(event("news", script, &json!({ "x": script }))).await;
    ana.ask("private-orders", None).await;
    ana.receive().await;

    let news = get(&server, &format!("stream?after={begun}")).await;
    let events = news["events"].as_array().unwrap();
    assert_eq!(events.len(), 2, "{news}");
    assert_eq!((&events[0]["kind"], &events[0]["event"]), (&json!("published"), &json!(script)));
    assert_eq!(
        (&events[1]["kind"], &events[1]["channel"]),
        (&json!("received"), &json!("private-orders"))
    );
    // A signature is a credential.
    assert!(!news.to_string().contains("reverb-key:"), "{news}");
    assert_eq!(post(&server, "apps/123456/events", &json!({ "name": "e" })).await, 422);
    assert_eq!(post(&server, "apps/nobody/events", &body).await, 404);
}

#[tokio::test]
async fn fifty_watchers_and_a_stalled_one_delay_no_delivery() {
    let server = watched();
    let mut ana = server.connect().await;
    ana.subscribe("news").await;
    let get = format!(
        "GET /inspector/api/stream?after=0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    let stalled = dial_narrow(&server).await;
    let mut watching = Vec::new();
    for _ in 0..50 {
        let mut stream = server.dial().await;
        stream.write_all(get.as_bytes()).await.unwrap();
        within(stream.read(&mut [0; 64])).await.unwrap();
        // Read the responses: the server closes connections that don't, after its timeout.
        let (mut answers, questions) = tokio::io::split(stream);
        tokio::spawn(async move { tokio::io::copy(&mut answers, &mut tokio::io::sink()).await });
        watching.push(questions);
    }
    let data = json!("x".repeat(5_000));
    for n in 0..300 {
        // This one sends requests and reads nothing.
        let _ = stalled.try_write(get.as_bytes());
        if n % 10 == 0 {
            for stream in &mut watching {
                stream.write_all(get.as_bytes()).await.unwrap();
            }
        }
        server.publish("news", "e", &data).await;
        ana.expect(event("news", "e", &data)).await;
    }
    ana.expect_nothing().await;
}

/// An endpoint that responds with these statuses in turn. Returns its URL and the received requests.
async fn endpoint(statuses: &[u16]) -> (Uri, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/hook", listener.local_addr().unwrap()).parse().unwrap();
    let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
    let statuses = statuses.to_vec();
    tokio::spawn(async move {
        for status in statuses {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut part = [0; 4096];
                let n = stream.read(&mut part).await.unwrap();
                request.extend_from_slice(&part[..n]);
            }
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = sender.send(String::from_utf8(request).unwrap());
        }
    });
    (uri, requests)
}

#[tokio::test]
async fn webhook_deliveries_are_listed_and_replayed() {
    let (uri, mut requests) = endpoint(&[500, 200, 200]).await;
    let webhooks = HashMap::from([("123456".to_owned(), vec![Webhook::new(uri)])]);
    let server =
        Setup { inspector_token: Some(TOKEN), webhooks, ..Setup::default() }.start(vec![app()]);
    let mut ana = server.connect().await;
    ana.subscribe("news").await;
    for _ in 0..2 {
        assert!(within(requests.recv()).await.unwrap().contains("channel_occupied"));
    }
    let first = within(async {
        loop {
            let first = get(&server, "deliveries").await["deliveries"][0].clone();
            if first["state"] == "sent" {
                return first;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(first["attempts"], 2);
    assert_eq!(first["events"], json!([{ "name": "channel_occupied", "channel": "news" }]));
    let path = format!("deliveries/{}/replay", first["id"]);
    assert_eq!(post(&server, &path, &Value::Null).await, 200);
    assert!(within(requests.recv()).await.unwrap().contains("channel_occupied"));
    assert_eq!(post(&server, "deliveries/999/replay", &Value::Null).await, 404);
}
