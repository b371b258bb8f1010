//! Broadcasts as jobs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use clarim_queue::{BoxFuture, FailedJob, JobError, JobReader, NewJob, Unique};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::events::delivery::Delivery;
use crate::publisher::publication::{Notice, Publication, Publisher};

/// A queued broadcast. It is complete: running it needs nothing of the event's type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Version of the stored format; see [`Job::VERSION`].
    pub version: u32,
    /// The event's name on the wire, for logs and lists.
    pub event: String,
    /// The notification that is still to be delivered before anything is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// The publications that are still to be sent, in order.
    pub publications: Vec<Publication>,
    /// The job's queue, and how it is retried.
    pub delivery: Delivery,
    /// The key of a unique job: of the jobs with the same key, one waits.
    #[serde(default, rename = "unique")]
    pub unique_key: Option<String>,
}

impl Job {
    /// The version in which jobs are stored. Jobs of this and all earlier versions can be read.
    pub const VERSION: u32 = 1;

    pub(crate) fn new(event: String, publications: Vec<Publication>, delivery: Delivery) -> Self {
        let is_unique = delivery.unique_latest || delivery.unique_for.is_some();
        let unique_key = is_unique.then(|| {
            let channels = || publications.iter().flat_map(|one| one.channels.iter().cloned());
            let by = delivery.unique_by.clone();
            format!("{event}:{}", by.unwrap_or_else(|| channels().collect::<Vec<_>>().join(",")))
        });
        Self { version: Self::VERSION, event, notice: None, publications, delivery, unique_key }
    }

    /// A job that delivers a notification and publishes nothing.
    #[cfg(feature = "notifications")]
    pub(crate) fn of_notice(notice: Notice, delivery: Delivery) -> Self {
        let event = notice.notification_type.clone();
        Self { notice: Some(notice), unique_key: None, ..Self::new(event, Vec::new(), delivery) }
    }

    /// The name of the job's queue, `default` if none is set.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.delivery.queue_name()
    }

    /// The channels that the job publishes to, each once. Jobs keep their order within each channel.
    #[must_use]
    pub fn channels(&self) -> Vec<String> {
        let all = self.publications.iter().flat_map(|publication| &publication.channels);
        let channels: BTreeSet<&String> = all.collect();
        channels.into_iter().cloned().collect()
    }

    /// The job's uniqueness, if it is unique.
    pub(crate) fn unique(&self) -> Option<Unique> {
        let key = self.unique_key.as_ref()?;
        if self.delivery.unique_latest {
            return Some(Unique::latest(key));
        }
        Some(Unique::new(key, self.delivery.unique_for?))
    }

    /// The job in the form in which it is stored. A delayed job keeps no order, so that others don't wait for
    /// it. But the latest of identical jobs comes after those before it.
    ///
    /// # Errors
    /// Returns an error if [`to_json`](Self::to_json) does.
    pub fn to_stored(&self) -> Result<NewJob, Error> {
        let mut stored = NewJob::new(self.queue(), self.to_json()?);
        stored.delay = self.delivery.delay.unwrap_or_default();
        stored.unique = self.unique();
        if stored.delay.is_zero() {
            stored.order_keys = self.channels();
        } else if self.delivery.unique_latest {
            // No channel has such a name: it contains a colon.
            stored.order_keys.extend(self.unique_key.clone());
        }
        Ok(stored)
    }

    /// A failed job as a new one, to be pushed for another try. It is due at once and no longer unique.
    #[must_use]
    pub fn retry(failed: &FailedJob) -> NewJob {
        let mut stored = NewJob::new(&failed.queue, &failed.payload);
        if let Ok(job) = Self::from_json(&failed.payload) {
            stored.order_keys = job.channels();
        }
        stored
    }

    /// The job as JSON.
    ///
    /// # Errors
    /// Returns an error if the job can't be serialized, which no known job causes.
    pub fn to_json(&self) -> Result<String, Error> {
        serde_json::to_string(self)
            .map_err(|source| Error::Payload { event: self.event.clone(), source })
    }

    /// Reads the JSON that [`to_json`](Self::to_json) has written.
    ///
    /// # Errors
    /// Returns an error if the job has a newer version, or is not a job.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let unreadable = |source| Error::Job { source };
        let Versioned { version: found } = serde_json::from_str(text).map_err(unreadable)?;
        if found > Self::VERSION {
            return Err(Error::JobVersion { found, known: Self::VERSION });
        }
        serde_json::from_str(text).map_err(unreadable)
    }

    /// Makes one attempt: delivers the notification, then sends the publications. Parts that succeed are
    /// removed from the job. A notification that fails with a temporary error holds back the publications;
    /// one that fails for good does not.
    ///
    /// # Errors
    /// Returns the publisher's error, or [`Error::AttemptTimedOut`].
    pub async fn attempt(&mut self, publisher: &dyn Publisher) -> Result<(), Error> {
        self.attempt_within(self.delivery.attempt_timeout(), publisher).await
    }

    async fn attempt_within(
        &mut self,
        limit: Duration,
        publisher: &dyn Publisher,
    ) -> Result<(), Error> {
        let Self { notice, publications, .. } = self;
        let all = async {
            let mut undelivered = None;
            if let Some(pending) = notice {
                match publisher.notify(pending).await {
                    Ok(()) => *notice = None,
                    Err(error) if error.is_temporary() => return Err(error),
                    Err(error) => undelivered = Some(error),
                }
            }
            while let Some(next) = publications.first() {
                publisher.publish(std::slice::from_ref(next)).await?;
                publications.remove(0);
            }
            undelivered.map_or(Ok(()), Err)
        };
        let attempted = tokio::time::timeout(limit, all).await;
        attempted.unwrap_or(Err(Error::AttemptTimedOut { limit }))
    }
}

