//! The queue in memory.

use std::sync::Arc;
use std::time::Duration;

use clarim_queue::{BoxFuture, MemoryJob};

use super::job::{BroadcastJob, Job};
use super::queue_trait::Queue;
use crate::error::Error;
use crate::events::delivery::Delivery;
use crate::publisher::publication::Publisher;

/// A queue in memory. Each of its queues runs its jobs in this process, one after the other, so events keep
/// their order. While the server is down, jobs wait, at most ten thousand. Locks are valid within this
/// process.
#[derive(Debug)]
pub struct MemoryQueue {
    publisher: Arc<dyn Publisher>,
    queue: clarim_queue::MemoryQueue,
}

impl MemoryQueue {
    /// An empty queue.
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher, queue: clarim_queue::MemoryQueue::new() }
    }

    fn add(&self, job: Job) -> Result<(), Error> {
        let queue = match &job.delivery.connection {
            Some(connection) => format!("{connection}:{}", job.queue()),
            None => job.queue().to_owned(),
        };
        let delay = job.delivery.delay;
        let unique = job.unique();
        let job = BroadcastJob::new(job, &Delivery::queued(), self.publisher.clone());
        let mut new = MemoryJob::new(queue, job);
        new.delay = delay;
        new.unique = unique;
        Ok(self.queue.push(new)?)
    }
}

impl Queue for MemoryQueue {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { self.add(job) })
    }

    fn idle(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.queue.idle())
    }

    fn waiting(&self) -> usize {
        self.queue.waiting()
    }

    fn has_shared_locks(&self) -> bool {
        false
    }

    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.queue.extend_lock(name, time)) })
    }

    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.queue.lock(name, time)) })
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.queue.unlock(name);
            Ok(())
        })
    }
}
