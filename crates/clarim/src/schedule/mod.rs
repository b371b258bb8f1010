//! Scheduled tasks, like Laravel's scheduler, in the process of the application or of its worker. Needs the
//! feature `schedule`.
//!
//! ```no_run
//! use std::time::Duration;
//! use clarim::schedule::Schedule;
//! use clarim::{Broadcast, Clarim};
//! use serde::Serialize;
//!
//! #[derive(Serialize, Broadcast)]
//! #[broadcast(channel = "clock")]
//! struct Ticked;
//!
//! # async fn prune() -> Result<(), std::io::Error> { Ok(()) }
//! #[tokio::main]
//! async fn main() -> Result<(), clarim::Error> {
//!     let clarim = Clarim::from_env()?;
//!     let schedule = Schedule::new()
//!         .time_zone("America/Sao_Paulo")
//!         .call("prune", || async { prune().await }).daily_at("03:30").without_overlapping()
//!         .call("warm the cache", || async { /* … */ }).cron("*/5 8-18 * * MON-FRI")
//!         .call("report", || async { /* … */ }).hourly().weekdays().between("8:00", "18:00")
//!         .broadcast(&clarim, || Ticked).every(Duration::from_secs(30));
//!     schedule.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
//!     clarim.idle_within(Duration::from_secs(5)).await
//! }
//! ```
//!
//! [`run`](Schedule::run) returns a future. To run a server or a worker in the same process, pass both
//! futures to `tokio::join!`, with the same signal to stop.
//!
//! # Guarantees
//!
//! - A task runs once for each of its times. If several times passed unnoticed, because the machine was
//!   asleep or the runtime was busy, the task runs once, for the last of them. Times at which no process
//!   was running are not made up for.
//! - If the clock is set back, nothing runs twice: the schedule waits until the clock has caught up. If it is
//!   set back by more than three hours, it was wrong before, and the schedule goes on from the new time, like
//!   cron.
//! - Times of day are in [the schedule's time zone](Schedule::time_zone). A time that is skipped when
//!   clocks go forward is due right after the gap. A time that occurs twice when clocks go back is due the
//!   first time. Tasks with `*` in minutes or hours follow real time instead.
//! - A task that fails or panics is logged, and the schedule goes on.
//! - Tasks run concurrently with each other and with their own previous runs, unless
//!   [`without_overlapping`](Schedule::without_overlapping) prevents it.
//! - With several nodes, each node runs every task, except those that run
//!   [`on_one_node`](Schedule::on_one_node).

pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod task;
pub(crate) mod when;
pub(crate) mod window;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use crate::error::Error;
use crate::events::event::Broadcast;
use crate::events::name::type_name;
use crate::handle::Clarim;
use crate::jobs::queue_trait::Queue;
use task::{Task, Work};
use when::{Timetable, When, time_of_day};
use window::{Hours, Window};

pub use crate::error::problems::ScheduleProblem;
pub use task::Outcome;

/// The scheduled tasks of an application; see [the module](self). Methods for times and conditions apply to
/// the task before them. Problems are reported when the schedule is used.
#[derive(Default)]
pub struct Schedule {
    tasks: Vec<Task>,
    zone: Tz,
    lock: Option<Arc<dyn Queue>>,
    problems: Vec<ScheduleProblem>,
}

impl Schedule {
    /// A schedule without tasks, in UTC.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time zone of all times of day, by its IANA name.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new()
    ///     .time_zone("America/Sao_Paulo")
    ///     .call("report", || async {}).daily_at("13:00");
    /// let four = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_628_800); // 2026-01-05 16:00 UTC
    /// assert_eq!(schedule.due(four - Duration::from_secs(1), four)?, ["report"]);
    /// # Ok::<(), clarim::Error>(())
    /// ```
    #[must_use]
    pub fn time_zone(mut self, name: &str) -> Self {
        match name.parse() {
            Ok(zone) => self.zone = zone,
            Err(_) => self.problems.push(ScheduleProblem::TimeZone { name: name.to_owned() }),
        }
        self
    }

