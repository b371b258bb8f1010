//! The worker and its lease, in virtual time. The storages' leases are tested by the suite.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clarim_queue::{
    BoxFuture, Error, FailedJob, Job, JobError, JobReader, JobState, NewJob, QueueSize,
    ReservedJob, Storage, Worker,
};
use tokio::time::Instant;

const LEASE: Duration = Duration::from_secs(30);

/// A storage with one job, whose lease can be renewed this number of times.
#[derive(Debug)]
struct OneJob {
    job: Mutex<Option<ReservedJob>>,
    started: Instant,
    renewals: usize,
    renewed_at: Mutex<Vec<u64>>,
}

impl OneJob {
    fn new(renewals: usize) -> Arc<Self> {
        let job = ReservedJob::new(1, "default", String::new(), 1);
        Arc::new(Self {
            job: Mutex::new(Some(job)),
            started: Instant::now(),
            renewals,
            renewed_at: Mutex::default(),
        })
    }
}

fn ready<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, Result<T, Error>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl Storage for OneJob {
    fn push<'a>(&'a self, _: &'a NewJob) -> BoxFuture<'a, Result<bool, Error>> {
        ready(true)
    }

    fn reserve<'a>(
        &'a self,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<Option<ReservedJob>, Error>> {
        ready(self.job.lock().unwrap().take())
    }

    fn extend<'a>(
        &'a self,
        _: &'a ReservedJob,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        assert_eq!(lease, LEASE);
        let mut renewed_at = self.renewed_at.lock().unwrap();
        renewed_at.push(self.started.elapsed().as_secs());
        ready(renewed_at.len() <= self.renewals)
    }

    fn clear<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        ready(0)
    }

    fn request_restart(&self) -> BoxFuture<'_, Result<(), Error>> {
        ready(())
    }

    fn restarts(&self) -> BoxFuture<'_, Result<u64, Error>> {
        ready(0)
    }

    fn complete<'a>(&'a self, _: &'a ReservedJob) -> BoxFuture<'a, Result<bool, Error>> {
        ready(true)
    }

    fn release<'a>(
        &'a self,
        _: &'a ReservedJob,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        ready(true)
    }

    fn fail<'a>(
        &'a self,
        _: &'a ReservedJob,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        ready(true)
    }

    fn failed(&self) -> BoxFuture<'_, Result<Vec<FailedJob>, Error>> {
        ready(Vec::new())
    }

    fn forget(&self, _: u64) -> BoxFuture<'_, Result<bool, Error>> {
        ready(true)
    }

    fn flush(&self) -> BoxFuture<'_, Result<u64, Error>> {
        ready(0)
    }

    fn sizes(&self) -> BoxFuture<'_, Result<Vec<QueueSize>, Error>> {
        ready(Vec::new())
    }

    fn lock<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        ready(true)
    }

    fn extend_lock<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        ready(true)
    }

    fn unlock<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        ready(())
    }
}

#[derive(Debug)]
struct Long;

impl JobReader for Long {
    fn read(&self, _: &str) -> Result<Box<dyn Job>, JobError> {
        Ok(Box::new(Self))
    }
}

impl Job for Long {
    fn name(&self) -> &'static str {
        "long"
    }

    fn attempt(&mut self) -> BoxFuture<'_, Result<(), JobError>> {
        Box::pin(async {
            tokio::time::sleep(LEASE * 3 / 2).await;
            Ok(())
        })
    }

    fn retry_after(&self, _: u32) -> Option<Duration> {
        None
    }

    fn payload(&self) -> Result<String, JobError> {
        Ok(String::new())
    }
}

/// Runs the job, and returns its states and the times at which its lease was renewed.
async fn run(renewals: usize) -> (Vec<&'static str>, Vec<u64>) {
    let storage = OneJob::new(renewals);
    let states: Arc<Mutex<Vec<&str>>> = Arc::default();
    let reported = states.clone();
    let worker = Worker::with_storage(storage.clone(), Arc::new(Long)).lease(LEASE).at_most(1);
    let worker = worker.report(move |report| {
        reported.lock().unwrap().push(match report.state {
            JobState::Running => "running",
            JobState::Done { .. } => "done",
            JobState::LeaseLost { .. } => "lost",
            _ => "other",
        });
    });
    worker.run().await;
    let renewed_at = storage.renewed_at.lock().unwrap().clone();
    (states.lock().unwrap().clone(), renewed_at)
}

#[tokio::test(start_paused = true)]
async fn a_long_job_keeps_its_worker() {
    assert_eq!(run(usize::MAX).await, (vec!["running", "done"], vec![10, 20, 30, 40]));
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_when_its_lease_is_lost() {
    assert_eq!(run(1).await, (vec!["running", "lost"], vec![10, 20]));
}
