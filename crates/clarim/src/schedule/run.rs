//! The loop that runs a schedule's tasks.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clarim_queue::catch_panic;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::task::{Condition, Task, TaskError, Work};
use super::when::{Due, Timetable};
use crate::jobs::queue_trait::Queue;

/// Longest time between two looks at the clock. The clock can be set, and timers don't count the time during
/// which the machine was asleep.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Time for which a task's lock outlives its next time. Clocks of nodes may differ by less than this.
const MAX_CLOCK_DIFFERENCE: TimeDelta = TimeDelta::hours(1);

/// Time for which the lock of a task's last time is held.
const LAST_LOCK: TimeDelta = TimeDelta::days(366);

/// Time after which the run of a node that died counts as ended.
const RUN_LEASE: Duration = Duration::from_secs(60);

/// A task with what its runs share.
struct Runner {
    name: String,
    work: Work,
    conditions: Vec<Condition>,
    /// One permit, or `None` if runs may overlap.
    permit: Option<Semaphore>,
    /// The lock of a task that runs on one node.
    lock: Option<Arc<dyn Queue>>,
    run_lock: Option<RunLock>,
}

/// The lock of a task whose runs may not overlap on any node.
struct RunLock {
    queue: Arc<dyn Queue>,
    name: String,
}

/// Runs the tasks at their times until `stop` is ready, and waits for running tasks.
pub(crate) async fn run(
    tasks: Vec<Task>,
    lock: Option<Arc<dyn Queue>>,
    mut timetable: Timetable,
    clock: impl Fn() -> DateTime<Utc>,
    stop: impl Future<Output = ()>,
) {
    let runners: Vec<Arc<Runner>> =
        tasks.into_iter().map(|task| Arc::new(Runner::new(task, lock.as_ref()))).collect();
    let mut running = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let until_next = timetable.next().map(|next| next - clock());
        // A negative time means that the next task is due.
        let wait = until_next.map_or(LONGEST_WAIT, |time| time.to_std().unwrap_or_default());
        tokio::select! {
            () = &mut stop => break,
            () = tokio::time::sleep(wait.min(LONGEST_WAIT)) => {}
        }
        for due in timetable.tick(clock()) {
            let runner = runners[due.task].clone();
            running.spawn(async move { runner.run(due).await });
        }
        while running.try_join_next().is_some() {}
    }
    running.join_all().await;
}

/// Runs these tasks and waits for them.
pub(crate) async fn run_once(tasks: Vec<Task>, lock: Option<Arc<dyn Queue>>, due: Vec<Due>) {
    let mut running = JoinSet::new();
    let mut due = due.into_iter().peekable();
    for (place, task) in tasks.into_iter().enumerate() {
        if let Some(due) = due.next_if(|due| due.task == place) {
            let runner = Runner::new(task, lock.as_ref());
            running.spawn(async move { runner.run(due).await });
        }
    }
    running.join_all().await;
}

impl Runner {
    fn new(task: Task, lock: Option<&Arc<dyn Queue>>) -> Self {
        let shared = lock.filter(|lock| task.without_overlapping && lock.has_shared_locks());
        let name = format!("schedule:{}:running", task.name);
        Self {
            name: task.name,
            work: task.work,
            conditions: task.conditions,
            permit: task.without_overlapping.then(|| Semaphore::new(1)),
            lock: lock.filter(|_| task.on_one_node).cloned(),
            run_lock: shared.map(|queue| RunLock { queue: queue.clone(), name }),
        }
    }

    async fn run(&self, due: Due) {
        let task = &self.name;
        let at = due.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        if !self.is_wanted(&at).await {
            return;
        }
        let _permit = match self.permit.as_ref().map(Semaphore::try_acquire) {
            Some(Err(_)) => {
                tracing::warn!(task, at, "task skipped: its previous run has not finished");
                return;
            }
            permit => permit,
        };
        if let Some(RunLock { queue, name }) = &self.run_lock
            && !self.acquire(queue, name, RUN_LEASE, &at).await
        {
            return;
        }
        if self.is_on_this_node(due, &at).await {
            tokio::select! {
                () = self.attempt(&at) => {}
                () = self.renew() => {}
            }
        }
        self.release().await;
    }

    /// Whether all conditions of the task are true.
    async fn is_wanted(&self, at: &str) -> bool {
        let task = &self.name;
        let all = async { self.conditions.iter().all(|condition| condition()) };
        match catch_panic(all).await {
            Ok(true) => true,
            Ok(false) => {
                tracing::debug!(task, at, "task skipped: its condition is false");
                false
            }
            Err(error) => {
                tracing::error!(task, at, %error, "task skipped: its condition panicked");
                false
            }
        }
    }

    async fn attempt(&self, at: &str) {
        let task = &self.name;
        let started = Instant::now();
        tracing::debug!(task, at, "task started");
        let result = self.work().await;
        let time = started.elapsed();
        match result {
            Ok(()) => tracing::info!(task, at, ?time, "task finished"),
            Err(error) => tracing::error!(task, at, ?time, %error, "task failed"),
        }
    }

    /// Renews the lock of a run until it is cancelled.
    async fn renew(&self) {
        while let Some(RunLock { queue, name }) = &self.run_lock {
            tokio::time::sleep(RUN_LEASE / 3).await;
            let task = &self.name;
            match queue.extend_lock(name, RUN_LEASE).await {
                Ok(true) => {}
                Ok(false) => {
                    tracing::error!(task, "lost the lock of a running task: it may overlap");
                    break;
                }
                Err(error) => {
                    tracing::warn!(task, %error, "cannot renew the lock of a running task")
                }
            }
        }
        std::future::pending().await
    }

    async fn release(&self) {
        let Some(RunLock { queue, name }) = &self.run_lock else { return };
        if let Err(error) = queue.unlock(name).await {
            tracing::warn!(task = self.name, %error, "cannot release the lock of a task");
        }
    }

    /// Whether this node runs the task, if it runs on one node.
    async fn is_on_this_node(&self, due: Due, at: &str) -> bool {
        let Some(queue) = &self.lock else { return true };
        let until = due.next.map_or(due.at + LAST_LOCK, |next| next + MAX_CLOCK_DIFFERENCE);
        let time = (until - due.at).to_std().unwrap_or_default();
        self.acquire(queue, &format!("schedule:{}:{at}", self.name), time, at).await
    }

    /// Acquires a lock, which another node may hold.
    async fn acquire(&self, queue: &Arc<dyn Queue>, name: &str, time: Duration, at: &str) -> bool {
        let task = &self.name;
        match queue.lock(name, time).await {
            Ok(true) => true,
            Ok(false) => {
                tracing::debug!(task, at, "task skipped: another node runs it");
                false
            }
            Err(error) => {
                tracing::error!(task, at, %error, "task skipped: cannot acquire its lock");
                false
            }
        }
    }

    /// Runs the closure. A panic is an error.
    async fn work(&self) -> Result<(), TaskError> {
        catch_panic((self.work)()).await.unwrap_or_else(|panic| Err(panic.into()))
    }
}
