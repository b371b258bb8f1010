//! Errors of queues and of jobs.

use std::error::Error as StdError;
use std::fmt;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The reason why a queue did not do what it was asked for. Trying again later may help in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage failed or can't be reached.
    #[error("queue storage {store} failed: {source}; check its URL and that it is running")]
    Storage {
        /// The kind of storage: `sqlite`, `postgres`, `redis`.
        store: &'static str,
        /// The database driver's error.
        source: BoxError,
    },
    /// The queue in memory holds as many jobs as it may.
    #[error("queue {queue:?} is full: {limit} jobs are waiting; try again later")]
    Full {
        /// The queue's name.
        queue: String,
        /// The maximum number of waiting jobs.
        limit: usize,
    },
}

impl Error {
    /// Wraps the error of a database driver.
    pub fn storage(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Storage { store, source: source.into() }
    }

    /// A stable identifier for programs: `queue_storage_failed` or `queue_full`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Storage { .. } => "queue_storage_failed",
            Self::Full { .. } => "queue_full",
        }
    }
}

/// The reason why an attempt at a job failed. It reads like its cause.
#[derive(Debug)]
pub struct JobError {
    cause: BoxError,
    is_temporary: bool,
}

impl JobError {
    /// A failure that may pass: the job is retried.
    pub fn temporary(cause: impl Into<BoxError>) -> Self {
        Self { cause: cause.into(), is_temporary: true }
    }

    /// A failure that every further attempt would repeat: the job fails at once.
    pub fn permanent(cause: impl Into<BoxError>) -> Self {
        Self { cause: cause.into(), is_temporary: false }
    }

    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// A stable identifier for programs: `job_failed_temporarily` or `job_failed`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        if self.is_temporary { "job_failed_temporarily" } else { "job_failed" }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl StdError for JobError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.source()
    }
}
