//! Errors of queues and of jobs.

use std::error::Error as StdError;
use std::fmt;

type BoxError = Box<dyn StdError + Send + Sync>;

/// The reason why a queue did not do what it was asked for.
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
    /// The queue can't store jobs in this transaction.
    #[error("cannot queue in this transaction: {problem}")]
    Transaction {
        /// The problem, and what to do.
        problem: String,
    },
}

impl Error {
    /// Wraps the error of a database driver.
    pub fn storage(store: &'static str, source: impl Into<BoxError>) -> Self {
        Self::Storage { store, source: source.into() }
    }

    /// Wraps the error of a database driver, with the address of the server. The URL may contain a password.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    pub(crate) fn storage_at(store: &'static str, url: &str, source: impl Into<BoxError>) -> Self {
        let address = address_of(url).to_owned();
        Self::storage(store, At { address, source: source.into() })
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        !matches!(self, Self::Transaction { .. })
    }

    /// A stable identifier for programs: `queue_storage_failed`, `queue_full` or `queue_transaction`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Storage { .. } => "queue_storage_failed",
            Self::Full { .. } => "queue_full",
            Self::Transaction { .. } => "queue_transaction",
        }
    }
}

/// The error of a server, with its address.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
#[derive(Debug, thiserror::Error)]
#[error("{address}: {source}")]
struct At {
    address: String,
    source: BoxError,
}

/// What follows the scheme and the credentials of a URL, without its query.
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
fn address_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A password may contain any character, so the last at sign counts.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('?').next().unwrap_or_default()
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

#[cfg(all(test, any(feature = "sqlite", feature = "postgres", feature = "redis")))]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_server_without_its_password() {
        for (url, address) in [
            ("redis://:p@ss/w@10.0.0.1:6379/2", "10.0.0.1:6379/2"),
            ("postgres://u:p@db/app?sslmode=require", "db/app"),
            ("sqlite:queue.sqlite?mode=rwc", "sqlite:queue.sqlite"),
        ] {
            let error = Error::storage_at("any", url, "down").to_string();
            assert!(error.contains(&format!("any failed: {address}: down")), "{error}");
        }
    }
}
