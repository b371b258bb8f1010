//! Stored broadcasts and their worker. The storages themselves are tested in the crate `clarim-queue`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarim::publisher::{BoxFuture, Publication, Publisher};
use clarim::queue::{Job, JobState, NewJob, Storage, Worker};
use clarim::{Broadcast, Clarim, Delivery, Error, Settings};
use clarim_server::{App, Server};
use serde::Serialize;
use tokio::time::timeout;

use crate::queue::stores::{Store, with_each_store};
use crate::support::{TIMEOUT, server_settings};

with_each_store! {
    an_event_is_published_by_a_worker_with_its_delivery,
    events_of_a_channel_keep_their_order_over_retries,
    an_unreadable_job_fails_and_the_worker_goes_on,
    a_permanent_error_fails_at_once,
    a_unique_event_is_dropped_while_an_identical_one_waits,
    a_debounced_event_is_sent_once_with_its_last_payload,
    sent_parts_of_an_event_are_not_sent_again,
    a_payload_over_the_servers_limit_fails_at_once_with_size_and_limit,
}

/// The result of an attempt, by the event's name.
type Answer = Box<dyn Fn(&str) -> Result<(), Error> + Send + Sync>;

/// A publisher that answers as the test says, and records publications that succeeded.
struct Recorder {
    answer: Answer,
    published: Mutex<Vec<Publication>>,
    attempts: AtomicUsize,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Recorder")
    }
}

impl Publisher for Recorder {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for one in batch {
                self.attempts.fetch_add(1, Ordering::SeqCst);
                (self.answer)(&one.name)?;
                self.published.lock().unwrap().push(one.clone());
            }
            Ok(())
        })
    }
}

/// An application with a queue in the store.
pub(crate) struct TestApp {
    pub(crate) clarim: Clarim,
    pub(crate) storage: Arc<dyn Storage>,
    recorder: Arc<Recorder>,
}

impl TestApp {
    pub(crate) fn new(
        store: &Store,
        answer: impl Fn(&str) -> Result<(), Error> + Send + Sync + 'static,
    ) -> Self {
        let recorder = Arc::new(Recorder {
            answer: Box::new(answer),
            published: Mutex::default(),
            attempts: AtomicUsize::new(0),
        });
        let settings = Settings::default().queue(store.connection());
        let clarim = Clarim::builder(settings).publisher(recorder.clone()).build().unwrap();
        let storage = clarim.storage().unwrap();
        Self { clarim, storage, recorder }
    }

    pub(crate) async fn send(&self, channel: &str, name: &str, delivery: Delivery) {
        let event = self.clarim.on(channel).name(name.to_owned());
        event.delivery(delivery).send().await.unwrap();
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::new(&self.clarim).unwrap().poll(Duration::from_millis(5))
    }

