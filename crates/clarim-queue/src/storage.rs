//! The storage of a queue.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::future::BoxFuture;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
use crate::transaction::SqlTransaction;
use crate::wakeups::Wakeups;

/// A place that keeps jobs: SQLite, PostgreSQL, Redis, or your own. The [`Worker`](crate::Worker) works with
/// any of them.
///
/// All times are measured by the storage's clock, so machines with different clocks can share it. Methods
/// that take a [`ReservedJob`] return `false` if the caller's lease has expired and another worker owns the
/// job.
pub trait Storage: fmt::Debug + Send + Sync + 'static {
    /// Stores a job. Returns `false` if the job is dropped, because it is unique and an identical one is
    /// waiting. See [`Keep`].
    fn push<'a>(&'a self, job: &'a NewJob) -> BoxFuture<'a, Result<bool, Error>>;

    /// Stores a job in a transaction of the application: it is in the queue exactly if the transaction
    /// commits. Returns `false` if the job is dropped, like [`push`](Self::push). Default: an error.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    fn push_in<'a>(
        &'a self,
        job: &'a NewJob,
        transaction: SqlTransaction<'a>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let _ = (job, transaction);
        let problem =
            "the queue is not in a SQL database; use a queue in the transaction's database";
        let error = Error::Transaction { problem: problem.to_owned() };
        Box::pin(std::future::ready(Err(error)))
    }

    /// Wake-ups for a worker, which otherwise polls. Called within a tokio runtime. Default: none.
    fn wakeups(&self) -> Wakeups {
        Wakeups::never()
    }

    /// Reserves the job of this queue that has been due longest among those that are first in the order of
    /// all their keys. When the lease expires, other workers may reserve the job.
    fn reserve<'a>(
        &'a self,
        queue: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<ReservedJob>, Error>>;

    /// Renews the lease.
    fn extend<'a>(
        &'a self,
        job: &'a ReservedJob,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Deletes a job that succeeded.
    fn complete<'a>(&'a self, job: &'a ReservedJob) -> BoxFuture<'a, Result<bool, Error>>;

    /// Returns the job, with its new payload, to the queue. It is due after this time; until then, jobs that
    /// share a key with it wait.
    fn release<'a>(
        &'a self,
        job: &'a ReservedJob,
        payload: &'a str,
        after: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Moves the job, with its new payload, to the failed jobs. It no longer holds up other jobs.
    fn fail<'a>(
        &'a self,
        job: &'a ReservedJob,
        payload: &'a str,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Lists the failed jobs, oldest first.
    fn failed(&self) -> BoxFuture<'_, Result<Vec<FailedJob>, Error>>;

    /// Deletes a failed job. Returns `false` if there is none with this id.
    fn forget(&self, id: u64) -> BoxFuture<'_, Result<bool, Error>>;

    /// Deletes all failed jobs and returns their number.
    fn flush(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// Deletes the jobs of this queue that no worker is running, and returns their number. Their unique keys
    /// are free again.
    fn clear<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>>;

    /// Asks all workers of the storage to end; see
    /// [`Worker::restart_requested`](crate::Worker::restart_requested).
    fn request_restart(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Number of times that [`request_restart`](Self::request_restart) was called.
    fn restarts(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// Lists the sizes of all queues that have jobs, by name.
    fn sizes(&self) -> BoxFuture<'_, Result<Vec<QueueSize>, Error>>;

    /// Acquires the named lock for at most this time. Returns `false` if it is held, even by the same owner.
    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Holds the named lock for this time from now. Returns `false` if this owner no longer holds it.
    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Releases the named lock if this owner still holds it.
    fn unlock<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}

/// A job to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewJob {
    /// The queue's name.
    pub queue: String,
    /// The job as text, opaque to the storage.
    pub payload: String,
    /// The keys whose order the job keeps within its queue: jobs that share a key run one after the other,
    /// in the order in which they were pushed.
    pub order_keys: Vec<String>,
    /// Delay before the job is due.
    pub delay: Duration,
    /// Makes the job unique.
    pub unique: Option<Unique>,
}

/// Uniqueness of a job: of the jobs with the same key, one waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unique {
    /// The key that identical jobs share.
    pub key: String,
    /// The job that is kept.
    pub keep: Keep,
}

/// The job that is kept of identical ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The one that was pushed first, until it has ended. For at most this time, others are dropped.
    First(Duration),
    /// The one that was pushed last. Its payload replaces that of the waiting job, which keeps its place. A
    /// job that is running is not replaced: the next one waits.
    Latest,
}

impl Unique {
    /// Uniqueness by this key, for at most this time. The first job is kept.
    pub fn new(key: impl Into<String>, time: Duration) -> Self {
        Self { key: key.into(), keep: Keep::First(time) }
    }

    /// Uniqueness by this key. The latest job is kept.
    pub fn latest(key: impl Into<String>) -> Self {
        Self { key: key.into(), keep: Keep::Latest }
    }
}

impl NewJob {
    /// A job that is due at once, has no order keys and is not unique.
    pub fn new(queue: impl Into<String>, payload: impl Into<String>) -> Self {
        Self {
            queue: queue.into(),
            payload: payload.into(),
            order_keys: Vec::new(),
            delay: Duration::ZERO,
            unique: None,
        }
    }
}

/// A job that a worker has reserved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReservedJob {
    /// The job's id in the storage.
    pub id: u64,
    /// The name of the job's queue.
    pub queue: String,
    /// The job as text.
    pub payload: String,
    /// The number of this attempt; the first is 1. Together with the id it identifies the owner.
    pub attempt: u32,
    /// The key by which the job is unique.
    pub unique_key: Option<String>,
}

impl ReservedJob {
    /// A reserved job that is not unique; for implementations of [`Storage`].
    #[must_use]
    pub fn new(id: u64, queue: &str, payload: String, attempt: u32) -> Self {
        Self { id, queue: queue.to_owned(), payload, attempt, unique_key: None }
    }
}

/// A job that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailedJob {
    /// The job's id in the storage.
    pub id: u64,
    /// The name of the job's queue.
    pub queue: String,
    /// The job as text.
    pub payload: String,
    /// The error message of the last attempt.
    pub error: String,
    /// The time of the failure.
    pub failed_at: SystemTime,
}

impl FailedJob {
    /// A failed job, with its time in milliseconds since 1970; for implementations of [`Storage`].
    #[must_use]
    pub fn new(id: u64, queue: String, payload: String, error: String, failed_at: u64) -> Self {
        let failed_at = SystemTime::UNIX_EPOCH + Duration::from_millis(failed_at);
        Self { id, queue, payload, error, failed_at }
    }
}

/// Number of jobs in a queue, by state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueSize {
    /// The queue's name.
    pub queue: String,
    /// Jobs that are due.
    pub waiting: u64,
    /// Jobs that are due later: delayed, or waiting for a retry.
    pub later: u64,
    /// Jobs that workers have reserved.
    pub running: u64,
    /// Age of the oldest job that is due.
    pub oldest: Option<Duration>,
}

impl QueueSize {
    /// The size of a queue, without an age; for implementations of [`Storage`].
    #[must_use]
    pub fn new(queue: String, waiting: u64, later: u64, running: u64) -> Self {
        Self { queue, waiting, later, running, oldest: None }
    }
}

/// Converts a time for the databases, which count milliseconds. At most a hundred years, so that a sum with
/// today's time fits.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
pub(crate) fn millis(time: Duration) -> i64 {
    const MAX: u128 = 100 * 366 * 86_400_000;
    i64::try_from(time.as_millis().min(MAX)).unwrap_or(i64::MAX)
}