    /// Adds a task: a closure whose future returns `()` or a `Result<(), _>`. Errors are logged. Set its time
    /// with the next method.
    ///
    /// ```
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new().call("prune", || async { std::fs::remove_dir_all("tmp") }).hourly();
    /// ```
    #[must_use]
    pub fn call<F, R>(mut self, name: impl Into<String>, work: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future + Send + 'static,
        R::Output: Outcome,
    {
        let name = name.into();
        if self.tasks.iter().any(|task| task.name == name) {
            self.problems.push(ScheduleProblem::DuplicateName { name: name.clone() });
        }
        let work = Arc::new(work);
        let work: Work = Arc::new(move || {
            let work = work.clone();
            // The closure is called in the future, so that its panics are caught.
            Box::pin(async move { work().await.outcome() })
        });
        self.tasks.push(Task {
            name,
            when: None,
            window: Window::default(),
            conditions: Vec::new(),
            without_overlapping: false,
            on_one_node: false,
            work,
        });
        self
    }

    /// Adds a task that broadcasts an event. Its name is that of the event's type.
    ///
    /// ```
    /// use clarim::schedule::Schedule;
    /// use clarim::{Broadcast, Clarim};
    /// use serde::Serialize;
    ///
    /// #[derive(Serialize, Broadcast)]
    /// #[broadcast(channel = "visitors")]
    /// struct Counted {
    ///     visitors: u32,
    /// }
    ///
    /// # let (clarim, _) = Clarim::fake();
    /// let schedule = Schedule::new().broadcast(&clarim, || Counted { visitors: 7 }).every_minute();
    /// ```
    #[must_use]
    pub fn broadcast<E, F>(self, clarim: &Clarim, event: F) -> Self
    where
        E: Broadcast + Send + 'static,
        F: Fn() -> E + Send + Sync + 'static,
    {
        let clarim = clarim.clone();
        self.call(type_name::<E>(), move || {
            let pending = clarim.broadcast(event());
            async move { pending.await }
        })
    }

    /// Runs the task at every full minute.
    #[must_use]
    pub fn every_minute(self) -> Self {
        self.cron("* * * * *")
    }

    /// Runs the task at every full hour.
    #[must_use]
    pub fn hourly(self) -> Self {
        self.cron("0 * * * *")
    }

    /// Runs the task once a day, at a time like `13:00`.
    #[must_use]
    pub fn daily_at(self, time: &str) -> Self {
        self.at(When::daily_at(time))
    }

    /// Runs the task at every multiple of this period since the start of 1970, UTC, so that all nodes agree
    /// on the times: a period of 30 seconds means the full and the half minutes.
    #[must_use]
    pub fn every(self, period: Duration) -> Self {
        self.at(When::every(period))
    }

    /// Runs the task at the times of a [cron expression](https://docs.rs/croner): minute, hour, day of the
    /// month, month, day of the week, and optionally seconds before them.
    ///
    /// ```
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new()
    ///     .call("poll", || async {}).cron("*/5 * * * *")
    ///     .call("invoices", || async {}).cron("0 9 L * *")
    ///     .call("blink", || async {}).cron("*/10 * * * * *");
    /// assert!(schedule.list(std::time::SystemTime::now()).is_ok());
    /// ```
    #[must_use]
    pub fn cron(self, expression: &str) -> Self {
        self.at(When::cron(expression))
    }

    fn at(mut self, when: Result<When, ScheduleProblem>) -> Self {
        let when = match when {
            Ok(when) => when,
            Err(problem) => {
                self.problems.push(problem);
                return self;
            }
        };
        let text = when.to_string();
        self.last_task(&text, |task| match &task.when {
            None => {
                task.when = Some(when);
                Ok(())
            }
            Some(other) => Err(ScheduleProblem::TwoTimes {
                task: task.name.clone(),
                first: other.to_string(),
                second: when.to_string(),
            }),
        })
    }

    /// Leaves out Saturdays and Sundays, in [the schedule's time zone](Self::time_zone).
    ///
    /// ```
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new()
    ///     .call("open orders", || async {}).every_minute().weekdays().between("8:00", "18:00");
    /// ```
    #[must_use]
    pub fn weekdays(self) -> Self {
        self.last_task("weekdays", |task| {
            task.window.weekdays = true;
            Ok(())
        })
    }

    /// Leaves out the times before and after these times of day, in
    /// [the schedule's time zone](Self::time_zone). If the first is later than the second, midnight is
    /// between them.
    #[must_use]
    pub fn between(self, from: &str, until: &str) -> Self {
        self.last_task("between", |task| {
            let hours = Hours { from: time_of_day(from)?, until: time_of_day(until)? };
            task.window.hours = Some(hours);
            Ok(())
        })
    }

    /// Skips a run of the task if this function returns `false` at its time.
    #[must_use]
    pub fn when(self, condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.last_task("when", |task| {
            task.conditions.push(Arc::new(condition));
            Ok(())
        })
    }

    /// Skips a run of the task while its previous run goes on: in this process, and with a
    /// [`lock`](Self::lock) of a stored queue also on other nodes. If a node dies, its run counts as ended
    /// after a minute.
    #[must_use]
    pub fn without_overlapping(self) -> Self {
        self.last_task("without_overlapping", |task| {
            task.without_overlapping = true;
            Ok(())
        })
    }

    /// Runs the task on one of the nodes that share a [`lock`](Self::lock). The lock is acquired for each
    /// time of the task, so clocks may differ and each run may happen on another node. If the lock's
    /// storage fails, the task does not run.
    #[must_use]
    pub fn on_one_node(self) -> Self {
        self.last_task("on_one_node", |task| {
            task.on_one_node = true;
            Ok(())
        })
    }

    /// Changes the last task. `what` names the method for the problem of a missing task.
    fn last_task(
        mut self,
        what: &str,
        change: impl FnOnce(&mut Task) -> Result<(), ScheduleProblem>,
    ) -> Self {
        let changed = match self.tasks.last_mut() {
            Some(task) => change(task),
            None => Err(ScheduleProblem::NoTask { what: what.to_owned() }),
        };
        self.problems.extend(changed.err());
        self
    }

    /// Sets the queue whose locks the nodes share, for tasks that run [`on_one_node`](Self::on_one_node) or
    /// [`without_overlapping`](Self::without_overlapping). The locks of a stored queue are shared by all
    /// processes that use it. Those of a queue in memory are not, so tasks on one node are refused with it.
    ///
    /// ```
    /// use clarim::Clarim;
    /// use clarim::schedule::Schedule;
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let (clarim, _) = Clarim::fake();
    /// // With QUEUE_CONNECTION=sqlite, postgres or redis
    /// let schedule = Schedule::new()
    ///     .lock(clarim.queue())
    ///     .call("prune", || async {}).hourly().on_one_node();
    /// # });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn lock(self, queue: Arc<dyn Queue>) -> Self {
        Self { lock: Some(queue), ..self }
    }

