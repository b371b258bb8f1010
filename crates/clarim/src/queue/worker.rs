//! What runs the jobs of a queue that is kept.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::{Job, Reserved, Storage};
use crate::caught::caught;
use crate::publisher::Publisher;
use crate::{Clarim, Error};

/// Between two questions to a store that has not answered the first.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the jobs of a [`Storage`], whichever it is; several may run the same queues, here and elsewhere.
///
/// ```no_run
/// use clarim::Clarim;
/// use clarim::queue::Worker;
///
/// # async fn run() -> Result<(), clarim::Error> {
/// // With QUEUE_CONNECTION=sqlite, postgres or redis
/// let clarim = Clarim::from_env()?;
/// let worker = Worker::new(&clarim)?.queues(["high", "default"]).concurrency(4);
/// // Finishes what it has begun, and returns
/// worker.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
/// # Ok(())
/// # }
/// ```
///
/// **Order.** The jobs of a channel run one after the other, in the order in which they were queued, however
/// many workers there are; while one waits to be tried again, those of other channels run. A channel's order
/// is that within one queue.
///
/// **Crashes.** A job is a worker's for the time of the [`lease`](Self::lease), which is renewed while it
/// runs. When the worker is gone, it is run again after that: each job runs at least once.
pub struct Worker {
    run: Arc<Run>,
    queues: Vec<String>,
    concurrency: usize,
    poll: Duration,
    /// Jobs after which it ends.
    limit: Option<u64>,
    stop_when_empty: bool,
}

/// What every job needs.
struct Run {
    storage: Arc<dyn Storage>,
    publisher: Arc<dyn Publisher>,
    lease: Duration,
    /// The shortest time after which a job is tried again.
    pause: Duration,
    report: Box<dyn Fn(&Report<'_>) + Send + Sync>,
}

/// What a worker does, for [`Worker::report`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Report<'a> {
    /// The number of the job in its store.
    pub id: u64,
    /// The queue that it is of.
    pub queue: &'a str,
    /// The event's name; of a job that can't be read, nothing.
    pub event: &'a str,
    /// Which attempt it is.
    pub attempt: u32,
    /// What has become of it.
    pub state: State<'a>,
}

/// What has become of a job.
#[derive(Debug)]
#[non_exhaustive]
pub enum State<'a> {
    /// It has been begun.
    Running,
    /// It is done.
    Done {
        /// In this time.
        took: Duration,
    },
    /// It has failed, and is tried again.
    Again {
        /// In this time.
        took: Duration,
        /// With this error.
        error: &'a str,
        /// After this time.
        after: Duration,
    },
    /// It has failed, and is given up.
    Failed {
        /// In this time.
        took: Duration,
        /// With this error.
        error: &'a str,
    },
    /// The store did not hear from this worker for so long that the job is somebody else's.
    Lost {
        /// In this time.
        took: Duration,
    },
}

impl Worker {
    /// For the queue that is kept by this application's [`Settings::queue`](crate::Settings::queue).
    ///
    /// # Errors
    /// When the queue is in memory, which runs its jobs itself.
    pub fn new(clarim: &Clarim) -> Result<Self, Error> {
        Ok(Self::of(clarim.storage()?, clarim.publisher()))
    }

    /// Of these two.
    pub fn of(storage: Arc<dyn Storage>, publisher: Arc<dyn Publisher>) -> Self {
        let poll = Duration::from_millis(100);
        let run = Run {
            storage,
            publisher,
            lease: Duration::from_secs(10),
            pause: poll,
            report: Box::new(|_| ()),
        };
        Self {
            run: Arc::new(run),
            queues: vec!["default".to_owned()],
            concurrency: 1,
            poll,
            limit: None,
            stop_when_empty: false,
        }
    }

