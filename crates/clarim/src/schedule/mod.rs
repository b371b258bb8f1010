//! Tasks by the clock: the counterpart of Laravel's scheduler, in the process of the application or of its
//! worker. With the feature `schedule`.
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
//!         .broadcast(&clarim, || Ticked).every(Duration::from_secs(30));
//!     schedule.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
//!     clarim.idle().await;
//!     Ok(())
//! }
//! ```
//!
//! [`run`](Schedule::run) is a future like any other: beside a server or a worker it is given to
//! `tokio::join!`, with the same signal to stop.
//!
//! # What is promised
//!
//! - A task runs once for each of its times. When several went by unseen, for the machine was asleep or the
//!   runtime was busy, it runs once, for the last of them. What falls between the end of a process and its
//!   next start is not made up for.
//! - When the clock is set back, nothing runs twice: the schedule waits until the clock is where it was. Only
//!   by more than three hours, which is a clock that was wrong before, it goes on from there, as cron does.
//! - Times of day are those of [the schedule's zone](Schedule::time_zone). A time that is not there when
//!   clocks go forward is due right after the gap; one that is there twice, when they go back, the first
//!   time. Tasks with `*` in minutes or hours go by the real time instead.
//! - A task that fails or panics is logged, and the schedule goes on.
//! - Tasks run beside each other, and beside what is left of their own last run, unless
//!   [`without_overlapping`](Schedule::without_overlapping) says otherwise.
//! - With several nodes, each runs everything, but what is [`on_one_node`](Schedule::on_one_node).

mod list;
mod run;
mod when;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono_tz::Tz;

use crate::event::type_name;
use crate::publisher::BoxFuture;
use crate::queue::Queue;
use crate::{Broadcast, Clarim, Error};
use when::{Timetable, When};

/// The tasks of an application; see [the module](self). What is said after a task is said of it; mistakes
/// are told when the schedule is used.
#[derive(Default)]
pub struct Schedule {
    tasks: Vec<Task>,
    zone: Tz,
    lock: Option<Arc<dyn Queue>>,
    problems: Vec<String>,
}

/// Something that is done at times.
struct Task {
    name: String,
    when: Option<When>,
    without_overlapping: bool,
    on_one_node: bool,
    work: Work,
}

type Work = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl Schedule {
    /// No task at all; times of day are those of UTC.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The zone of all times of day, by its name in the IANA's database.
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
            Err(_) => self.problems.push(format!(
                "{name:?} is no time zone; they are called like \"America/Sao_Paulo\""
            )),
        }
        self
    }

    /// A task: a closure whose future ends with `()` or a `Result<(), _>`, of which an error is logged. When
    /// it is due is said next.
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
            self.problems.push(format!("two tasks are called {name:?}"));
        }
        let work = Arc::new(work);
        let work: Work = Arc::new(move || {
            let work = work.clone();
            // Called in the future, where a panic of it is caught.
            Box::pin(async move { work().await.outcome() })
        });
        let (without_overlapping, on_one_node) = (false, false);
        self.tasks.push(Task { name, when: None, without_overlapping, on_one_node, work });
        self
    }

    /// A task that broadcasts an event, of whose type it has its name.
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

    /// At every full minute.
    #[must_use]
    pub fn every_minute(self) -> Self {
        self.cron("* * * * *")
    }

    /// At every full hour.
    #[must_use]
    pub fn hourly(self) -> Self {
        self.cron("0 * * * *")
    }

    /// Once a day, at a time like `13:00`.
    #[must_use]
    pub fn daily_at(self, time: &str) -> Self {
        self.at(When::daily_at(time))
    }

    /// At every multiple of so many seconds since the beginning of 1970, UTC, so that all nodes agree when:
    /// every 30 seconds are the full and the half minutes.
    #[must_use]
    pub fn every(self, period: Duration) -> Self {
        self.at(When::every(period))
    }

    /// As a [cron expression](https://docs.rs/croner) says: minute, hour, day of the month, month, day of
    /// the week, and if need be seconds before them.
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

    fn at(mut self, when: Result<When, String>) -> Self {
        let when = match when {
            Ok(when) => when,
            Err(problem) => {
                self.problems.push(problem);
                return self;
            }
        };
        let text = when.to_string();
        self.of_task(&text, |task| match &task.when {
            None => {
                task.when = Some(when);
                Ok(())
            }
            Some(other) => Err(format!("{:?} has two times: {other} and {when}", task.name)),
        })
    }

    /// Does not run this task while its last run in this process goes on. That time is left out.
    #[must_use]
    pub fn without_overlapping(self) -> Self {
        self.of_task("without_overlapping", |task| {
            task.without_overlapping = true;
            Ok(())
        })
    }

    /// Runs this task on one node only when several have the schedule, which share a
    /// [`lock`](Self::lock). It is taken for this task and this time, so that clocks may differ; which
    /// node is the first is chance, and the next time another may be. When the lock can't be asked, the
    /// task does not run.
    #[must_use]
    pub fn on_one_node(self) -> Self {
        self.of_task("on_one_node", |task| {
            task.on_one_node = true;
            Ok(())
        })
    }

    fn of_task(mut self, what: &str, change: impl FnOnce(&mut Task) -> Result<(), String>) -> Self {
        let changed = match self.tasks.last_mut() {
            Some(task) => change(task),
            None => Err(format!("{what} has no task before it")),
        };
        self.problems.extend(changed.err());
        self
    }

    /// What the nodes share, for tasks [`on_one_node`](Self::on_one_node): a queue that is kept has locks
    /// for all who have the same one. That in memory has them for this process alone.
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

    /// The names of the tasks that would run at `now`, when the clock was last looked at `after`: for tests
    /// of a schedule.
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
    /// With everything that is wrong with the schedule.
    pub fn due(&self, after: SystemTime, now: SystemTime) -> Result<Vec<&str>, Error> {
        let due = Timetable::new(self.times()?, self.zone, after.into()).tick(now.into());
        Ok(due.iter().map(|due| self.tasks[due.task].name.as_str()).collect())
    }

    /// When each task is due, if nothing is wrong with any.
    fn times(&self) -> Result<Vec<When>, Error> {
        let mut problems = self.problems.clone();
        // What is wrong with the time of a task is told; that it then has none, is not.
        if problems.is_empty() {
            for task in self.tasks.iter().filter(|task| task.when.is_none()) {
                problems.push(format!("{:?} has no time: add e.g. .hourly()", task.name));
            }
        }
        if let (Some(task), None) = (self.tasks.iter().find(|task| task.on_one_node), &self.lock) {
            problems.push(format!("{:?} is to run on one node, and there is no lock", task.name));
        }
        if problems.is_empty() {
            Ok(self.tasks.iter().filter_map(|task| task.when.clone()).collect())
        } else {
            Err(Error::Schedule { problems })
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = |task: &Task| task.when.as_ref().map(ToString::to_string);
        f.debug_map().entries(self.tasks.iter().map(|task| (&task.name, when(task)))).finish()
    }
}

/// What a task may end with: nothing, or a `Result` of nothing.
pub trait Outcome {
    /// The error as text, for the log.
    ///
    /// # Errors
    /// The task's own.
    fn outcome(self) -> Result<(), String>;
}

impl Outcome for () {
    fn outcome(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn outcome(self) -> Result<(), String> {
        self.map_err(|error| error.to_string())
    }
}
