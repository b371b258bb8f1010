//! What `/metrics` tells of a server at work, and that asking for it holds up no delivery.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::metrics::{TOKEN, Told, ask, becomes, counted};
use crate::raw::{Raw, TEXT, frame};
use crate::support::{Client, Harness, HttpConnection, dial_narrow, event, eventually, within};

fn large() -> Value {
    json!("x".repeat(20_000))
}

/// Asks until this is more than nothing. What it is then.
async fn above_zero(server: &Harness, value: impl Fn(&Told) -> f64) -> f64 {
    within(async {
        loop {
            let value = value(&Told::by(server).await);
            if value > 0.0 {
                return value;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_send_queue_of_a_slow_client_and_its_end_are_measured() {
    let server = counted();
    let mut slow = Raw::new(dial_narrow(&server).await);
    slow.shake_hands().await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#;
    slow.send(&frame(true, TEXT, subscribe)).await;
    slow.frame().await;
    becomes(&server, "clarim_outbox_bytes", 0.0).await;
    // More than the kernel takes, less than the outbox holds.
    for _ in 0..45 {
        server.publish("news", "e", &large()).await;
    }
    // Updated once a second, so the first value may be from the middle of the publishing.
    let queued = |told: &Told| (told.value("clarim_outbox_bytes") - 100_000.0).max(0.0);
    let queued = above_zero(&server, queued).await + 100_000.0;
    assert!(queued < f64::from(1 << 20), "{queued}");
    let closed = |by: &str| format!("clarim_connections_closed_total{{by=\"{by}\"}}");
    assert_eq!(Told::by(&server).await.value(&closed("slow")), 0.0);
    for _ in 0..45 {
        server.publish("news", "e", &large()).await;
    }
    becomes(&server, &closed("slow"), 1.0).await;
    drop(slow);
    becomes(&server, "clarim_connections{app=\"123456\"}", 0.0).await;
    becomes(&server, "clarim_outbox_bytes", 0.0).await;
    let told = Told::by(&server).await;
    for by in ["client", "server", "lost"] {
        assert_eq!(told.value(&closed(by)), 0.0, "{by}");
    }
}

/// Target and body of a request that publishes.
fn request(server: &Harness, channel: &str, data: &Value) -> (String, Vec<u8>) {
    let body = json!({ "name": "e", "channel": channel, "data": data.to_string() }).to_string();
    (server.api().sign("POST", "/events", &[], body.as_bytes()), body.into_bytes())
}

/// Publishes to a channel that nobody has, on one connection and so on one worker.
async fn publish_alone(server: &Harness, count: usize) {
    let mut connection = HttpConnection::new(server.dial().await).await;
    let (target, body) = request(server, "nobody", &json!({}));
    for _ in 0..count {
        assert_eq!(connection.request("POST", &target, &body).await.status, 200);
    }
}

#[tokio::test]
async fn cpu_time_is_measured_for_each_worker() {
    let server = counted();
    let times = |told: &Told| {
        [0, 1].map(|n| told.value(&format!("clarim_worker_cpu_seconds_total{{worker=\"{n}\"}}")))
    };
    let before = times(&Told::by(&server).await);
    let begun = Instant::now();
    publish_alone(&server, 2_000).await;
    let after = times(&Told::by(&server).await);
    let wall = begun.elapsed().as_secs_f64();
    let mut used = [after[0] - before[0], after[1] - before[1]];
    used.sort_by(f64::total_cmp);
    assert!(after.iter().all(|seconds| *seconds > 0.0), "{after:?}");
    assert!(used[1] > 0.02 && used[1] <= wall, "{used:?} in {wall}");
    assert!(used[0] < used[1] / 4.0, "one worker alone had something to do: {used:?}");
}

#[tokio::test]
async fn the_inbox_of_a_busy_worker_is_measured() {
    let server = counted();
    let mut listeners = Vec::new();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.subscribe("news").await;
        listeners.push(client);
    }
    let inbox = |told: &Told| {
        [0, 1].map(|n| told.value(&format!("clarim_worker_inbox_bytes{{worker=\"{n}\"}}")))
    };
    let reading: Vec<_> = listeners.into_iter().map(|client| tokio::spawn(drain(client))).collect();
    let mut publishing = JoinSet::new();
    for _ in 0..8 {
        let mut connection = HttpConnection::new(server.dial().await).await;
        let (target, body) = request(&server, "news", &large());
        publishing.spawn(async move {
            loop {
                assert_eq!(connection.request("POST", &target, &body).await.status, 200);
            }
        });
    }
    let waits = above_zero(&server, |told| inbox(told).into_iter().fold(0.0, f64::max)).await;
    assert!(waits < f64::from(64 << 20), "{waits}");
    publishing.shutdown().await;
    within(async { while inbox(&Told::by(&server).await) != [0.0, 0.0] {} }).await;
    reading.iter().for_each(tokio::task::JoinHandle::abort);
}

async fn drain(mut client: Client) {
    while client.next().await.is_some() {}
}

/// Scrapes a hundred times a second until `over` is signalled. Returns the number of responses.
async fn scrape(server: &Harness, mut over: oneshot::Receiver<()>) -> usize {
    let mut ticks = interval(Duration::from_millis(10));
    // Late scrapes are caught up, so the average stays at a hundred a second.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut answers = 0;
    while over.try_recv().is_err() {
        ticks.tick().await;
        let answer = ask(server, &format!("Bearer {TOKEN}")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        // The first line, a line in between and the last one: nothing is cut off.
        for line in ["# TYPE clarim_connections gauge", "clarim_build_info{", "# EOF\n"] {
            assert!(answer.contains(line), "no {line} in {answer}");
        }
        assert!(answer.ends_with("# EOF\n"), "{answer}");
        answers += 1;
    }
    answers
}

/// Delivers one event each ten milliseconds. Returns the latencies, sorted.
async fn deliver(server: &Harness, client: &mut Client, count: usize) -> Vec<Duration> {
    let mut connection = HttpConnection::new(server.dial().await).await;
    let mut ticks = interval(Duration::from_millis(10));
    let mut times = Vec::new();
    while times.len() < count {
        ticks.tick().await;
        let data = json!(times.len());
        let (target, body) = request(server, "news", &data);
        let at = Instant::now();
        assert_eq!(connection.request("POST", &target, &body).await.status, 200);
        client.expect(event("news", "e", &data)).await;
        times.push(at.elapsed());
    }
    times.sort();
    times
}

#[tokio::test]
async fn a_hundred_scrapes_a_second_delay_no_delivery() {
    let server = counted();
    let mut client = server.connect().await;
    client.subscribe("news").await;
    let quiet = deliver(&server, &mut client, 100).await;
    let (end, over) = oneshot::channel();
    let delivering = async {
        let times = deliver(&server, &mut client, 300).await;
        end.send(()).unwrap();
        times
    };
    let (answers, times) = tokio::join!(scrape(&server, over), delivering);
    assert!(answers >= 100, "only {answers} scrapes during 300 deliveries");
    // Usually one millisecond. On a busy machine, deliveries without scrapes are late as well.
    let bound = 10 * quiet[50] + Duration::from_millis(20);
    assert!(times[150] < bound, "half took longer than {:?}, {:?} before", times[150], quiet[50]);
    eventually(|| server.running().connections("123456") == 1).await;
}
