//! A queue in memory: what waits is lost with the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, error::SendError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Job, Queue};
use crate::Error;
use crate::publisher::{BoxFuture, Publisher};

/// Jobs that may wait in all.
const MAX_WAITING: usize = 10_000;

/// Runs jobs in this process: a task for each queue, which runs one after the other, so that the events of
/// a channel keep their order. While the server is down, jobs wait, up to ten thousand. Its locks are for
/// this process alone.
#[derive(Debug)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
    lanes: Arc<Lanes>,
}

/// The lock is held for a look-up.
#[derive(Debug, Default)]
struct Lanes(Mutex<HashMap<LaneName, UnboundedSender<Waiting>>>);

/// Connection and queue.
type LaneName = (Option<String>, String);

#[derive(Debug)]
struct Shared {
    publisher: Arc<dyn Publisher>,
    /// How many wait.
    waiting: watch::Sender<usize>,
    /// Unique jobs that wait, and until when they keep others out.
    unique: Mutex<HashMap<String, Instant>>,
    /// Named locks, and until when they are held.
    locks: Mutex<HashMap<String, Instant>>,
}

/// A job and its place among those that wait, which it gives back however it ends.
struct Waiting {
    job: Job,
    shared: Arc<Shared>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(id) = &self.job.unique {
            lock(&self.shared.unique).remove(id);
        }
        self.shared.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        let shared = Shared {
            publisher,
            waiting: watch::Sender::new(0),
            unique: Mutex::default(),
            locks: Mutex::default(),
        };
        Self { shared: Arc::new(shared), lanes: Arc::default() }
    }

    fn take(&self, job: Job) -> Result<(), Error> {
        if let (Some(id), Some(time)) = (&job.unique, job.delivery.unique_for)
            && !claim(&self.shared.unique, id, time)
        {
            tracing::debug!(event = job.event, unique = id, "dropped: the same is waiting");
            return Ok(());
        }
        let mut full = false;
        self.shared.waiting.send_modify(|waiting| {
            *waiting += 1;
            full = *waiting > MAX_WAITING;
        });
        let queue = job.queue().to_owned();
        let waiting = Waiting { job, shared: self.shared.clone() };
        if full {
            let cause = format!("{MAX_WAITING} jobs are waiting");
            return Err(Error::Queue { queue, cause, temporary: true });
        }
        match waiting.job.delivery.delay {
            None => self.lanes.send(waiting),
            Some(delay) => {
                let lanes = self.lanes.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    lanes.send(waiting);
                });
            }
        }
        Ok(())
    }
}

impl Lanes {
    fn send(&self, waiting: Waiting) {
        let delivery = &waiting.job.delivery;
        let name = (delivery.connection.clone(), waiting.job.queue().to_owned());
        let mut lanes = lock(&self.0);
        let lane = lanes.entry(name).or_insert_with(start_lane);
        // The task of the lane ends with the runtime it was started on; there may be another one now.
        if let Err(SendError(waiting)) = lane.send(waiting) {
            *lane = start_lane();
            let _ = lane.send(waiting);
        }
    }
}

/// Takes what is free, or was taken for a time that is over.
fn claim(taken: &Mutex<HashMap<String, Instant>>, name: &str, time: Duration) -> bool {
    let now = Instant::now();
    let mut taken = lock(taken);
    if taken.get(name).is_some_and(|until| *until > now) {
        return false;
    }
    taken.insert(name.to_owned(), now + time);
    true
}

impl Queue for MemoryQueue {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.take(job) })
    }

    fn idle(&self) -> BoxFuture<'_, ()> {
        let mut waiting = self.shared.waiting.subscribe();
        Box::pin(async move {
            // The sender is ours: it can't be gone.
            let _ = waiting.wait_for(|waiting| *waiting == 0).await;
        })
    }

    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(claim(&self.shared.locks, name, time)) })
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            lock(&self.shared.locks).remove(name);
            Ok(())
        })
    }
}

fn start_lane() -> UnboundedSender<Waiting> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(run(receiver));
    sender
}

/// Runs the jobs of a lane until the queue is gone.
async fn run(mut lane: UnboundedReceiver<Waiting>) {
    while let Some(mut waiting) = lane.recv().await {
        let publisher = waiting.shared.publisher.clone();
        finish(&mut waiting.job, &*publisher).await;
    }
}

/// Tries a job until it is done or can't be.
async fn finish(job: &mut Job, publisher: &dyn Publisher) {
    let mut attempt = 1;
    while let Err(error) = job.attempt(publisher).await {
        let event = &job.event;
        let is_last = job.delivery.tries.is_some_and(|tries| attempt >= tries);
        if is_last || !error.is_temporary() {
            tracing::error!(event, attempt, %error, "broadcast failed, and is given up");
            return;
        }
        attempt += 1;
        let wait = job.delivery.wait_before(attempt);
        tracing::warn!(event, %error, ?wait, "broadcast failed, and is tried again");
        tokio::time::sleep(wait).await;
    }
}

/// No step under these locks can leave a half-done one behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
