//! The schedule going by the clock.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::when::{Due, Timetable};
use super::{Schedule, Work};
use crate::Error;
use crate::caught::caught;
use crate::queue::Queue;

/// The clock is looked at least so often, since it can be set, and a timer does not see the time that the
/// machine was asleep.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// For so long after a task's next time no node asks for this one any more, however far apart clocks are.
const CLOCKS_DIFFER: TimeDelta = TimeDelta::hours(1);

/// How long a time that nothing comes after is remembered.
const LAST_TIME: TimeDelta = TimeDelta::days(366);

/// A task as it is run.
struct Runner {
    name: String,
    work: Work,
    /// Has one permit; `None`: any number at a time.
    alone: Option<Semaphore>,
    lock: Option<Arc<dyn Queue>>,
}

impl Schedule {
    /// Runs the tasks at their times until `stop` is ready, and then waits for those that run. When this
    /// future is dropped, they are ended wherever they are.
    ///
    /// ```
    /// use clarim::schedule::Schedule;
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let schedule = Schedule::new().call("prune", || async { /* … */ }).hourly();
    /// let running = tokio::spawn(schedule.run(async { stopped.await.unwrap_or_default() }));
    /// // …
    /// drop(stop);
    /// running.await??;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// At once, with everything that is wrong with the schedule.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        self.run_by(|| SystemTime::now().into(), stop).await
    }

    async fn run_by(
        self,
        clock: impl Fn() -> DateTime<Utc>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let mut timetable = Timetable::new(self.times()?, self.zone, clock());
        let runners: Vec<Arc<Runner>> = self.into_runners().collect();
        let mut running = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let until_next = timetable.next().map(|next| next - clock());
            // It is over already: no time.
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
        Ok(())
    }

    fn into_runners(self) -> impl Iterator<Item = Arc<Runner>> {
        let lock = self.lock;
        self.tasks.into_iter().map(move |task| {
            let alone = task.without_overlapping.then(|| Semaphore::new(1));
            let lock = lock.clone().filter(|_| task.on_one_node);
            Arc::new(Runner { name: task.name, work: task.work, alone, lock })
        })
    }
}

impl Runner {
    async fn run(&self, due: Due) {
        let task = &self.name;
        let at = due.at.to_rfc3339_opts(SecondsFormat::Secs, true);
        // Given back when this ends, however it does.
        let _permit = match self.alone.as_ref().map(Semaphore::try_acquire) {
            Some(Err(_)) => {
                tracing::warn!(task, at, "not run: its last run still goes on");
                return;
            }
            permit => permit,
        };
        if !self.is_ours(due, &at).await {
            return;
        }
        let started = Instant::now();
        tracing::debug!(task, at, "runs");
        let result = self.guarded().await;
        let time = started.elapsed();
        match result {
            Ok(()) => tracing::info!(task, at, ?time, "done"),
            Err(error) => tracing::error!(task, at, ?time, error, "failed"),
        }
    }

    /// Whether it is this node that runs it.
    async fn is_ours(&self, due: Due, at: &str) -> bool {
        let (Some(lock), task) = (&self.lock, &self.name) else { return true };
        let over = due.next.map_or(due.at + LAST_TIME, |next| next + CLOCKS_DIFFER);
        let time = (over - due.at).to_std().unwrap_or_default();
        match lock.lock(&format!("schedule:{task}:{at}"), time).await {
            Ok(true) => true,
            Ok(false) => {
                tracing::debug!(task, at, "another node runs it");
                false
            }
            Err(error) => {
                tracing::error!(task, at, %error, "not run: the lock can't be asked");
                false
            }
        }
    }

    /// The work, in which a panic is an error.
    async fn guarded(&self) -> Result<(), String> {
        let done = caught((self.work)()).await;
        done.unwrap_or_else(|panic| Err(format!("it panicked: {panic}")))
    }
}

#[cfg(test)]
mod tests;
