//! What a queue that outlives the process keeps, and how it is asked for it.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::Job;
use crate::Error;
use crate::publisher::BoxFuture;

/// Where jobs are kept: SQLite, PostgreSQL, Redis, or a place of one's own. The
/// [`Worker`](super::Worker) knows nothing of which one it has.
///
/// Times are those of the store's clock, so that machines whose clocks differ can share it.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Keeps a job. `false`: it is unique, and the same waits.
    fn push<'a>(&'a self, job: &'a NewJob) -> BoxFuture<'a, Result<bool, Error>>;

    /// The job of this queue that has been due for longest, and is the first of all its channels. It is
    /// the caller's for the time of the lease; after that it is anyone's again, for the caller may be dead.
    fn reserve<'a>(
        &'a self,
        queue: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<Reserved>, Error>>;

    /// The lease starts anew. `false`, here and below: the job is no longer the caller's.
    fn extend<'a>(
        &'a self,
        job: &'a Reserved,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// The job is done, and is forgotten.
    fn done<'a>(&'a self, job: &'a Reserved) -> BoxFuture<'a, Result<bool, Error>>;

    /// The job, which may have changed, is due again after this time. Until then its channels wait.
    fn again<'a>(
        &'a self,
        job: &'a Reserved,
        payload: &'a str,
        after: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// The job, which may have changed, is given up: it is kept with its error, and in nobody's way.
    fn fail<'a>(
        &'a self,
        job: &'a Reserved,
        payload: &'a str,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// The jobs that were given up, oldest first.
    fn failed(&self) -> BoxFuture<'_, Result<Vec<FailedJob>, Error>>;

    /// Forgets a job that was given up. `false`: there is none with this id.
    fn forget(&self, id: u64) -> BoxFuture<'_, Result<bool, Error>>;

    /// Forgets all jobs that were given up. How many they were.
    fn flush(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// The queues in which something is, by name.
    fn sizes(&self) -> BoxFuture<'_, Result<Vec<QueueSize>, Error>>;

    /// Takes the lock of this name for this time at most. `false`: somebody has it, maybe this very owner.
    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Gives it back, if it is still this owner's.
    fn unlock<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}

/// A job that is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewJob {
    /// The queue's name.
    pub queue: String,
    /// What [`Job::to_json`] has written, or anything else, which will be found among the failed jobs.
    pub payload: String,
    /// The channels whose order it must keep within the queue.
    pub channels: Vec<String>,
    /// It is not due before.
    pub delay: Duration,
    /// It is dropped while another one with this text waits, which that one does for this time at most.
    pub unique: Option<(String, Duration)>,
}

impl NewJob {
    /// Due at once, in no order, not unique.
    pub fn new(queue: impl Into<String>, payload: impl Into<String>) -> Self {
        let (queue, payload) = (queue.into(), payload.into());
        Self { queue, payload, channels: Vec::new(), delay: Duration::ZERO, unique: None }
    }

    /// For this job. One that was told to come later is in no order: the others don't wait for it.
    ///
    /// # Errors
    /// Those of [`Job::to_json`].
    pub fn of(job: &Job) -> Result<Self, Error> {
        let delay = job.delivery.delay.unwrap_or_default();
        Ok(Self {
            channels: if delay.is_zero() { job.channels() } else { Vec::new() },
            delay,
            unique: job.unique.clone().zip(job.delivery.unique_for),
            ..Self::new(job.queue(), job.to_json()?)
        })
    }
}

/// A job in a worker's hands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reserved {
    /// Its number in the store.
    pub id: u64,
    /// The queue it is of.
    pub queue: String,
    /// The job as text.
    pub payload: String,
    /// Which attempt this is, the first being 1. With the id it says whose the job is.
    pub attempt: u32,
    /// What makes it unique, if it is.
    pub unique: Option<String>,
}

impl Reserved {
    /// What a storage hands out.
    #[must_use]
    pub fn new(id: u64, queue: &str, payload: String, attempt: u32) -> Self {
        Self { id, queue: queue.to_owned(), payload, attempt, unique: None }
    }
}

/// A job that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedJob {
    /// Its number in the store.
    pub id: u64,
    /// The queue it was of.
    pub queue: String,
    /// The job as text.
    pub payload: String,
    /// Why it was given up.
    pub error: String,
    /// And when.
    pub failed_at: SystemTime,
}

impl FailedJob {
    /// What a storage hands out; the time is in milliseconds since 1970.
    #[must_use]
    pub fn new(id: u64, queue: String, payload: String, error: String, failed_at: u64) -> Self {
        let failed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(failed_at);
        Self { id, queue, payload, error, failed_at }
    }

    /// The event's name, if the job can be read.
    #[must_use]
    pub fn event(&self) -> Option<String> {
        Job::from_json(&self.payload).ok().map(|job| job.event)
    }

    /// As a new job, which keeps others out no longer.
    pub(crate) fn renewed(&self) -> NewJob {
        let channels = Job::from_json(&self.payload).map(|job| job.channels()).unwrap_or_default();
        NewJob { channels, ..NewJob::new(&self.queue, &self.payload) }
    }
}

/// What is in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSize {
    /// Its name.
    pub queue: String,
    /// Jobs that are due.
    pub waiting: u64,
    /// Jobs that are due later: delayed, or to be tried again.
    pub later: u64,
    /// Jobs in the hands of workers.
    pub running: u64,
    /// For how long the oldest of those that are due has been there.
    pub oldest: Option<Duration>,
}

impl QueueSize {
    /// What a storage hands out.
    #[must_use]
    pub fn new(queue: String, waiting: u64, later: u64, running: u64) -> Self {
        Self { queue, waiting, later, running, oldest: None }
    }
}

/// Times are kept in milliseconds.
pub(crate) fn millis(time: Duration) -> i64 {
    // A hundred years: a sum with the time of today fits.
    const MAX: u128 = 100 * 366 * 86_400_000;
    i64::try_from(time.as_millis().min(MAX)).unwrap_or(i64::MAX)
}
