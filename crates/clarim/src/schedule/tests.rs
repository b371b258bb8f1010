//! The loop, with a clock that follows tokio's paused time.

use std::future::{Ready, ready};
use std::sync::Mutex;

use clarim_queue::BoxFuture;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::*;
use crate::jobs::job::Job;
use crate::jobs::memory::MemoryQueue;
use crate::publisher::log::NullPublisher;

/// Half a minute before noon.
const START: &str = "2026-01-05T11:59:30Z";

/// A clock that follows tokio's, ahead of it by this much.
fn clock(ahead: TimeDelta) -> impl Fn() -> DateTime<Utc> + Send {
    let wall: DateTime<Utc> = START.parse().unwrap();
    let started = Instant::now();
    move || wall + ahead + TimeDelta::from_std(started.elapsed()).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Runs of tasks, with the seconds since the start of the test.
#[derive(Clone)]
struct Log(Arc<Mutex<Vec<(&'static str, u64)>>>, Instant);

impl Log {
    fn new() -> Self {
        Self(Arc::default(), Instant::now())
    }

    fn add(&self, what: &'static str) {
        self.0.lock().unwrap().push((what, self.1.elapsed().as_secs()));
    }

    /// A task that only writes to the log.
    fn added(&self, what: &'static str) -> Ready<()> {
        self.add(what);
        ready(())
    }

    fn panic(&self) -> Ready<()> {
        panic!("after {:?}", self.1.elapsed())
    }

    fn taken(&self) -> Vec<(&'static str, u64)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[tokio::test(start_paused = true)]
async fn tasks_run_at_their_times() {
    let log = Log::new();
    let often = log.clone();
    let hourly = log.clone();
    let schedule = Schedule::new()
        .call("often", move || often.added("often"))
        .every(seconds(20))
        .call("hourly", move || hourly.added("hourly"))
        .hourly();
    schedule.run_by(clock(TimeDelta::zero()), sleep(seconds(75))).await.unwrap();
    let mut ran = log.taken();
    ran.sort_by_key(|(_, at)| *at);
    assert_eq!(ran.iter().filter(|(what, _)| *what == "hourly").count(), 1);
    assert!(ran.contains(&("hourly", 30)));
    ran.retain(|(what, _)| *what == "often");
    assert_eq!(ran, [("often", 10), ("often", 30), ("often", 50), ("often", 70)]);
}

#[tokio::test(start_paused = true)]
async fn stop_waits_for_running_tasks_and_starts_no_more() {
    let log = Log::new();
    let task = log.clone();
    let schedule = Schedule::new()
        .call("long", move || {
            let task = task.clone();
            async move {
                task.add("begun");
                sleep(seconds(300)).await;
                task.add("finished");
            }
        })
        .every_minute();
    schedule.run_by(clock(TimeDelta::zero()), sleep(seconds(40))).await.unwrap();
    assert_eq!(log.taken(), [("begun", 30), ("finished", 330)]);
}

#[tokio::test(start_paused = true)]
async fn stop_takes_effect_at_once() {
    let schedule = Schedule::new().call("rare", || async {}).cron("0 0 1 1 *");
    let started = Instant::now();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(
        schedule.run_by(clock(TimeDelta::zero()), async { stopped.await.unwrap_or_default() }),
    );
    tokio::task::yield_now().await;
    drop(stop);
    running.await.unwrap().unwrap();
    assert!(started.elapsed() < seconds(1));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_or_panics_runs_again_and_so_do_the_others() {
    let log = Log::new();
    let [panics, late, fails, works] = [(); 4].map(|()| log.clone());
    let schedule = Schedule::new()
        .call("panics", move || {
            panics.add("panics");
            panics.panic()
        })
        .every_minute()
        .call("panics late", move || {
            let late = late.clone();
            async move {
                sleep(seconds(1)).await;
                late.add("late");
                late.panic().await;
            }
        })
        .every_minute()
        .without_overlapping()
        .call("fails", move || {
            fails.add("fails");
            ready(Err("no"))
        })
        .every_minute()
        .call("works", move || works.added("works"))
        .every_minute();
    schedule.run_by(clock(TimeDelta::zero()), sleep(seconds(100))).await.unwrap();
    let ran = log.taken();
    for what in ["panics", "late", "fails", "works"] {
        let times = ran.iter().filter(|(one, _)| *one == what).count();
        assert_eq!(times, 2, "{what} in {ran:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_overlapping_skips_a_run_while_the_previous_one_goes_on() {
    let log = Log::new();
    let task = |what: &'static str| {
        let log = log.clone();
        move || {
            log.add(what);
            sleep(seconds(90))
        }
    };
    let schedule = Schedule::new()
        .call("alone", task("alone"))
        .every_minute()
        .without_overlapping()
        .call("beside", task("beside"))
        .every_minute();
    schedule.run_by(clock(TimeDelta::zero()), sleep(seconds(220))).await.unwrap();
    let times = |what| -> Vec<u64> {
        let ran = log.0.lock().unwrap();
        ran.iter().filter(|(one, _)| *one == what).map(|(_, at)| *at).collect()
    };
    assert_eq!(times("alone"), [30, 150]);
    assert_eq!(times("beside"), [30, 90, 150, 210]);
}

#[tokio::test(start_paused = true)]
async fn on_one_node_each_time_runs_once_though_clocks_differ() {
    let log = Log::new();
    let lock: Arc<dyn Queue> = Arc::new(SharedLocks::new());
    let node = |ahead| {
        let one = log.clone();
        let all = log.clone();
        Schedule::new()
            .lock(lock.clone())
            .call("one", move || one.added("one"))
            .every_minute()
            .on_one_node()
            .call("all", move || all.added("all"))
            .every_minute()
            .run_by(clock(TimeDelta::seconds(ahead)), sleep(seconds(185)))
    };
    let (a, b, c) = tokio::join!(node(0), node(7), node(-25));
    a.and(b).and(c).unwrap();
    let mut ran = log.taken();
    assert_eq!(ran.iter().filter(|(what, _)| *what == "all").count(), 9, "{ran:?}");
    // The node whose clock is ahead gets the lock.
    ran.retain(|(what, _)| *what == "one");
    assert_eq!(ran, [("one", 23), ("one", 83), ("one", 143)]);
}

/// Locks that nodes share, as those of a stored queue.
#[derive(Debug)]
struct SharedLocks(MemoryQueue);

impl SharedLocks {
    fn new() -> Self {
        Self(MemoryQueue::new(Arc::new(NullPublisher)))
    }
}

impl Queue for SharedLocks {
    fn push(&self, job: Job) -> BoxFuture<'_, Result<(), Error>> {
        self.0.push(job)
    }

    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.lock(name, time)
    }

    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.extend_lock(name, time)
    }

    fn unlock<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        self.0.unlock(name)
    }
}

#[tokio::test(start_paused = true)]
async fn without_overlapping_skips_a_run_while_another_node_runs_it() {
    let log = Log::new();
    let lock: Arc<dyn Queue> = Arc::new(SharedLocks::new());
    let node = |ahead, name: &'static str| {
        let task = log.clone();
        Schedule::new()
            .lock(lock.clone())
            .call("long", move || {
                let added = task.added(name);
                async move {
                    added.await;
                    // Longer than the lease of its lock.
                    sleep(seconds(150)).await;
                }
            })
            .every_minute()
            .without_overlapping()
            .run_by(clock(TimeDelta::seconds(ahead)), sleep(seconds(235)))
    };
    let (a, b) = tokio::join!(node(5, "first"), node(0, "second"));
    a.and(b).unwrap();
    assert_eq!(log.taken(), [("first", 25), ("first", 205)]);
}

#[tokio::test]
async fn on_one_node_with_locks_that_are_not_shared_is_refused() {
    let schedule = Schedule::new()
        .lock(Arc::new(MemoryQueue::new(Arc::new(NullPublisher))))
        .call("one", || async {})
        .every_minute()
        .on_one_node();
    assert!(schedule.due(SystemTime::now(), SystemTime::now()).is_ok(), "a test may list it");
    let error = schedule.run(std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("locks of a queue in memory are not shared"), "{error}");
}

/// A queue whose storage fails. It records the locks that it was asked for.
#[derive(Debug, Default)]
struct Broken(Mutex<Vec<(String, Duration)>>);

impl Queue for Broken {
    fn push(&self, _: Job) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(ready(Ok(())))
    }

    fn lock<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.lock().unwrap().push((name.to_owned(), time));
        let error = clarim_queue::Error::storage("redis", "down");
        Box::pin(ready(Err(error.into())))
    }

    fn extend_lock<'a>(&'a self, _: &'a str, _: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(ready(Ok(false)))
    }

    fn unlock<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(ready(Ok(())))
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_whose_lock_fails_does_not_run() {
    let log = Log::new();
    let task = log.clone();
    let lock = Arc::new(Broken::default());
    let schedule = Schedule::new()
        .lock(lock.clone())
        .call("one", move || task.added("one"))
        .every_minute()
        .on_one_node();
    schedule.run_by(clock(TimeDelta::zero()), sleep(seconds(40))).await.unwrap();
    assert_eq!(log.taken(), []);
    let asked = lock.0.lock().unwrap();
    // Until the task's next time, plus one hour.
    assert_eq!(*asked, [("schedule:one:2026-01-05T12:00:00Z".to_owned(), seconds(3660))]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_is_noticed_within_ten_seconds() {
    let ran = Arc::new(Notify::new());
    let task = ran.clone();
    let schedule = Schedule::new()
        .call("daily", move || {
            task.notify_one();
            ready(())
        })
        .daily_at("18:00");
    let go = clock(TimeDelta::zero());
    let started = Instant::now();
    let jumping = move || {
        let asleep =
            if started.elapsed() > seconds(25) { TimeDelta::hours(8) } else { TimeDelta::zero() };
        go() + asleep
    };
    let stop = async {
        ran.notified().await;
        assert!(started.elapsed() <= seconds(35), "{:?}", started.elapsed());
    };
    schedule.run_by(jumping, stop).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_is_skipped_while_its_condition_is_false_or_panics() {
    let log = Log::new();
    let task = log.clone();
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let schedule = Schedule::new()
        .call("task", move || task.added("ran"))
        .when(move || {
            let mut asked = count.lock().unwrap();
            *asked += 1;
            let number = *asked;
            drop(asked);
            assert_ne!(number, 2, "a bug");
            number != 1
        })
        .every(seconds(20));
    schedule.run_by(clock(TimeDelta::zero()), sleep(seconds(75))).await.unwrap();
    assert_eq!(*asked.lock().unwrap(), 4);
    assert_eq!(log.taken(), [("ran", 50), ("ran", 70)]);
}

#[tokio::test]
async fn all_problems_are_returned_at_once() {
    let schedule = Schedule::new()
        .hourly()
        .time_zone("Atlantis")
        .call("a", || async {})
        .daily_at("25:00")
        .between("8:00", "18")
        .call("a", || async {})
        .hourly()
        .every_minute()
        .call("b", || async {})
        .hourly()
        .on_one_node()
        .call("c", || async {})
        .daily_at("3:00")
        .weekdays()
        .between("8:00", "18:00");
    let error = schedule.run(std::future::pending()).await.unwrap_err();
    let Error::Schedule { problems } = &error else { panic!("{error}") };
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "0 * * * * has no task before it",
            "unknown time zone \"Atlantis\"; expected a name like \"America/Sao_Paulo\"",
            "\"25:00\" is not a time of day like \"13:00\"",
            "\"18\" is not a time of day like \"13:00\"",
            "two tasks have the name \"a\"",
            "\"a\" has two times: 0 * * * * and * * * * *",
            "\"b\" runs on one node, and the schedule has no lock; add Schedule::lock",
            "\"c\" is never due: 0 3 * * * on weekdays between 08:00 and 18:00",
        ]
    );
    assert!(!error.is_temporary());
    let untimed = Schedule::new().call("a", || async {}).run(std::future::pending()).await;
    let error = untimed.unwrap_err().to_string();
    assert_eq!(error, "schedule: \"a\" has no time; add for example .hourly()");
}

#[test]
fn names_of_frequencies_mean_their_times() {
    type Frequency = fn(Schedule) -> Schedule;
    let expected: [(Frequency, &str); 8] = [
        (Schedule::every_minute, "2026-01-05 12:00:00"),
        (Schedule::hourly, "2026-01-05 12:00:00"),
        (|it| it.hourly_at(17), "2026-01-05 12:17:00"),
        (Schedule::daily, "2026-01-06 00:00:00"),
        (|it| it.daily_at("8:30"), "2026-01-06 08:30:00"),
        (|it| it.weekly_on(Weekday::Sun, "8:30"), "2026-01-11 08:30:00"),
        (|it| it.monthly_on(30, "8:30"), "2026-01-30 08:30:00"),
        (|it| it.last_day_of_month("8:30"), "2026-01-31 08:30:00"),
    ];
    let start: DateTime<Utc> = START.parse().unwrap();
    let with = |frequency: Frequency| frequency(Schedule::new().call("task", || async {}));
    for (frequency, next) in expected {
        let list = with(frequency).list(start.into()).unwrap();
        assert!(list.contains(&format!("next {next} UTC")), "{list}");
    }
    let times_a_day = |frequency: Frequency| {
        let schedule = with(frequency);
        let due = |minute: i64| {
            let now = start + TimeDelta::minutes(minute);
            schedule.due((now - TimeDelta::minutes(1)).into(), now.into()).unwrap().len()
        };
        (0..24 * 60).map(due).sum::<usize>()
    };
    assert_eq!(times_a_day(Schedule::every_five_minutes), 288);
    assert_eq!(times_a_day(Schedule::every_fifteen_minutes), 96);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_skipped_if_its_condition_holds() {
    let log = Log::new();
    let task = |name| {
        let log = log.clone();
        move || log.added(name)
    };
    let schedule = Schedule::new()
        .call("skipped", task("skipped"))
        .every_minute()
        .skip(|| true)
        .call("ran", task("ran"))
        .every_minute()
        .skip(|| false);
    let stop = sleep(seconds(60));
    schedule.run_by(clock(TimeDelta::zero()), stop).await.unwrap();
    assert_eq!(log.taken(), [("ran", 30)]);
}

#[tokio::test]
async fn tasks_that_are_due_in_this_minute_run_once() {
    let ran = async |now: &str| {
        let log = Log::new();
        let task = |name| {
            let log = log.clone();
            move || log.added(name)
        };
        let schedule = Schedule::new()
            .call("hourly", task("hourly"))
            .hourly()
            .call("minutes", task("minutes"))
            .every_minute()
            .call("seconds", task("seconds"))
            .every(seconds(1))
            .call("at 59 past", task("59"))
            .hourly_at(59);
        let due = schedule.run_due_at(now.parse().unwrap()).await.unwrap();
        let mut names: Vec<&str> = log.taken().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        assert_eq!(due, names.len());
        names
    };
    assert_eq!(ran("2026-01-05T12:00:00Z").await, ["hourly", "minutes", "seconds"]);
    assert_eq!(ran("2026-01-05T12:00:59.9Z").await, ["hourly", "minutes", "seconds"]);
    assert_eq!(ran("2026-01-05T12:01:00Z").await, ["minutes", "seconds"]);
    assert_eq!(ran("2026-01-05T11:59:59.9Z").await, ["59", "minutes", "seconds"]);
}
