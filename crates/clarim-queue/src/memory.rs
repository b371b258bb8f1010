//! A queue in memory. Waiting jobs are lost when the process ends.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender, error::SendError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::attempt::{Outcome, attempt};
use crate::error::Error;
use crate::job::Job;
use crate::storage::{Keep, Unique};

/// Maximum number of waiting jobs, over all queues.
const MAX_WAITING: usize = 10_000;

/// Runs jobs in this process. Each queue has one task that runs its jobs one after the other, so they keep
/// their order; a job that is retried holds up its queue. Locks are valid within this process only.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    shared: Arc<Shared>,
    lanes: Arc<Lanes>,
}

/// A job for a [`MemoryQueue`].
#[non_exhaustive]
pub struct MemoryJob {
    /// The queue's name.
    pub queue: String,
    /// The job.
    pub job: Box<dyn Job>,
    /// Delay before the job takes its place in the queue.
    pub delay: Option<Duration>,
    /// Makes the job unique.
    pub unique: Option<Unique>,
}

impl MemoryJob {
    /// A job without delay that is not unique.
    pub fn new(queue: impl Into<String>, job: impl Job) -> Self {
        Self { queue: queue.into(), job: Box::new(job), delay: None, unique: None }
    }
}

impl fmt::Debug for MemoryJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryJob")
            .field("queue", &self.queue)
            .field("job", &self.job.name())
            .field("delay", &self.delay)
            .field("unique", &self.unique)
            .finish()
    }
}

/// A task for each queue, by name. The mutex is held for a look-up only.
#[derive(Debug, Default)]
struct Lanes(Mutex<HashMap<String, UnboundedSender<WaitingJob>>>);

#[derive(Default)]
struct Shared {
    /// Number of waiting jobs.
    waiting: watch::Sender<usize>,
    /// Keys of unique jobs that wait.
    unique: Locks,
    /// The jobs that replace waiting ones when they start, by unique key.
    latest: Mutex<HashMap<String, Option<Box<dyn Job>>>>,
    locks: Locks,
}

/// Locks by name. The mutex is held for a look-up only.
#[derive(Debug, Default)]
struct Locks(Mutex<HashMap<String, Lock>>);

#[derive(Debug)]
struct Lock {
    /// Identifies the owner of a unique key: after its time, the key may belong to another job.
    id: u64,
    until: Instant,
}

/// A job that counts as waiting until it is dropped.
struct WaitingJob {
    job: MemoryJob,
    /// The lock of a unique job.
    lock: Option<u64>,
    /// Whether later jobs with its key still replace it.
    is_replaceable: bool,
    shared: Arc<Shared>,
}

impl WaitingJob {
    /// Replaces the job with the latest one of its key. From now on, the next one waits.
    fn take_latest(&mut self) {
        if let Some(unique) = self.job.unique.as_ref().filter(|_| self.is_replaceable) {
            self.is_replaceable = false;
            let latest = lock(&self.shared.latest).remove(&unique.key).flatten();
            if let Some(latest) = latest {
                self.job.job = latest;
            }
        }
    }
}

