//! The queue in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use clarim::publisher::{BoxFuture, Publication, Publisher};
use clarim::{Broadcast, Clarim, Delivery, Error, Fake, Settings};
use serde::Serialize;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::{TIMEOUT, settings_for};

/// Fails with the given errors, then passes events to a fake. It records the time of each call.
#[derive(Debug, Default)]
struct Flaky {
    failures: Mutex<Vec<Error>>,
    asked_at: Mutex<Vec<Instant>>,
    fake: Fake,
}

impl Publisher for Flaky {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        self.asked_at.lock().unwrap().push(Instant::now());
        match self.failures.lock().unwrap().pop() {
            Some(error) => Box::pin(std::future::ready(Err(error))),
            None => self.fake.publish(batch),
        }
    }
}

fn flaky(failures: Vec<Error>) -> (Arc<Flaky>, Clarim) {
    let flaky = Arc::new(Flaky { failures: Mutex::new(failures), ..Flaky::default() });
    let builder = Clarim::builder(Settings::default()).publisher(flaky.clone());
    (flaky, builder.build().unwrap())
}

fn down() -> Error {
    Error::Unreachable { host: "h".to_owned(), port: 1, source: "down".into() }
}

fn names(flaky: &Flaky) -> Vec<String> {
    flaky.fake.sent().into_iter().map(|sent| sent.name).collect()
}

