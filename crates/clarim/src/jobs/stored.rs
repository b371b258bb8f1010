//! The queue in a storage.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use clarim_queue::{BoxFuture, Storage};

use super::job::Job;
use super::queue_trait::Queue;
use crate::error::Error;

/// A queue that stores its jobs for a [`Worker`](crate::queue::Worker), which may run in another process or
/// on another machine.
#[derive(Debug)]
pub struct StoredQueue {
    storage: Arc<dyn Storage>,
    /// The owner of the locks that are acquired here.
    owner: String,
}

impl StoredQueue {
    /// A queue in this storage.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        // RandomState needs no error handling, and the owner only has to differ between queues.
        let owner = RandomState::new().hash_one(std::process::id());
        Self { storage, owner: format!("{owner:016x}") }
    }
}

impl Queue for StoredQueue {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if !self.storage.push(&job.to_stored()?).await? {
                tracing::debug!(event = job.event, "event dropped: an identical event is waiting");
            }
            Ok(())
        })
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.storage.clone())
    }

    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.storage.lock(name, &self.owner, time).await?) })
    }

    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.storage.extend_lock(name, &self.owner, time).await?) })
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { Ok(self.storage.unlock(name, &self.owner).await?) })
    }
}