impl Drop for WaitingJob {
    fn drop(&mut self) {
        self.take_latest();
        if let (Some(unique), Some(id)) = (&self.job.unique, self.lock) {
            self.shared.unique.release(&unique.key, id);
        }
        self.shared.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job. A unique job is dropped while an identical one waits, or replaces it; see [`Keep`]. Must
    /// be called within a tokio runtime.
    ///
    /// # Errors
    /// Returns [`Error::Full`] if ten thousand jobs are waiting.
    pub fn push(&self, job: MemoryJob) -> Result<(), Error> {
        let Some(waiting) = self.shared.admit(job)? else { return Ok(()) };
        match waiting.job.delay {
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

    /// Number of jobs that are waiting or running.
    #[must_use]
    pub fn waiting(&self) -> usize {
        *self.shared.waiting.borrow()
    }

    /// Waits until no job is waiting or running.
    pub async fn idle(&self) {
        let mut waiting = self.shared.waiting.subscribe();
        // The sender lives in `self`, so the channel can't be closed.
        let _ = waiting.wait_for(|waiting| *waiting == 0).await;
    }

    /// Acquires the named lock for at most this time. Returns `false` if it is held.
    #[must_use]
    pub fn lock(&self, name: &str, time: Duration) -> bool {
        self.shared.locks.acquire(name, time).is_some()
    }

    /// Holds the named lock for this time from now. Returns `false` if it has expired.
    #[must_use]
    pub fn extend_lock(&self, name: &str, time: Duration) -> bool {
        let now = Instant::now();
        let mut locks = lock(&self.shared.locks.0);
        let held = locks.get_mut(name).filter(|lock| lock.until > now);
        held.map(|lock| lock.until = now + time).is_some()
    }

    /// Releases the named lock. Locks belong to the process, whichever part of it acquired them.
    pub fn unlock(&self, name: &str) {
        lock(&self.shared.locks.0).remove(name);
    }
}

impl Shared {
    /// Counts a job, unless it is dropped or replaces another one.
    fn admit(self: &Arc<Self>, job: MemoryJob) -> Result<Option<WaitingJob>, Error> {
        let unique = job.unique.clone();
        match unique {
            None => self.count(job).map(Some),
            Some(Unique { key, keep: Keep::First(time) }) => {
                let mut waiting = self.count(job)?;
                waiting.lock = self.unique.acquire(&key, time);
                if waiting.lock.is_none() {
                    let name = waiting.job.job.name();
                    tracing::debug!(job = name, key, "job dropped: an identical job is waiting");
                    return Ok(None);
                }
                Ok(Some(waiting))
            }
            Some(Unique { key, keep: Keep::Latest }) => {
                let mut latest = lock(&self.latest);
                if let Some(waiting) = latest.get_mut(&key) {
                    *waiting = Some(job.job);
                    return Ok(None);
                }
                let mut waiting = self.count(job)?;
                waiting.is_replaceable = true;
                latest.insert(key, None);
                Ok(Some(waiting))
            }
        }
    }

    /// Counts a job as waiting, if there is room for it.
    fn count(self: &Arc<Self>, job: MemoryJob) -> Result<WaitingJob, Error> {
        let has_room = self.waiting.send_if_modified(|waiting| {
            let has_room = *waiting < MAX_WAITING;
            *waiting += usize::from(has_room);
            has_room
        });
        if !has_room {
            return Err(Error::Full { queue: job.queue, limit: MAX_WAITING });
        }
        Ok(WaitingJob { job, lock: None, is_replaceable: false, shared: self.clone() })
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("waiting", &*self.waiting.borrow()).finish_non_exhaustive()
    }
}

impl Locks {
    /// Takes a name that is free or expired.
    fn acquire(&self, name: &str, time: Duration) -> Option<u64> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let now = Instant::now();
        let mut locks = lock(&self.0);
        if locks.get(name).is_some_and(|lock| lock.until > now) {
            return None;
        }
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        locks.insert(name.to_owned(), Lock { id, until: now + time });
        Some(id)
    }

    fn release(&self, name: &str, id: u64) {
        let mut locks = lock(&self.0);
        if locks.get(name).is_some_and(|lock| lock.id == id) {
            locks.remove(name);
        }
    }
}

impl Lanes {
    fn send(&self, waiting: WaitingJob) {
        let mut lanes = lock(&self.0);
        let lane = lanes.entry(waiting.job.queue.clone()).or_insert_with(start_lane);
        // A lane's task ends with the runtime that it was spawned on; now there may be another runtime.
        if let Err(SendError(waiting)) = lane.send(waiting) {
            *lane = start_lane();
            let _ = lane.send(waiting);
        }
    }
}

fn start_lane() -> UnboundedSender<WaitingJob> {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(run_lane(receiver));
    sender
}

/// Runs the jobs of a lane until the queue is dropped.
async fn run_lane(mut lane: UnboundedReceiver<WaitingJob>) {
    while let Some(mut waiting) = lane.recv().await {
        waiting.take_latest();
        run(&mut *waiting.job.job).await;
    }
}

/// Makes attempts until the job is done or has failed.
async fn run(job: &mut dyn Job) {
    for number in 1.. {
        // A job that always panics must not block the queue: nobody can remove it from memory.
        match attempt(job, number, 1).await {
            Outcome::Done => return,
            Outcome::Failed { error } => {
                tracing::error!(job = job.name(), attempt = number, %error, "job failed");
                return;
            }
            Outcome::Retry { error, after } => {
                tracing::warn!(job = job.name(), %error, ?after, "job failed; retrying");
                tokio::time::sleep(after).await;
            }
        }
    }
}

/// Every step under these mutexes leaves their maps whole, so poisoning can be ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