#[tokio::test(start_paused = true)]
async fn temporary_failures_are_retried_with_backoff_in_order() {
    let (flaky, clarim) = flaky(vec![down(), down(), down()]);
    let started = Instant::now();
    for name in ["a", "b", "c"] {
        clarim.on("news").name(name.to_owned()).send().await.unwrap();
    }
    clarim.idle().await;
    assert_eq!(names(&flaky), ["a", "b", "c"]);
    let seconds: Vec<u64> =
        flaky.asked_at.lock().unwrap().iter().map(|at| (*at - started).as_secs()).collect();
    assert_eq!(seconds, [0, 1, 6, 16, 16, 16]);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_an_idle_queue_has_a_limit() {
    let limit = Duration::from_secs(5);
    let (flaky, clarim) = flaky((0..200).map(|_| down()).collect());
    for name in ["a", "b"] {
        clarim.on("news").name(name.to_owned()).send().await.unwrap();
    }
    let error = clarim.idle_within(limit).await.unwrap_err();
    assert!(matches!(error, Error::NotIdle { jobs: 2, .. }), "{error}");
    // By default an event is given up after a hundred attempts.
    clarim.idle().await;
    assert_eq!(flaky.asked_at.lock().unwrap().len(), 200);
    assert!(names(&flaky).is_empty());
    clarim.idle_within(limit).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_event_follows_a_permanent_failure_or_the_last_attempt() {
    let refused = Error::Refused {
        host: "h".to_owned(),
        port: 1,
        status: 413,
        answer: "Payload too large".to_owned(),
    };
    // Errors are used from the end.
    let (flaky, clarim) = flaky(vec![down(), down(), refused]);
    clarim.on("news").name("permanent").send().await.unwrap();
    let two = Delivery::queued().tries(2);
    clarim.on("news").name("twice").delivery(two).send().await.unwrap();
    clarim.on("news").name("good").send().await.unwrap();
    clarim.idle().await;
    assert_eq!(names(&flaky), ["good"]);
    assert_eq!(flaky.asked_at.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn queues_do_not_wait_for_each_other() {
    let (flaky, clarim) = flaky(vec![down()]);
    clarim.on("news").name("slow").send().await.unwrap();
    tokio::task::yield_now().await;
    let high = Delivery::queued().queue("high");
    clarim.on("news").name("high").delivery(high).send().await.unwrap();
    clarim.idle().await;
    assert_eq!(names(&flaky), ["high", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn delay_and_tries_of_one_call_replace_those_of_the_type() {
    #[derive(Serialize, Broadcast)]
    #[broadcast(channel = "news", now, tries = 1)]
    struct Reminder;

    let (flaky, clarim) = flaky(vec![down(), down(), down()]);
    let started = Instant::now();
    let minute = Duration::from_secs(60);
    clarim.broadcast(Reminder).delay(minute).tries(2).await.unwrap();
    clarim.idle().await;
    clarim.broadcast(Reminder).queue("high").await.unwrap();
    clarim.idle().await;
    let seconds: Vec<u64> =
        flaky.asked_at.lock().unwrap().iter().map(|at| (*at - started).as_secs()).collect();
    assert_eq!(seconds, [60, 61, 61], "two attempts a minute later, then a single one");
    clarim.broadcast(Reminder).queue("high").delay(minute).now().await.unwrap();
    assert_eq!(started.elapsed().as_secs(), 61, "`now` is the last one set");
}

#[tokio::test(start_paused = true)]
async fn a_unique_event_is_dropped_while_the_same_waits() {
    let (flaky, clarim) = flaky(vec![down()]);
    let unique = |by: &str| Delivery::queued().unique_for(Duration::from_secs(60)).unique_by(by);
    let send = |by: &'static str| clarim.on("news").name("x").delivery(unique(by)).send();
    for by in ["1", "1", "2"] {
        send(by).await.unwrap();
    }
    clarim.idle().await;
    assert_eq!(names(&flaky).len(), 2);
    send("1").await.unwrap();
    clarim.idle().await;
    assert_eq!(names(&flaky).len(), 3, "the first one is done");
}

#[tokio::test(start_paused = true)]
async fn a_delayed_event_comes_later_blocks_no_other_and_is_waited_for() {
    let (flaky, clarim) = flaky(vec![]);
    let started = Instant::now();
    let later = Delivery::queued().delay(Duration::from_secs(3600));
    clarim.on("news").name("later").delivery(later).send().await.unwrap();
    clarim.on("news").name("now").send().await.unwrap();
    clarim.idle().await;
    assert_eq!(names(&flaky), ["now", "later"]);
    assert_eq!(started.elapsed().as_secs(), 3600);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_held_until_it_expires_or_is_released() {
    let (_, clarim) = flaky(vec![]);
    let queue = clarim.queue();
    let minute = Duration::from_secs(60);
    assert!(queue.lock("nightly", minute).await.unwrap());
    assert!(!queue.lock("nightly", minute).await.unwrap());
    assert!(queue.lock("hourly", minute).await.unwrap());
    tokio::time::advance(minute).await;
    assert!(queue.lock("nightly", minute).await.unwrap());
    queue.unlock("nightly").await.unwrap();
    assert!(queue.lock("nightly", minute).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn sent_parts_of_an_event_are_not_sent_again() {
    let second = Arc::new(FailSecond::default());
    let builder = Clarim::builder(Settings::default()).publisher(second.clone());
    let clarim = builder.build().unwrap();
    let mut event = clarim.on("news.0").name("x");
    for n in 1..150 {
        event = event.and(format!("news.{n}"));
    }
    event.send().await.unwrap();
    clarim.idle().await;
    let sent = second.fake.sent();
    let counts: Vec<usize> = sent.into_iter().map(|sent| sent.channels.len()).collect();
    assert_eq!(counts, [100, 50]);
    assert_eq!(*second.asked.lock().unwrap(), 3);
}

/// Fails on the second call.
#[derive(Debug, Default)]
struct FailSecond {
    asked: Mutex<usize>,
    fake: Fake,
}

impl Publisher for FailSecond {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        let mut asked = self.asked.lock().unwrap();
        *asked += 1;
        if *asked == 2 {
            return Box::pin(std::future::ready(Err(down())));
        }
        self.fake.publish(batch)
    }
}

#[tokio::test]
async fn queued_events_wait_until_the_server_is_back_and_keep_their_order() {
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let clarim = Clarim::new(settings_for(port)).unwrap();
    let soon = Delivery::queued().backoff([Duration::from_millis(20)]);
    for name in ["a", "b", "c"] {
        clarim.on("news").name(name).delivery(soon.clone()).send().await.unwrap();
    }
    let bodies: Arc<Mutex<Vec<Value>>> = Arc::default();
    let server = {
        let bodies = bodies.clone();
        Router::new().fallback(move |body: String| async move {
            bodies.lock().unwrap().push(serde_json::from_str(&body).unwrap());
            "{}"
        })
    };
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, server).await });
    tokio::time::timeout(TIMEOUT, clarim.idle()).await.unwrap();
    let bodies = bodies.lock().unwrap();
    let names: Vec<&str> = bodies.iter().map(|body| body["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_debounced_event_is_sent_once_with_its_last_payload() {
    #[derive(Serialize, Broadcast)]
    #[broadcast(channel = "stats", delay = 1, unique = latest)]
    struct Counted {
        visitors: u32,
    }

    let (flaky, clarim) = flaky(Vec::new());
    let started = Instant::now();
    for visitors in 1..=3 {
        clarim.broadcast(Counted { visitors }).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    clarim.idle().await;
    let sent: Vec<Value> = flaky.fake.sent().into_iter().map(|sent| sent.data).collect();
    assert_eq!(sent, [serde_json::json!({ "visitors": 3 })]);
    assert_eq!(started.elapsed().as_secs(), 1, "later events do not extend the delay");
}
