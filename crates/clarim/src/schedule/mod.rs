#![doc = include_str!("README.md")]

#[cfg(feature = "cli")]
pub mod cli;
pub(crate) mod list;
pub(crate) mod run;
pub(crate) mod task;
pub(crate) mod when;
pub(crate) mod window;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
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
pub use chrono::Weekday;
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

    /// Runs the task at every minute that is a multiple of five.
    #[must_use]
    pub fn every_five_minutes(self) -> Self {
        self.cron("*/5 * * * *")
    }

    /// Runs the task every quarter of an hour.
    #[must_use]
    pub fn every_fifteen_minutes(self) -> Self {
        self.cron("*/15 * * * *")
    }

    /// Runs the task at every full hour.
    #[must_use]
    pub fn hourly(self) -> Self {
        self.cron("0 * * * *")
    }

    /// Runs the task once an hour, at this minute.
    #[must_use]
    pub fn hourly_at(self, minute: u32) -> Self {
        self.cron(&format!("{minute} * * * *"))
    }

    /// Runs the task every day at midnight, in [the schedule's time zone](Self::time_zone).
    #[must_use]
    pub fn daily(self) -> Self {
        self.daily_at("0:00")
    }

    /// Runs the task once a day, at a time like `13:00`.
    #[must_use]
    pub fn daily_at(self, time: &str) -> Self {
        self.at(When::on_days("* * *", time))
    }

    /// Runs the task once a week.
    #[must_use]
    pub fn weekly_on(self, day: Weekday, time: &str) -> Self {
        self.at(When::on_days(&format!("* * {}", day.num_days_from_sunday()), time))
    }

    /// Runs the task on this day of every month that has it.
    #[must_use]
    pub fn monthly_on(self, day: u32, time: &str) -> Self {
        self.at(When::on_days(&format!("{day} * *"), time))
    }

    /// Runs the task on the last day of every month.
    #[must_use]
    pub fn last_day_of_month(self, time: &str) -> Self {
        self.at(When::on_days("L * *", time))
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

    /// Skips a run of the task if this function returns `true` at its time.
    #[must_use]
    pub fn skip(self, condition: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.when(move || !condition())
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
        let times = self.runnable()?;
        let timetable = Timetable::new(times, self.zone, clock());
        run::run(self.tasks, self.lock, timetable, clock, stop).await;
        Ok(())
    }

    /// Runs the tasks that are due in this minute up to now, each once, and waits for them; for cron or a
    /// systemd timer that starts the program every minute. Returns their number. With a stored queue as
    /// [`lock`](Self::lock), [`without_overlapping`](Self::without_overlapping) holds for the next process
    /// too.
    ///
    /// # Errors
    /// Returns [`Error::Schedule`] with all problems, before any task runs.
    pub async fn run_due(self) -> Result<usize, Error> {
        self.run_due_at(SystemTime::now().into()).await
    }

    async fn run_due_at(self, now: DateTime<Utc>) -> Result<usize, Error> {
        let into_minute = TimeDelta::seconds(now.timestamp().rem_euclid(60));
        let before = DateTime::from_timestamp_secs(now.timestamp()).unwrap_or(now)
            - into_minute
            - TimeDelta::seconds(1);
        let due = Timetable::new(self.runnable()?, self.zone, before).tick(now);
        let number = due.len();
        run::run_once(self.tasks, self.lock, due).await;
        Ok(number)
    }

    /// The times of each task, if all can run.
    fn runnable(&self) -> Result<Vec<When>, Error> {
        let times = self.times()?;
        // Only here, so that tests with `Clarim::fake` can list the tasks.
        if self.lock.as_ref().is_some_and(|lock| !lock.has_shared_locks())
            && let Some(task) = self.tasks.iter().find(|task| task.on_one_node)
        {
            let task = task.name.clone();
            return Err(Error::Schedule { problems: vec![ScheduleProblem::LocalLock { task }] });
        }
        Ok(times)
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
