//! A queue with jobs that do as the test says.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::TestStore;
use crate::error::JobError;
use crate::future::BoxFuture;
use crate::job::{Job, JobReader};
use crate::storage::{FailedJob, NewJob, Storage, Unique};
use crate::worker::Worker;

/// Timeout for a step of a test; generous, since machines may be busy.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A delay or lease that is over soon.
pub const SHORT: Duration = Duration::from_millis(20);

/// Decides an attempt by the job's name.
type Answer = Arc<dyn Fn(&str) -> Result<(), JobError> + Send + Sync>;

/// State that the jobs of a test share.
struct Control {
    answer: Mutex<Answer>,
    /// Names of all attempts, in order.
    started: watch::Sender<Vec<String>>,
    /// Order keys and names of the parts that succeeded, in order.
    done: watch::Sender<Vec<(String, String)>>,
    /// Names of jobs whose attempts don't end yet.
    held: watch::Sender<HashSet<String>>,
}

/// Reads the jobs of a [`Fixture`].
#[derive(Clone)]
pub struct TestReader(Arc<Control>);

impl fmt::Debug for TestReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TestReader")
    }
}

/// A job of a test. It has parts, one after the other, and each part has order keys.
#[derive(Debug, Clone)]
pub struct TestJob {
    name: String,
    parts: Vec<Vec<String>>,
    queue: String,
    tries: Option<u32>,
    delays: Vec<Duration>,
    delay: Duration,
    unique: Option<Unique>,
    /// An order key that a delayed job has, too.
    ordered: Option<String>,
}

impl TestJob {
    /// A job of one part with one order key. It is retried after [`SHORT`].
    #[must_use]
    pub fn new(key: &str, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            parts: vec![vec![key.to_owned()]],
            queue: "default".to_owned(),
            tries: None,
            delays: vec![SHORT],
            delay: Duration::ZERO,
            unique: None,
            ordered: None,
        }
    }

    /// Adds an order key to the last part.
    #[must_use]
    pub fn and(mut self, key: &str) -> Self {
        self.parts.last_mut().expect("it has a part").push(key.to_owned());
        self
    }

    /// Adds a part with this order key.
    #[must_use]
    pub fn then(mut self, key: &str) -> Self {
        self.parts.push(vec![key.to_owned()]);
        self
    }

    /// Sets the queue.
    #[must_use]
    pub fn queue(self, queue: &str) -> Self {
        Self { queue: queue.to_owned(), ..self }
    }

    /// Sets the maximum number of attempts.
    #[must_use]
    pub fn tries(self, tries: u32) -> Self {
        Self { tries: Some(tries), ..self }
    }

    /// Sets the delays before retries; the last one repeats.
    #[must_use]
    pub fn delays(self, delays: &[Duration]) -> Self {
        Self { delays: delays.to_vec(), ..self }
    }

    /// Sets the delay before the job is due. A delayed job keeps no order.
    #[must_use]
    pub fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Makes the job unique.
    #[must_use]
    pub fn unique(self, key: &str, time: Duration) -> Self {
        Self { unique: Some(Unique::new(key, time)), ..self }
    }

    /// Makes the job unique: the latest one is kept.
    #[must_use]
    pub fn latest(self, key: &str) -> Self {
        Self { unique: Some(Unique::latest(key)), ..self }
    }

    /// Adds an order key that the job has even if it is delayed.
    #[must_use]
    pub fn ordered(self, key: &str) -> Self {
        Self { ordered: Some(key.to_owned()), ..self }
    }

    fn stored(&self) -> NewJob {
        let mut order_keys: Vec<String> = self.parts.concat();
        order_keys.sort();
        order_keys.dedup();
        if !self.delay.is_zero() {
            order_keys.clear();
        }
        order_keys.extend(self.ordered.clone());
        let Self { name, parts, tries, .. } = self;
        let delays: Vec<f64> = self.delays.iter().map(Duration::as_secs_f64).collect();
        let payload = json!({ "name": name, "parts": parts, "tries": tries, "delays": delays });
        NewJob {
            order_keys,
            delay: self.delay,
            unique: self.unique.clone(),
            ..NewJob::new(&self.queue, payload.to_string())
        }
    }
}

/// A job of a test that a worker has read.
struct RunningJob {
    name: String,
    parts: Vec<Vec<String>>,
    tries: Option<u32>,
    delays: Vec<f64>,
    control: Arc<Control>,
}

impl JobReader for TestReader {
    fn read(&self, payload: &str) -> Result<Box<dyn Job>, JobError> {
        let value: Value = serde_json::from_str(payload).map_err(JobError::permanent)?;
        let texts = |value: &Value| -> Vec<String> {
            let texts = value.as_array().into_iter().flatten();
            texts.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let name = value["name"].as_str().ok_or_else(|| JobError::permanent("no name"))?;
        Ok(Box::new(RunningJob {
            name: name.to_owned(),
            parts: value["parts"].as_array().into_iter().flatten().map(texts).collect(),
            tries: value["tries"].as_u64().and_then(|tries| tries.try_into().ok()),
            delays: value["delays"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_f64)
                .collect(),
            control: self.0.clone(),
        }))
    }
}

impl Job for RunningJob {
    fn name(&self) -> &str {
        &self.name
    }

