//! The worker: runs the jobs of a storage.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::attempt::{Outcome, attempt};
use crate::error::{Error, JobError};
use crate::job::{Job, JobReader};
use crate::report::{JobState, Report};
use crate::storage::{ReservedJob, Storage};

/// Delay before a storage that failed is used again.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

/// The attempt from which on a panic is permanent.
const LAST_PANIC: u32 = 3;

/// Number of attempts beyond its last one that a job gets whose worker died. A worker may die without a fault
/// of the job, for example in a deployment.
const CRASHES: u32 = 3;

/// An application that has a stored queue; see [`Worker::new`].
pub trait JobSource {
    /// The error of an application whose queue is not stored.
    type Error;

    /// The storage of the application's queue.
    ///
    /// # Errors
    /// Returns an error if the queue is not stored.
    fn job_storage(&self) -> Result<Arc<dyn Storage>, Self::Error>;

    /// The reader of the application's jobs.
    fn job_reader(&self) -> Arc<dyn JobReader>;
}

/// Runs the jobs of a [`Storage`]. Several workers, in any number of processes, may run the same queues.
///
/// **Order.** Jobs that share an order key run one after the other, in the order in which they were pushed,
/// however many workers there are. While a job waits for its retry, jobs with other keys run. The order
/// holds within one queue.
///
/// **Crashes.** A worker reserves a job for the time of its [`lease`](Self::lease) and renews the lease while
/// the job runs. If the worker dies, the lease expires and another worker runs the job again: each job runs
/// at least once. A job whose workers die again and again fails after three attempts beyond its last one.
pub struct Worker {
    runner: Arc<Runner>,
    queues: Vec<String>,
    concurrency: usize,
    poll: Duration,
    /// Number of jobs after which it stops.
    limit: Option<u64>,
    stop_when_empty: bool,
}

/// State that the tasks of a worker share.
struct Runner {
    storage: Arc<dyn Storage>,
    reader: Arc<dyn JobReader>,
    lease: Duration,
    /// The shortest delay before a retry.
    min_delay: Duration,
    report: Box<dyn Fn(&Report<'_>) + Send + Sync>,
}

impl Worker {
    /// A worker for the application's queue.
    ///
    /// # Errors
    /// Returns an error if the application's queue is not stored, and so needs no worker.
    pub fn new<S: JobSource>(source: &S) -> Result<Self, S::Error> {
        Ok(Self::with_storage(source.job_storage()?, source.job_reader()))
    }

    /// A worker for the jobs in this storage.
    pub fn with_storage(storage: Arc<dyn Storage>, reader: Arc<dyn JobReader>) -> Self {
        let poll = Duration::from_millis(100);
        let runner = Runner {
            storage,
            reader,
            lease: Duration::from_secs(10),
            min_delay: poll,
            report: Box::new(|_| ()),
        };
        Self {
            runner: Arc::new(runner),
            queues: vec!["default".to_owned()],
            concurrency: 1,
            poll,
            limit: None,
            stop_when_empty: false,
        }
    }

    /// Sets the queues by priority: a queue's jobs run when the queues before it have none that are due.
    /// Default: `default`.
    #[must_use]
    pub fn queues<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        Self { queues: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the number of jobs that run at the same time. Jobs that share an order key never do. Default: 1.
    #[must_use]
    pub fn concurrency(self, jobs: usize) -> Self {
        Self { concurrency: jobs.max(1), ..self }
    }

    /// Sets the interval at which an empty storage is polled; it is also the shortest delay before a retry.
    /// A SQL storage also wakes the worker when a transaction with new jobs commits, in any process.
    /// Default: 100 ms.
    #[must_use]
    pub fn poll(self, interval: Duration) -> Self {
        let poll = interval.max(Duration::from_millis(1));
        let mut worker = Self { poll, ..self };
        worker.change(|runner| runner.min_delay = poll);
        worker
    }

    /// Sets the lease: the time after which another worker takes over the jobs of a worker that died. A live
    /// worker renews it three times in that time. Default: 10 s.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.change(|runner| runner.lease = time.max(Duration::from_millis(3)));
        self
    }