    /// The names of the tasks that are due after `after`, up to `now`; for tests of a schedule. It
    /// does not ask the conditions of [`when`](Self::when).
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new()
    ///     .call("poll", || async {}).every_minute()
    ///     .call("prune", || async {}).hourly();
    /// let midnight = SystemTime::UNIX_EPOCH + Duration::from_secs(86_400);
    /// let due = |at| schedule.due(at - Duration::from_secs(1), at);
    /// assert_eq!(due(midnight)?, ["poll", "prune"]);
    /// assert_eq!(due(midnight + Duration::from_secs(60))?, ["poll"]);
    /// assert!(due(midnight + Duration::from_secs(61))?.is_empty());
    /// # Ok::<(), clarim::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Schedule`] with all problems.
    pub fn due(&self, after: SystemTime, now: SystemTime) -> Result<Vec<&str>, Error> {
        let due = Timetable::new(self.times()?, self.zone, after.into()).tick(now.into());
        Ok(due.iter().map(|due| self.tasks[due.task].name.as_str()).collect())
    }

    /// A table of the tasks, with name, time, next run and conditions; for a subcommand of the application.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use clarim::schedule::Schedule;
    ///
    /// let schedule = Schedule::new()
    ///     .call("prune", || async {}).daily_at("03:30").without_overlapping()
    ///     .call("beat", || async {}).every(Duration::from_secs(30));
    /// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_614_400); // 2026-01-05 12:00 UTC
    /// assert_eq!(schedule.list(now)?, "\
    /// prune  30 3 * * *  next 2026-01-06 03:30:00 UTC, in 15 h 30 min  without overlapping
    /// beat   every 30 s  next 2026-01-05 12:00:30 UTC, in 30 s
    /// ");
    /// # Ok::<(), clarim::Error>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Schedule`] with all problems.
    pub fn list(&self, now: SystemTime) -> Result<String, Error> {
        Ok(list::table(&self.tasks, &self.times()?, self.zone, now.into()))
    }

    /// Runs the tasks at their times until `stop` is ready, then waits for running tasks. If this future is
    /// dropped, running tasks are dropped too.
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
    /// Returns [`Error::Schedule`] with all problems, before any task runs.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Error> {
        self.run_by(|| SystemTime::now().into(), stop).await
    }

    async fn run_by(
        self,
        clock: impl Fn() -> DateTime<Utc>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let times = self.times()?;
        // Only here, so that tests with `Clarim::fake` can list the tasks.
        if self.lock.as_ref().is_some_and(|lock| !lock.has_shared_locks())
            && let Some(task) = self.tasks.iter().find(|task| task.on_one_node)
        {
            let task = task.name.clone();
            return Err(Error::Schedule { problems: vec![ScheduleProblem::LocalLock { task }] });
        }
        let timetable = Timetable::new(times, self.zone, clock());
        run::run(self.tasks, self.lock, timetable, clock, stop).await;
        Ok(())
    }

    /// The times of each task, or all problems.
    fn times(&self) -> Result<Vec<When>, Error> {
        let mut problems = self.problems.clone();
        // A task with an invalid time has none, and would be reported twice.
        if problems.is_empty() {
            for task in self.tasks.iter().filter(|task| task.when.is_none()) {
                problems.push(ScheduleProblem::NoTime { task: task.name.clone() });
            }
        }
        if let (Some(task), None) = (self.tasks.iter().find(|task| task.on_one_node), &self.lock) {
            problems.push(ScheduleProblem::NoLock { task: task.name.clone() });
        }
        let mut times = Vec::new();
        for task in &self.tasks {
            let Some(when) = task.when.clone().map(|when| when.within(task.window)) else {
                continue;
            };
            if when.after(DateTime::UNIX_EPOCH, self.zone).is_none() {
                let task = task.name.clone();
                problems.push(ScheduleProblem::NeverDue { task, times: when.to_string() });
            }
            times.push(when);
        }
        if problems.is_empty() { Ok(times) } else { Err(Error::Schedule { problems }) }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = |task: &Task| task.when.as_ref().map(ToString::to_string);
        f.debug_map().entries(self.tasks.iter().map(|task| (&task.name, when(task)))).finish()
    }
}

#[cfg(test)]
mod tests;