    /// Names of the published events, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        self.recorder.published.lock().unwrap().iter().map(|one| one.name.clone()).collect()
    }

    /// The publications that succeeded, in order.
    pub(crate) fn published(&self) -> Vec<Publication> {
        self.recorder.published.lock().unwrap().clone()
    }

    /// Runs all jobs and their retries.
    async fn drain(&self) {
        let work = self.worker().run_until(async {
            while !self.storage.sizes().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        timeout(TIMEOUT, work).await.expect("the queue is empty in time");
    }
}

pub(crate) fn down() -> Error {
    Error::Unreachable { host: "h".to_owned(), port: 1, source: "down".into() }
}

/// Retried soon.
pub(crate) fn soon() -> Delivery {
    Delivery::queued().backoff([Duration::from_millis(20)])
}

/// An answer that fails this number of times.
fn failing(times: usize) -> impl Fn(&str) -> Result<(), Error> + Send + Sync {
    let left = AtomicUsize::new(times);
    move |_| {
        let update = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        update.map_or(Ok(()), |_| Err(down()))
    }
}

async fn an_event_is_published_by_a_worker_with_its_delivery(store: Store) {
    let app = TestApp::new(&store, failing(3));
    let delays = [10, 40].map(Duration::from_millis);
    app.send("a", "x", Delivery::queued().queue("high").backoff(delays)).await;
    let retries = Arc::new(Mutex::new(Vec::new()));
    let reported = retries.clone();
    let worker = app.worker().queues(["high"]).at_most(4).report(move |report| {
        assert_eq!((report.queue, report.name), ("high", "x"));
        if let JobState::Retrying { after, error, .. } = &report.state {
            assert_eq!(*error, "cannot publish to h:1: down");
            reported.lock().unwrap().push((report.attempt, after.as_millis()));
        }
    });
    timeout(TIMEOUT, worker.run()).await.expect("four attempts in time");
    assert_eq!(*retries.lock().unwrap(), [(1, 10), (2, 40), (3, 40)]);
    assert_eq!(app.names(), ["x"]);
}

async fn events_of_a_channel_keep_their_order_over_retries(store: Store) {
    let app = TestApp::new(&store, failing(2));
    for name in ["1", "2", "3"] {
        app.send("a", name, soon()).await;
    }
    app.drain().await;
    assert_eq!(app.names(), ["1", "2", "3"]);
}

async fn an_unreadable_job_fails_and_the_worker_goes_on(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    for payload in ["O:8:\"stdClass\":0:{}", r#"{"version":99}"#, ""] {
        assert!(app.storage.push(&NewJob::new("default", payload)).await.unwrap());
    }
    app.send("a", "good", soon()).await;
    app.drain().await;
    assert_eq!(app.names(), ["good"]);
    let failed = app.storage.failed().await.unwrap();
    let [first, second, third] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(first.payload, "O:8:\"stdClass\":0:{}");
    assert!(first.error.starts_with("cannot read a stored job: "), "{}", first.error);
    assert!(second.error.starts_with("a stored job has version 99"), "{}", second.error);
    assert_eq!(third.payload, "");
    assert!(Job::from_json(&third.payload).is_err());
}

async fn a_permanent_error_fails_at_once(store: Store) {
    let app = TestApp::new(&store, |_| {
        let host = "h".to_owned();
        Err(Error::Refused { host, port: 1, status: 401, answer: "no".to_owned() })
    });
    app.send("a", "x", soon()).await;
    app.drain().await;
    assert_eq!(app.recorder.attempts.load(Ordering::SeqCst), 1);
    assert_eq!(app.storage.failed().await.unwrap()[0].error, "h:1 answered 401: no");
}

async fn a_unique_event_is_dropped_while_an_identical_one_waits(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    let unique = |by: &str| soon().unique_for(Duration::from_secs(600)).unique_by(by);
    app.send("a", "x", unique("1")).await;
    app.send("a", "x", unique("1")).await;
    app.send("a", "x", unique("2")).await;
    app.send("a", "y", unique("1")).await;
    app.drain().await;
    assert_eq!(app.names(), ["x", "x", "y"]);
}

async fn a_debounced_event_is_sent_once_with_its_last_payload(store: Store) {
    #[derive(Serialize, Broadcast)]
    #[broadcast(channel = "stats.{page}", name = "counted", unique = latest)]
    struct Counted {
        page: u32,
        visitors: u32,
    }

    let app = TestApp::new(&store, |_| Ok(()));
    for visitors in 1..=3 {
        for page in [1, 2] {
            app.clarim.broadcast(Counted { page, visitors }).await.unwrap();
        }
    }
    app.drain().await;
    let sent: Vec<_> =
        app.published().into_iter().map(|one| (one.channels[0].clone(), one.data)).collect();
    let expected =
        [1, 2].map(|page| (format!("stats.{page}"), format!(r#"{{"page":{page},"visitors":3}}"#)));
    assert_eq!(sent, expected);
}

async fn sent_parts_of_an_event_are_not_sent_again(store: Store) {
    let attempts = AtomicUsize::new(0);
    let second_fails = move |_: &str| {
        if attempts.fetch_add(1, Ordering::SeqCst) == 1 { Err(down()) } else { Ok(()) }
    };
    let app = TestApp::new(&store, second_fails);
    let mut event = app.clarim.on("news.0").name("x").delivery(soon());
    for n in 1..150 {
        event = event.and(format!("news.{n}"));
    }
    event.send().await.unwrap();
    app.drain().await;
    assert_eq!(app.recorder.attempts.load(Ordering::SeqCst), 3);
    let published = app.recorder.published.lock().unwrap();
    let mut channels: Vec<&String> = published.iter().flat_map(|one| &one.channels).collect();
    assert_eq!(channels.len(), 150);
    channels.sort();
    channels.dedup();
    assert_eq!(channels.len(), 150);
}

async fn a_payload_over_the_servers_limit_fails_at_once_with_size_and_limit(store: Store) {
    let mut app = App::new("1", "key", "secret");
    app.limits.event_data_bytes = 10;
    let server = Server::start(server_settings(), vec![app], false).unwrap();
    let port = server.address().unwrap().port();
    let settings = Settings::http("1", "key", "secret").port(port).queue(store.connection());
    let clarim = Clarim::new(settings).unwrap();
    clarim.on("news").name("big").with("x".repeat(50)).delivery(soon()).send().await.unwrap();
    Worker::new(&clarim).unwrap().at_most(1).run().await;
    let failed = clarim.storage().unwrap().failed().await.unwrap();
    let error = &failed[0].error;
    assert!(error.contains("413") && error.contains("52") && error.contains("10"), "{error}");
    server.stop();
}
