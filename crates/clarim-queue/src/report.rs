//! Progress of a worker.

use std::time::Duration;

/// A change in the state of a job, passed to [`Worker::report`](crate::Worker::report).
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The job's id in the storage.
    pub id: u64,
    /// The name of the job's queue.
    pub queue: &'a str,
    /// The job's name; empty if its payload can't be read.
    pub name: &'a str,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The job's new state.
    pub state: JobState<'a>,
}

impl<'a> Report<'a> {
    /// A report for the first attempt; for tests of code that takes reports.
    #[must_use]
    pub fn new(id: u64, queue: &'a str, name: &'a str, state: JobState<'a>) -> Self {
        Self { id, queue, name, attempt: 1, state }
    }
}

/// The state of a job in a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum JobState<'a> {
    /// The attempt has started.
    Running,
    /// The attempt succeeded.
    Done {
        /// Duration of the attempt.
        took: Duration,
    },
    /// The attempt failed and the job will be retried.
    Retrying {
        /// Duration of the attempt.
        took: Duration,
        /// The error message.
        error: &'a str,
        /// Delay before the next attempt.
        after: Duration,
    },
    /// The job failed and is kept among the failed jobs.
    Failed {
        /// Duration of the attempt.
        took: Duration,
        /// The error message.
        error: &'a str,
    },
    /// The worker could not renew its lease in time. Another worker runs the job again.
    LeaseLost {
        /// Duration of the attempt.
        took: Duration,
    },
}
