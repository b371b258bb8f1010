//! An application with a queue, and a publisher that does what it is told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarim::publisher::{BoxFuture, Publication, Publisher};
use clarim::queue::{FailedJob, QueueSize, State, Storage, Worker};
use clarim::{Clarim, Delivery, Error, Settings};
use tokio::sync::watch;

use crate::stores::{Store, TIMEOUT};

/// What becomes of a publication, by the event's name.
type Answer = Arc<dyn Fn(&str) -> Result<(), Error> + Send + Sync>;

/// Remembers what was asked and what went out, and can be waited for.
pub(crate) struct Server {
    answer: Mutex<Answer>,
    asked: watch::Sender<Vec<String>>,
    out: watch::Sender<Vec<(String, String)>>,
    /// Events of these names do not come to an end before they are let go.
    held: watch::Sender<HashSet<String>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Server")
    }
}

impl Server {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            answer: Mutex::new(Arc::new(|_| Ok(()))),
            asked: watch::Sender::default(),
            out: watch::Sender::default(),
            held: watch::Sender::default(),
        })
    }

    pub(crate) fn answer(
        &self,
        answer: impl Fn(&str) -> Result<(), Error> + Send + Sync + 'static,
    ) {
        *self.answer.lock().unwrap() = Arc::new(answer);
    }

    pub(crate) fn hold(&self, names: &[&str]) {
        self.held.send_replace(names.iter().map(|name| (*name).to_owned()).collect());
    }

    /// Names of the events that went out.
    pub(crate) fn out(&self) -> Vec<String> {
        self.out.borrow().iter().map(|(_, name)| name.clone()).collect()
    }

    /// Channels and names of the events that went out.
    pub(crate) fn out_on(&self) -> Vec<(String, String)> {
        self.out.borrow().clone()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.borrow().clone()
    }

    pub(crate) async fn wait_asked(&self, count: usize) {
        let mut asked = self.asked.subscribe();
        let enough = asked.wait_for(|asked| asked.len() >= count);
        tokio::time::timeout(TIMEOUT, enough).await.expect("asked in time").unwrap();
    }

    pub(crate) async fn wait_out(&self, count: usize) {
        let mut out = self.out.subscribe();
        let enough = out.wait_for(|out| out.len() >= count);
        tokio::time::timeout(TIMEOUT, enough).await.expect("out in time").unwrap();
    }
}

impl Publisher for Server {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for one in batch {
                self.asked.send_modify(|asked| asked.push(one.name.clone()));
                let mut held = self.held.subscribe();
                held.wait_for(|held| !held.contains(&one.name)).await.unwrap();
                let answer = self.answer.lock().unwrap().clone();
                answer(&one.name)?;
                for channel in &one.channels {
                    self.out.send_modify(|out| out.push((channel.clone(), one.name.clone())));
                }
            }
            Ok(())
        })
    }
}

pub(crate) fn down() -> Error {
    let (host, cause) = ("h".to_owned(), "down".to_owned());
    Error::Unreachable { host, port: 1, cause }
}

pub(crate) const SOON: Duration = Duration::from_millis(20);

/// Tried again soon.
pub(crate) fn soon() -> Delivery {
    Delivery::queued().backoff([SOON])
}

/// An application.
pub(crate) struct App {
    pub(crate) clarim: Clarim,
    pub(crate) server: Arc<Server>,
    pub(crate) storage: Arc<dyn Storage>,
}

impl App {
    pub(crate) fn new(store: &Store) -> Self {
        let server = Server::new();
        let settings = Settings { queue: store.connection(), ..Settings::default() };
        let clarim = Clarim::builder(settings).publisher(server.clone()).build().unwrap();
        let storage = clarim.storage().unwrap();
        Self { clarim, server, storage }
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker::new(&self.clarim).unwrap().poll(Duration::from_millis(5))
    }

    pub(crate) async fn send(&self, channel: &str, name: &str, delivery: Delivery) {
        let event = self.clarim.on(channel.to_owned()).name(name.to_owned());
        event.delivery(delivery).send().await.unwrap();
    }

    /// Runs what is due, and what becomes due meanwhile, until nothing is left.
    pub(crate) async fn drain(&self) {
        let left = |sizes: Vec<QueueSize>| {
            sizes.iter().map(|size| size.waiting + size.later + size.running).sum::<u64>()
        };
        let work = self.worker().run_until(async {
            while left(self.storage.sizes().await.unwrap()) > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        tokio::time::timeout(TIMEOUT, work).await.expect("done in time");
    }

    pub(crate) async fn failed(&self) -> Vec<FailedJob> {
        self.storage.failed().await.unwrap()
    }
}

/// What a worker reports, as words.
pub(crate) fn word(state: &State<'_>) -> &'static str {
    match state {
        State::Running => "running",
        State::Done { .. } => "done",
        State::Again { .. } => "again",
        State::Failed { .. } => "failed",
        State::Lost { .. } => "lost",
        _ => "?",
    }
}