/// A job together with the publisher that runs it.
pub(crate) struct BroadcastJob {
    job: Job,
    /// The job's delivery with the worker's settings, which are not stored with the job.
    delivery: Delivery,
    publisher: Arc<dyn Publisher>,
}

impl BroadcastJob {
    pub(crate) fn new(job: Job, worker: &Delivery, publisher: Arc<dyn Publisher>) -> Self {
        let delivery = job.delivery.clone().on_worker(worker);
        Self { job, delivery, publisher }
    }
}

impl clarim_queue::Job for BroadcastJob {
    fn name(&self) -> &str {
        &self.job.event
    }

    fn attempt(&mut self) -> BoxFuture<'_, Result<(), JobError>> {
        let limit = self.delivery.attempt_timeout();
        Box::pin(async move {
            self.job.attempt_within(limit, &*self.publisher).await.map_err(job_error)
        })
    }

    fn retry_after(&self, attempt: u32) -> Option<Duration> {
        let is_last = self.delivery.is_last(attempt);
        (!is_last).then(|| self.delivery.delay_before(attempt.saturating_add(1)))
    }

    fn payload(&self) -> Result<String, JobError> {
        self.job.to_json().map_err(job_error)
    }
}

/// Reads stored broadcasts, for a [`Worker`](crate::queue::Worker) that is made by hand.
#[derive(Debug, Clone)]
pub struct BroadcastReader {
    publisher: Arc<dyn Publisher>,
    delivery: Delivery,
}

impl BroadcastReader {
    /// A reader whose jobs publish with this publisher.
    pub fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher, delivery: Delivery::queued() }
    }

    /// Sets the tries, the delays and the timeout of jobs that have none of their own. The rest of the
    /// delivery has no effect.
    #[must_use]
    pub fn delivery(self, delivery: Delivery) -> Self {
        Self { delivery, ..self }
    }
}

impl JobReader for BroadcastReader {
    fn read(&self, payload: &str) -> Result<Box<dyn clarim_queue::Job>, JobError> {
        let job = Job::from_json(payload).map_err(job_error)?;
        Ok(Box::new(BroadcastJob::new(job, &self.delivery, self.publisher.clone())))
    }
}

fn job_error(error: Error) -> JobError {
    if error.is_temporary() { JobError::temporary(error) } else { JobError::permanent(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let mut publication = Publication::new(
            vec!["private-orders.7".to_owned()],
            "order.shipped",
            r#"{"order":7}"#,
        );
        publication.socket_id = Some("1.2".parse().unwrap());
        Job::new("order.shipped".to_owned(), vec![publication], Delivery::queued())
    }

    #[test]
    fn a_stored_job_can_be_read() {
        assert_eq!(Job::from_json(&job().to_json().unwrap()).unwrap(), job());
    }

    #[test]
    fn jobs_of_the_first_version_can_be_read() {
        let stored = r#"{"version":1,"event":"order.shipped","publications":[{"channels":["private-orders.7"],"name":"order.shipped","data":"{\"order\":7}","socket_id":"1.2"}],"delivery":{}}"#;
        assert_eq!(Job::from_json(stored).unwrap(), job());
        let unique = stored.replace(r#","delivery""#, r#","unique":"order.shipped:7","delivery""#);
        assert_eq!(Job::from_json(&unique).unwrap().unique_key.as_deref(), Some("order.shipped:7"));
        assert!(job().to_json().unwrap().contains(r#""unique":null"#), "older versions read it");
    }

    #[test]
    fn a_job_of_a_newer_version_is_an_error() {
        let error = Job::from_json(r#"{"version":9,"what":"ever"}"#).unwrap_err();
        assert!(matches!(error, Error::JobVersion { found: 9, known: 1 }), "{error}");
        assert!(!error.is_temporary());
        assert!(!Job::from_json("{}").unwrap_err().is_temporary());
    }

    #[test]
    fn a_delayed_job_keeps_no_order_except_behind_identical_ones() {
        let mut job = job();
        assert_eq!(job.to_stored().unwrap().order_keys, ["private-orders.7"]);
        job.delivery.delay = Some(Duration::from_secs(1));
        assert!(job.to_stored().unwrap().order_keys.is_empty());
        job.delivery.unique_latest = true;
        job.unique_key = Some("order.shipped:7".to_owned());
        assert_eq!(job.to_stored().unwrap().order_keys, ["order.shipped:7"]);
    }

    #[test]
    fn a_failed_job_is_retried_in_the_order_of_its_channels() {
        let stored = job().to_stored().unwrap();
        let failed =
            FailedJob::new(1, "default".to_owned(), stored.payload.clone(), String::new(), 0);
        assert_eq!(Job::retry(&failed), stored);
    }
}
