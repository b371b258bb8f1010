//! Jobs, as the application implements them.

use std::fmt;
use std::time::Duration;

use crate::error::JobError;
use crate::future::BoxFuture;

/// A job in memory: what a worker makes attempts at.
pub trait Job: Send + 'static {
    /// The job's name in logs and reports.
    fn name(&self) -> &str;

    /// Makes one attempt. It removes finished parts from the job, so that a retry does not repeat them.
    fn attempt(&mut self) -> BoxFuture<'_, Result<(), JobError>>;

    /// The delay before the next attempt, after attempt number `attempt` (the first is 1) failed with a
    /// temporary error. `None` gives the job up.
    fn retry_after(&self, attempt: u32) -> Option<Duration>;

    /// The rest of the job as text, to be stored for the next attempt.
    ///
    /// # Errors
    /// Returns an error if the job can't be serialized.
    fn payload(&self) -> Result<String, JobError>;
}

/// Turns stored payloads back into jobs.
pub trait JobReader: fmt::Debug + Send + Sync + 'static {
    /// Reads what [`Job::payload`] wrote.
    ///
    /// # Errors
    /// Returns an error if the payload can't be read. The job fails at once.
    fn read(&self, payload: &str) -> Result<Box<dyn Job>, JobError>;
}