    fn attempt(&mut self) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async move {
            let Self { name, parts, control, .. } = self;
            while let Some(keys) = parts.first() {
                control.started.send_modify(|started| started.push(name.clone()));
                let mut held = control.held.subscribe();
                held.wait_for(|held| !held.contains(name)).await.expect("its sender is here");
                let answer =
                    control.answer.lock().expect("it is not locked while an answer panics").clone();
                answer(name)?;
                control.done.send_modify(|done| {
                    done.extend(keys.iter().map(|key| (key.clone(), name.clone())));
                });
                parts.remove(0);
            }
            Ok(())
        })
    }

    fn retry_after(&self, attempt: u32) -> Option<Duration> {
        if self.tries.is_some_and(|tries| attempt >= tries) {
            return None;
        }
        let place = (attempt as usize - 1).min(self.delays.len() - 1);
        Some(Duration::from_secs_f64(self.delays[place]))
    }

    fn payload(&self) -> Result<String, JobError> {
        let Self { name, parts, tries, delays, .. } = self;
        Ok(json!({ "name": name, "parts": parts, "tries": tries, "delays": delays }).to_string())
    }
}

/// One process with a connection to the store.
pub struct Fixture {
    /// The storage.
    pub storage: Arc<dyn Storage>,
    control: Arc<Control>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").field("storage", &self.storage).finish_non_exhaustive()
    }
}

impl Fixture {
    /// Connects to the store.
    pub fn new(store: &dyn TestStore) -> Self {
        let control = Control {
            answer: Mutex::new(Arc::new(|_| Ok(()))),
            started: watch::Sender::default(),
            done: watch::Sender::default(),
            held: watch::Sender::default(),
        };
        Self { storage: store.connect(), control: Arc::new(control) }
    }

    /// A worker that polls often.
    #[must_use]
    pub fn worker(&self) -> Worker {
        let reader = Arc::new(TestReader(self.control.clone()));
        Worker::with_storage(self.storage.clone(), reader).poll(Duration::from_millis(5))
    }

    /// Stores a job. Returns `false` if it was dropped as a duplicate.
    pub async fn push(&self, job: TestJob) -> bool {
        self.storage.push(&job.stored()).await.expect("the storage takes the job")
    }

    /// Sets what becomes of attempts.
    pub fn answer(&self, answer: impl Fn(&str) -> Result<(), JobError> + Send + Sync + 'static) {
        *self.control.answer.lock().expect("it is not locked while an answer panics") =
            Arc::new(answer);
    }

    /// Keeps attempts at jobs of these names from ending, and lets all others end.
    pub fn hold(&self, names: &[&str]) {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        self.control.held.send_replace(names);
    }

    /// Names of all attempts, in order.
    #[must_use]
    pub fn started(&self) -> Vec<String> {
        self.control.started.borrow().clone()
    }

    /// Names of the parts that succeeded, once for each order key, in order.
    #[must_use]
    pub fn done(&self) -> Vec<String> {
        self.control.done.borrow().iter().map(|(_, name)| name.clone()).collect()
    }

    /// Order keys and names of the parts that succeeded, in order.
    #[must_use]
    pub fn done_by_key(&self) -> Vec<(String, String)> {
        self.control.done.borrow().clone()
    }

    /// Waits for this number of attempts.
    pub async fn wait_started(&self, count: usize) {
        let mut started = self.control.started.subscribe();
        let enough = started.wait_for(|started| started.len() >= count);
        let waited = tokio::time::timeout(TIMEOUT, enough).await;
        waited.expect("attempts start in time").expect("the sender is here");
    }

    /// Waits for this number of successes.
    pub async fn wait_done(&self, count: usize) {
        let mut done = self.control.done.subscribe();
        let enough = done.wait_for(|done| done.len() >= count);
        let waited = tokio::time::timeout(TIMEOUT, enough).await;
        waited.expect("jobs succeed in time").expect("the sender is here");
    }

    /// Runs all jobs, and their retries, until the queues are empty.
    pub async fn drain(&self) {
        let work = self.worker().run_until(async {
            while !self.is_empty().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        tokio::time::timeout(TIMEOUT, work).await.expect("the queues are empty in time");
    }

    /// Whether no queue has a job.
    pub async fn is_empty(&self) -> bool {
        self.storage.sizes().await.expect("the storage answers").is_empty()
    }

    /// The failed jobs.
    pub async fn failed(&self) -> Vec<FailedJob> {
        self.storage.failed().await.expect("the storage answers")
    }
}