    /// The queues whose jobs it runs: one of the second only when there is none in the first, and so on.
    /// Without this, `default`.
    #[must_use]
    pub fn queues<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        Self { queues: names.into_iter().map(Into::into).collect(), ..self }
    }

    /// How many jobs run at the same time, 1 if nothing is said. The order of channels stays.
    #[must_use]
    pub fn concurrency(self, jobs: usize) -> Self {
        Self { concurrency: jobs.max(1), ..self }
    }

    /// How often the store is asked when there is nothing to do, every 100 ms if nothing is said. A job is
    /// not tried again before that either.
    #[must_use]
    pub fn poll(self, interval: Duration) -> Self {
        let poll = interval.max(Duration::from_millis(1));
        let mut worker = Self { poll, ..self };
        worker.change(|run| run.pause = poll);
        worker
    }

    /// After this time a job is run again of which nothing was heard, 10 s if nothing is said. While a
    /// job runs, its worker is heard three times in that time.
    #[must_use]
    pub fn lease(mut self, time: Duration) -> Self {
        self.change(|run| run.lease = time.max(Duration::from_millis(3)));
        self
    }

    /// Ends after so many jobs.
    #[must_use]
    pub fn at_most(self, jobs: u64) -> Self {
        Self { limit: Some(jobs), ..self }
    }

    /// Ends when nothing is due. What is to be tried again later stays.
    #[must_use]
    pub fn stop_when_empty(self) -> Self {
        Self { stop_when_empty: true, ..self }
    }

    /// Is told of each job when it begins and when it ends.
    #[must_use]
    pub fn report(mut self, report: impl Fn(&Report<'_>) + Send + Sync + 'static) -> Self {
        self.change(|run| run.report = Box::new(report));
        self
    }

    /// Nobody else has it before it runs.
    fn change(&mut self, change: impl FnOnce(&mut Run)) {
        if let Some(run) = Arc::get_mut(&mut self.run) {
            change(run);
        }
    }

    /// Runs for ever, or as long as was said. When this is dropped, so are the jobs that run, and they run
    /// again after their lease.
    pub async fn run(self) {
        self.run_until(std::future::pending()).await;
    }

    /// Runs until this future is ready, finishes what it has begun, and returns.
    pub async fn run_until(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (mut stopped, mut running, mut left) = (false, JoinSet::new(), self.limit);
        loop {
            let (mut empty, mut wait) = (false, self.poll);
            while !stopped && left != Some(0) && running.len() < self.concurrency {
                let asked_at = Instant::now();
                let mut next = pin!(self.next());
                // Both go on: the stop may itself be waiting for the store.
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
                        running.spawn(self.run.clone().run(job));
                    }
                    Ok(None) => {
                        empty = true;
                        // Where it takes long to find nothing, that is not all the store has to do.
                        wait = wait.max((asked_at.elapsed() * 10).min(PAUSE));
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "no jobs");
                        wait = wait.max(PAUSE);
                        break;
                    }
                }
                // Where jobs never end, the stop is seen all the same.
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
                () = sleep(wait), if !ends => {}
            }
        }
    }

    async fn next(&self) -> Result<Option<Reserved>, Error> {
        for queue in &self.queues {
            if let Some(job) = self.run.storage.reserve(queue, self.run.lease).await? {
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
            .field("storage", &self.run.storage)
            .finish_non_exhaustive()
    }
}

/// How an attempt has ended.
enum Outcome {
    Done,
    Again { error: String, after: Duration },
    Failed { error: String },
}

impl Run {
    async fn run(self: Arc<Self>, reserved: Reserved) {
        let started = Instant::now();
        let mut job = Job::from_json(&reserved.payload);
        let event = job.as_ref().map(|job| job.event.clone()).unwrap_or_default();
        let report = |state| {
            let Reserved { id, queue, attempt, .. } = &reserved;
            let (id, attempt) = (*id, *attempt);
            (self.report)(&Report { id, queue, event: &event, attempt, state });
        };
        report(State::Running);
        let attempt = async {
            match &mut job {
                Ok(job) => self.attempt(job, reserved.attempt).await,
                Err(error) => Outcome::Failed { error: error.to_string() },
            }
        };
        let outcome = tokio::select! {
            outcome = attempt => Some(outcome),
            () = self.keep(&reserved) => None,
        };
        // What has gone out is no longer part of it.
        let payload = match job.map(|job| job.to_json()) {
            Ok(Ok(payload)) => payload,
            _ => reserved.payload.clone(),
        };
        let settled = match &outcome {
            Some(outcome) => self.settle(&reserved, outcome, &payload).await,
            None => false,
        };
        let took = started.elapsed();
        match outcome {
            Some(Outcome::Done) if settled => report(State::Done { took }),
            Some(Outcome::Again { error, after }) if settled => {
                tracing::warn!(event, error, ?after, "job failed, and is tried again");
                report(State::Again { took, error: &error, after });
            }
            Some(Outcome::Failed { error }) if settled => {
                tracing::error!(event, id = reserved.id, error, "job failed, and is given up");
                report(State::Failed { took, error: &error });
            }
            _ => {
                tracing::warn!(event, id = reserved.id, "job is no longer this worker's");
                report(State::Lost { took });
            }
        }
    }

    async fn attempt(&self, job: &mut Job, attempt: u32) -> Outcome {
        let result = caught(job.attempt(&*self.publisher)).await.unwrap_or_else(|panic| {
            let (queue, cause) = (job.queue().to_owned(), format!("the job panicked: {panic}"));
            Err(Error::Queue { queue, cause, temporary: true })
        });
        match result {
            Ok(()) => Outcome::Done,
            Err(error) => {
                let is_last = job.delivery.tries.is_some_and(|tries| attempt >= tries);
                let (is_temporary, error) = (error.is_temporary(), error.to_string());
                if is_last || !is_temporary {
                    return Outcome::Failed { error };
                }
                let after = job.delivery.wait_before(attempt.saturating_add(1)).max(self.pause);
                Outcome::Again { error, after }
            }
        }
    }

    /// Renews the lease, and returns when it is lost.
    async fn keep(&self, reserved: &Reserved) {
        let mut until = Instant::now() + self.lease;
        loop {
            sleep_until(until.min(Instant::now() + self.lease / 3)).await;
            let asked_at = Instant::now();
            match timeout_at(until, self.storage.extend(reserved, self.lease)).await {
                Ok(Ok(true)) => until = asked_at + self.lease,
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => tracing::warn!(%error, id = reserved.id, "lease not renewed"),
            }
        }
    }

    /// Tells the store, for as long as it lets others wait for it. `false`: the job will be run again.
    async fn settle(&self, reserved: &Reserved, outcome: &Outcome, payload: &str) -> bool {
        let until = Instant::now() + self.lease;
        loop {
            let told = match outcome {
                Outcome::Done => self.storage.done(reserved).await,
                Outcome::Again { after, .. } => self.storage.again(reserved, payload, *after).await,
                Outcome::Failed { error } => self.storage.fail(reserved, payload, error).await,
            };
            match told {
                Ok(is_mine) => return is_mine,
                Err(_) if Instant::now() < until => sleep(self.pause).await,
                Err(error) => {
                    tracing::warn!(%error, id = reserved.id, "the store was not told");
                    return false;
                }
            }
        }
    }
}

async fn is_ready(mut future: Pin<&mut impl Future<Output = ()>>) -> bool {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
}