    /// Stops after this number of jobs.
    #[must_use]
    pub fn at_most(self, jobs: u64) -> Self {
        Self { limit: Some(jobs), ..self }
    }

    /// Stops when no job is due. Jobs that wait for a retry stay in the queue.
    #[must_use]
    pub fn stop_when_empty(self) -> Self {
        Self { stop_when_empty: true, ..self }
    }

    /// Waits until a restart is requested ([`Storage::request_restart`]), after this call. Checked once per
    /// second. Pass it to [`run_until`](Self::run_until) in a process that a supervisor starts again.
    pub fn restart_requested(&self) -> impl Future<Output = ()> + Send + use<> {
        const INTERVAL: Duration = Duration::from_secs(1);
        let storage = self.runner.storage.clone();
        async move {
            let mut first = None;
            loop {
                match storage.restarts().await {
                    Ok(now) if now > *first.get_or_insert(now) => return,
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "cannot check for a restart"),
                }
                sleep(INTERVAL).await;
            }
        }
    }

    /// Calls this function when an attempt starts and when it ends.
    #[must_use]
    pub fn report(mut self, report: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.change(|runner| runner.report = Box::new(report));
        self
    }

    /// Changes what the tasks share. Before the worker runs it is the only owner.
    fn change(&mut self, change: impl FnOnce(&mut Runner)) {
        if let Some(runner) = Arc::get_mut(&mut self.runner) {
            change(runner);
        }
    }

    /// Runs until a limit is reached, or forever. When the future is dropped, running jobs are dropped too;
    /// they run again when their leases expire.
    pub async fn run(self) {
        self.run_until(std::future::pending()).await;
    }

