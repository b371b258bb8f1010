//! A queue that outlives the process.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use super::{Job, NewJob, Queue, Storage};
use crate::Error;
use crate::publisher::BoxFuture;

/// Keeps jobs in a [`Storage`], for a [`Worker`](super::Worker), which may be in this process or another
/// one, on this machine or another one.
#[derive(Debug)]
pub struct StoredQueue {
    storage: Arc<dyn Storage>,
    /// Whose locks are taken here.
    owner: String,
}

impl StoredQueue {
    /// Of what is kept there.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        // Random, and unlike getrandom it always is; it only has to be another one for each queue.
        let owner = RandomState::new().hash_one(std::process::id());
        Self { storage, owner: format!("{owner:016x}") }
    }
}

impl Queue for StoredQueue {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let new = NewJob::of(&job)?;
            if !self.storage.push(&new).await? {
                tracing::debug!(event = job.event, "dropped: the same is waiting");
            }
            Ok(())
        })
    }

    fn storage(&self) -> Option<Arc<dyn Storage>> {
        Some(self.storage.clone())
    }

    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        self.storage.lock(name, &self.owner, time)
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.storage.unlock(name, &self.owner)
    }
}
