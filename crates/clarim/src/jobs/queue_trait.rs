//! The trait of queues.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clarim_queue::{BoxFuture, Storage};

use super::job::Job;
use crate::error::Error;

/// A queue of broadcasts.
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Adds a job. When the future is ready, the queue has stored the job.
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>>;

    /// Waits until no job is left that would be lost with this process.
    fn idle(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Number of jobs that would be lost with this process.
    fn waiting(&self) -> usize {
        0
    }

    /// Whether other processes that use the queue see its locks. Default: yes.
    fn has_shared_locks(&self) -> bool {
        true
    }

    /// The storage, for a [`Worker`](crate::queue::Worker); `None` if the queue runs its jobs itself.
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        None
    }

    /// Acquires the named lock for at most this time, among all processes that share the queue. Returns
    /// `false` if it is held, even by this process.
    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>>;

    /// Holds the named lock for this time from now. Returns `false` if this process no longer holds it.
    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Releases the named lock if this process still holds it.
    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}