    /// Runs until `stop` is ready, finishes the running jobs, and returns.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut stopped = false;
        let mut running = JoinSet::new();
        let mut left = self.limit;
        let mut wakeups = self.runner.storage.wakeups();
        loop {
            wakeups.mark_seen();
            let mut empty = false;
            let mut wait = self.poll;
            while !stopped && left != Some(0) && running.len() < self.concurrency {
                let asked_at = Instant::now();
                let mut next = pin!(self.next());
                // Both futures make progress: `stop` may itself wait for the storage.
                let next = loop {
                    tokio::select! {
                        biased;
                        () = &mut stop, if !stopped => stopped = true,
                        next = &mut next => break next,
                    }
                };
                match next {
                    Ok(Some(job)) => {
                        left = left.map(|left| left - 1);
                        running.spawn(self.runner.clone().run(job));
                    }
                    Ok(None) => {
                        empty = true;
                        // A slow storage is polled less often, so that polling is not all of its load.
                        wait = wait.max((asked_at.elapsed() * 10).min(STORAGE_RETRY));
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot reserve a job");
                        wait = wait.max(STORAGE_RETRY);
                        break;
                    }
                }
                // Without this a queue that is never empty would delay the stop.
                stopped = stopped || is_ready(stop.as_mut()).await;
            }
            let ends = stopped || left == Some(0) || (empty && self.stop_when_empty);
            if ends && running.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => stopped = true,
                Some(_) = running.join_next() => {}
                () = wakeups.next(), if !ends => {}
                () = sleep(wait), if !ends => {}
            }
        }
    }

    async fn next(&self) -> Result<Option<ReservedJob>, Error> {
        for queue in &self.queues {
            if let Some(job) = self.runner.storage.reserve(queue, self.runner.lease).await? {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("queues", &self.queues)
            .field("concurrency", &self.concurrency)
            .field("storage", &self.runner.storage)
            .finish_non_exhaustive()
    }
}

impl Runner {
    async fn run(self: Arc<Self>, reserved: ReservedJob) {
        let started = Instant::now();
        let mut job = self.reader.read(&reserved.payload);
        let name = job.as_ref().map(|job| job.name().to_owned()).unwrap_or_default();
        let report = |state| {
            let ReservedJob { id, queue, attempt, .. } = &reserved;
            (self.report)(&Report { id: *id, queue, name: &name, attempt: *attempt, state });
        };
        report(JobState::Running);
        let attempted = async {
            match &mut job {
                Ok(job) if is_exhausted(&**job, reserved.attempt) => Outcome::Failed {
                    error: JobError::permanent("its workers died during its last attempts"),
                },
                Ok(job) => attempt(&mut **job, reserved.attempt, LAST_PANIC).await,
                Err(error) => Outcome::Failed { error: JobError::permanent(error.to_string()) },
            }
        };
        let outcome = tokio::select! {
            outcome = attempted => Some(outcome),
            () = self.renew_lease(&reserved) => None,
        };
        // Parts that the attempt has finished are no longer in the payload.
        let payload =
            job.and_then(|job| job.payload()).unwrap_or_else(|_| reserved.payload.clone());
        let settled = match &outcome {
            Some(outcome) => self.settle(&reserved, outcome, &payload).await,
            None => false,
        };
        let took = started.elapsed();
        match outcome {
            Some(Outcome::Done) if settled => report(JobState::Done { took }),
            Some(Outcome::Retry { error, after }) if settled => {
                let error = error.to_string();
                let after = self.delay(after);
                tracing::warn!(job = name, error, ?after, "job failed; retrying");
                report(JobState::Retrying { took, error: &error, after });
            }
            Some(Outcome::Failed { error }) if settled => {
                let error = error.to_string();
                tracing::error!(job = name, id = reserved.id, error, "job failed");
                report(JobState::Failed { took, error: &error });
            }
            _ => {
                tracing::warn!(job = name, id = reserved.id, "lease lost; the job runs again");
                report(JobState::LeaseLost { took });
            }
        }
    }

    fn delay(&self, after: Duration) -> Duration {
        after.max(self.min_delay)
    }

    /// Renews the lease until it is lost.
    async fn renew_lease(&self, reserved: &ReservedJob) {
        let mut until = Instant::now() + self.lease;
        loop {
            sleep_until(until.min(Instant::now() + self.lease / 3)).await;
            let asked_at = Instant::now();
            match timeout_at(until, self.storage.extend(reserved, self.lease)).await {
                Ok(Ok(true)) => until = asked_at + self.lease,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => {
                    tracing::warn!(%error, id = reserved.id, "cannot renew the lease");
                }
            }
        }
    }

    /// Stores the outcome, trying again while the lease may last. Returns `false` if another worker runs the
    /// job again.
    async fn settle(&self, reserved: &ReservedJob, outcome: &Outcome, payload: &str) -> bool {
        let storage = &self.storage;
        let until = Instant::now() + self.lease;
        loop {
            let stored = match outcome {
                Outcome::Done => storage.complete(reserved).await,
                Outcome::Retry { after, .. } => {
                    storage.release(reserved, payload, self.delay(*after)).await
                }
                Outcome::Failed { error } => {
                    storage.fail(reserved, payload, &error.to_string()).await
                }
            };
            match stored {
                Ok(is_owner) => return is_owner,
                Err(_) if Instant::now() < until => sleep(self.min_delay).await,
                Err(error) => {
                    tracing::warn!(%error, id = reserved.id, "cannot store the job's outcome");
                    return false;
                }
            }
        }
    }
}

/// Whether the last attempts had no outcome, because their workers died.
fn is_exhausted(job: &dyn Job, attempt: u32) -> bool {
    attempt > CRASHES && job.retry_after(attempt - CRASHES).is_none()
}

async fn is_ready(mut future: Pin<&mut impl Future<Output = ()>>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}
