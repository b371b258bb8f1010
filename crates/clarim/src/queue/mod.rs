//! Broadcasts that wait, and what runs them.
//!
//! By default they wait in memory: [`MemoryQueue`] runs them in this process, and what waits is lost with
//! it. With [`Settings::queue`](crate::Settings::queue), or `QUEUE_CONNECTION` in the environment, they are
//! kept in SQLite, PostgreSQL or Redis, whichever of the features `sqlite`, `postgres` and `redis` is on,
//! and a [`Worker`] runs them, in this process or another. The feature `cli` gives the application the
//! commands for that:
//!
//! ```text
//! myapp queue work --queue high,default --concurrency 4
//! myapp queue failed
//! myapp queue retry all
//! myapp queue monitor
//! ```
//!
//! A job runs until it succeeds, until its error is not [temporary](crate::Error::is_temporary), or until
//! the attempts of its [`Delivery`] are used up, with [`Delivery::wait_before`] between them. While a server
//! is down, jobs wait; what is given up is kept with its error.

#[cfg(feature = "cli")]
pub mod cli;
mod memory;
#[cfg(feature = "cli")]
mod progress;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod storage;
mod stored;
mod worker;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::publisher::{BoxFuture, Notice, Publication, Publisher};
use crate::{Delivery, Error};

#[cfg(feature = "redis")]
pub use self::redis::RedisStorage;
pub use memory::MemoryQueue;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlStorage;
pub use storage::{FailedJob, NewJob, QueueSize, Reserved, Storage};
pub use stored::StoredQueue;
pub use worker::{Report, State, Worker};

/// What queued broadcasts go through.
pub trait Queue: fmt::Debug + Send + Sync + 'static {
    /// Takes a job; when this returns, the job is where the queue keeps its jobs.
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>>;

    /// Returns when no job waits that would be lost with this process.
    fn idle(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Where the jobs are kept, for a [`Worker`]; `None`: the queue runs its jobs itself.
    fn storage(&self) -> Option<Arc<dyn Storage>> {
        None
    }

    /// Takes the lock of this name, for this time at most, for everything that has the same queue. `false`:
    /// somebody has it, maybe this very process.
    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>>;

    /// Gives the lock back, if it is still held by this process.
    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}

/// A broadcast that waits. Everything in it is decided: it needs nothing of the event any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Of this form; see [`Job::VERSION`].
    pub version: u32,
    /// The event's name on the wire, for people.
    pub event: String,
    /// What is still to be written down or sent before anything is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What is still to be published, in this order.
    pub publications: Vec<Publication>,
    /// The queue it is for, and how it is tried again.
    pub delivery: Delivery,
    /// While a job with the same text waits, this one is not needed.
    #[serde(default)]
    pub unique: Option<String>,
}

impl Job {
    /// The version of jobs that this code writes; it reads this one and all before it.
    pub const VERSION: u32 = 1;

    pub(crate) fn new(event: String, publications: Vec<Publication>, delivery: Delivery) -> Self {
        let unique = delivery.unique_for.is_some().then(|| {
            let channels = || publications.iter().flat_map(|one| one.channels.iter().cloned());
            let by = delivery.unique_by.clone();
            format!("{event}:{}", by.unwrap_or_else(|| channels().collect::<Vec<_>>().join(",")))
        });
        Self { version: Self::VERSION, event, notice: None, publications, delivery, unique }
    }

    /// One that publishes nothing.
    #[cfg(feature = "notifications")]
    pub(crate) fn of_notice(notice: Notice, delivery: Delivery) -> Self {
        let event = notice.notification_type.clone();
        Self { notice: Some(notice), unique: None, ..Self::new(event, Vec::new(), delivery) }
    }

    /// The name of the queue it is for; without one `default`.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.delivery.queue.as_deref().unwrap_or("default")
    }

    /// The channels it publishes on, each once: in these it keeps its place.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        let all = self.publications.iter().flat_map(|publication| &publication.channels);
        let channels: BTreeSet<&String> = all.collect();
        channels.into_iter().cloned().collect()
    }

    /// As it is stored.
    ///
    /// # Errors
    /// None that is known: every part of it is text or a number.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self)
            .map_err(|cause| Error::Payload { event: self.event.clone(), cause })
    }

    /// Reads what [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    /// When it is of a newer version, or no job.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let unreadable = |cause| Error::Payload { event: "a stored job".to_owned(), cause };
        let Versioned { version: found } = serde_json::from_str(text).map_err(unreadable)?;
        if found > Self::VERSION {
            return Err(Error::JobVersion { found, known: Self::VERSION });
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// Does what is still to be done: the notice first, which nothing overtakes unless it can never
    /// succeed, then what is to be published. After a failure, what went out before it is no longer part of
    /// the job.
    ///
    /// # Errors
    /// Those of the publisher; and a temporary one when the time for an attempt is over.
    pub async fn attempt(&mut self, publisher: &dyn Publisher) -> Result<(), Error> {
        let limit = self.delivery.timeout;
        let Self { notice, publications, .. } = self;
        let all = async {
            let mut refused = None;
            if let Some(what) = notice {
                match publisher.notify(what).await {
                    Ok(()) => *notice = None,
                    Err(error) if error.is_temporary() => return Err(error),
                    Err(error) => refused = Some(error),
                }
            }
            while let Some(next) = publications.first() {
                publisher.publish(std::slice::from_ref(next)).await?;
                publications.remove(0);
            }
            refused.map_or(Ok(()), Err)
        };
        let attempted = tokio::time::timeout(limit, all).await;
        attempted.unwrap_or_else(|_| {
            Err(Error::Queue {
                queue: self.queue().to_owned(),
                cause: format!("the attempt took longer than {limit:?}"),
                temporary: true,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let publication = Publication {
            channels: vec!["private-orders.7".to_owned()],
            name: "order.shipped".to_owned(),
            data: r#"{"order":7}"#.to_owned(),
            socket_id: Some("1.2".parse().unwrap()),
        };
        Job::new("order.shipped".to_owned(), vec![publication], Delivery::queued())
    }

    #[test]
    fn a_job_comes_back_as_it_was_stored() {
        assert_eq!(Job::from_json(&job().to_json().unwrap()).unwrap(), job());
    }

    #[test]
    fn a_job_of_the_first_version_is_read_for_ever() {
        let stored = r#"{"version":1,"event":"order.shipped","publications":[{"channels":["private-orders.7"],"name":"order.shipped","data":"{\"order\":7}","socket_id":"1.2"}],"delivery":{}}"#;
        assert_eq!(Job::from_json(stored).unwrap(), job());
    }

    #[test]
    fn a_job_of_a_newer_version_says_so() {
        let error = Job::from_json(r#"{"version":9,"what":"ever"}"#).unwrap_err();
        assert_eq!(error.to_string(), "a job of version 9; this code knows versions up to 1");
        assert!(!error.is_temporary());
        assert!(!Job::from_json("{}").unwrap_err().is_temporary());
    }
}
