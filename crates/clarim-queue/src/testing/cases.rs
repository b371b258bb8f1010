//! The cases of the suite. Each takes an empty store.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests: their names say what they check, and they fail by panicking"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::TestStore;
use super::fixture::{Fixture, SHORT, TestJob};
pub use super::operations::*;
use crate::error::JobError;
use crate::report::JobState;
use crate::storage::NewJob;

/// A delay or lease that outlives every test.
const DAY: Duration = Duration::from_secs(86_400);

fn down() -> JobError {
    JobError::temporary("down")
}

/// Fails this many times, then succeeds.
fn fails(times: usize) -> impl Fn() -> Result<(), JobError> + Send + Sync {
    let left = AtomicUsize::new(times);
    move || {
        let update = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
        update.map_or(Ok(()), |_| Err(down()))
    }
}

pub async fn queues_run_by_priority(store: &dyn TestStore) {
    let app = Fixture::new(store);
    for n in ["1", "2"] {
        app.push(TestJob::new("a", &format!("default-{n}"))).await;
        app.push(TestJob::new("b", &format!("low-{n}")).queue("low")).await;
        app.push(TestJob::new("c", &format!("high-{n}")).queue("high")).await;
    }
    app.worker().queues(["high", "default"]).stop_when_empty().run().await;
    assert_eq!(app.done(), ["high-1", "high-2", "default-1", "default-2"]);
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 2, "the queue low has no worker");
}

pub async fn failed_attempts_are_retried_after_their_delays(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let failed_at = Arc::new(Mutex::new(Vec::new()));
    let failures = failed_at.clone();
    let answer = fails(4);
    app.answer(move |_| {
        failures.lock().unwrap().push(Instant::now());
        answer()
    });
    let delays = [10, 40, 20].map(Duration::from_millis);
    app.push(TestJob::new("a", "x").delays(&delays)).await;
    let retries = Arc::new(Mutex::new(Vec::new()));
    let started_at = Arc::new(Mutex::new(Vec::new()));
    let reported = retries.clone();
    let starts = started_at.clone();
    let worker = app.worker().report(move |report| match &report.state {
        JobState::Retrying { after, error, .. } => {
            assert_eq!(*error, "down");
            reported.lock().unwrap().push((report.attempt, *after));
        }
        JobState::Running => starts.lock().unwrap().push(Instant::now()),
        _ => {}
    });
    worker.run_until(app.wait_done(1)).await;
    let expected = [(1, 10), (2, 40), (3, 20), (4, 20)];
    let expected = expected.map(|(attempt, delay)| (attempt, Duration::from_millis(delay)));
    assert_eq!(*retries.lock().unwrap(), expected);
    let failed_at = failed_at.lock().unwrap();
    let started_at = started_at.lock().unwrap();
    for (n, (attempt, delay)) in expected.iter().enumerate() {
        // The storage counts whole milliseconds, and starts after the failure.
        let waited = started_at[n + 1] - failed_at[n] + Duration::from_millis(1);
        assert!(waited >= *delay, "{waited:?} after attempt {attempt}");
    }
}

pub async fn jobs_with_one_key_run_in_order_over_retries(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let answer = fails(3);
    app.answer(move |name| if name == "a1" { answer() } else { Ok(()) });
    for name in ["a1", "a2", "b1", "a3", "b2"] {
        app.push(TestJob::new(&name[..1], name)).await;
    }
    app.worker().concurrency(4).run_until(app.wait_done(5)).await;
    let done = app.done();
    let of_key = |key| -> Vec<String> {
        done.iter().filter(|name| name.starts_with(key)).cloned().collect()
    };
    assert_eq!(of_key('a'), ["a1", "a2", "a3"]);
    assert_eq!(of_key('b'), ["b1", "b2"]);
}

pub async fn jobs_with_other_keys_go_on_while_one_waits_for_its_retry(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.answer(|name| if name == "a1" { Err(down()) } else { Ok(()) });
    app.push(TestJob::new("a", "a1").delays(&[DAY])).await;
    for name in ["a2", "b1", "b2"] {
        app.push(TestJob::new(&name[..1], name)).await;
    }
    app.worker().run_until(app.wait_done(2)).await;
    assert_eq!(app.started(), ["a1", "b1", "b2"]);
    let sizes = &app.storage.sizes().await.unwrap()[0];
    assert_eq!((sizes.waiting, sizes.later), (1, 1), "a2 waits behind a1");
}

pub async fn a_job_with_two_keys_keeps_its_place_in_both(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.hold(&["first"]);
    app.push(TestJob::new("a", "first")).await;
    app.push(TestJob::new("a", "both").and("b")).await;
    app.push(TestJob::new("b", "last")).await;
    app.push(TestJob::new("c", "other")).await;
    let steps = async {
        app.wait_done(1).await;
        assert_eq!(app.started(), ["first", "other"], "both waits, and last waits behind it");
        app.hold(&[]);
        app.wait_done(5).await;
    };
    app.worker().concurrency(4).run_until(steps).await;
    assert_eq!(app.started(), ["first", "other", "both", "last"]);
}

pub async fn the_last_failed_attempt_moves_a_job_to_the_failed_jobs(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.answer(|name| if name == "bad" { Err(down()) } else { Ok(()) });
    app.push(TestJob::new("a", "bad").tries(2)).await;
    app.push(TestJob::new("a", "good")).await;
    app.drain().await;
    assert_eq!(app.started(), ["bad", "bad", "good"]);
    let failed = app.failed().await;
    assert_eq!(failed.len(), 1);
    assert_eq!((failed[0].queue.as_str(), failed[0].error.as_str()), ("default", "down"));
    assert!(failed[0].payload.contains("\"bad\""), "{}", failed[0].payload);
    let age = failed[0].failed_at.elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
}

pub async fn a_permanent_error_fails_at_once(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.answer(|_| Err(JobError::permanent("no")));
    app.push(TestJob::new("a", "x")).await;
    app.drain().await;
    assert_eq!(app.started().len(), 1);
    assert_eq!(app.failed().await[0].error, "no");
}

pub async fn an_unreadable_payload_fails_and_the_worker_goes_on(store: &dyn TestStore) {
    let app = Fixture::new(store);
    for payload in ["O:8:\"stdClass\":0:{}", r#"{"version":99}"#, ""] {
        assert!(app.storage.push(&NewJob::new("default", payload)).await.unwrap());
    }
    app.push(TestJob::new("a", "good")).await;
    app.drain().await;
    assert_eq!(app.done(), ["good"]);
    let failed = app.failed().await;
    let payloads: Vec<&str> = failed.iter().map(|job| job.payload.as_str()).collect();
    assert_eq!(payloads, ["O:8:\"stdClass\":0:{}", r#"{"version":99}"#, ""]);
    assert_eq!(failed[1].error, "no name");
}

pub async fn a_panic_is_a_failed_attempt(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.answer(|name| if name == "bad" { panic!("a bug") } else { Ok(()) });
    app.push(TestJob::new("a", "bad").tries(2)).await;
    app.push(TestJob::new("b", "good")).await;
    app.drain().await;
    assert_eq!(app.done(), ["good"]);
    assert_eq!(app.started().iter().filter(|name| *name == "bad").count(), 2);
    assert_eq!(app.failed().await[0].error, "the job panicked: a bug");
}

pub async fn a_job_that_always_panics_fails_after_three_attempts(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.answer(|name| if name == "bad" { panic!("a bug") } else { Ok(()) });
    app.push(TestJob::new("a", "bad")).await;
    app.push(TestJob::new("a", "behind")).await;
    app.worker().run_until(app.wait_done(1)).await;
    assert_eq!(app.started(), ["bad", "bad", "bad", "behind"]);
    assert_eq!(app.failed().await[0].error, "the job panicked: a bug");
}

pub async fn a_job_that_kills_its_workers_fails_after_its_last_attempt(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.push(TestJob::new("a", "bad").tries(2)).await;
    app.push(TestJob::new("a", "behind")).await;
    for attempt in 1..=4 {
        // A worker that dies: it neither renews its lease nor stores an outcome.
        let reserved = loop {
            let job = app.storage.reserve("default", SHORT).await.unwrap();
            if let Some(job) = job {
                break job;
            }
        };
        assert_eq!(reserved.attempt, attempt);
    }
    app.worker().run_until(app.wait_done(1)).await;
    assert_eq!(app.started(), ["behind"]);
    assert_eq!(app.failed().await[0].error, "its workers died during its last attempts");
}

pub async fn finished_parts_of_a_job_are_not_repeated(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let attempts = AtomicUsize::new(0);
    app.answer(
        move |_| {
            if attempts.fetch_add(1, Ordering::SeqCst) == 1 { Err(down()) } else { Ok(()) }
        },
    );
    app.push(TestJob::new("a", "x").then("b").then("c")).await;
    app.drain().await;
    assert_eq!(app.started().len(), 4);
    let keys: Vec<String> = app.done_by_key().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["a", "b", "c"]);
}

pub async fn a_unique_job_is_dropped_while_an_identical_one_waits(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let other = Fixture::new(store);
    let long = Duration::from_secs(600);
    let unique = |name: &str, key: &str| TestJob::new("a", name).unique(key, long);
    assert!(app.push(unique("x", "x:1")).await);
    assert!(!other.push(unique("x", "x:1")).await, "another process has pushed it");
    assert!(other.push(unique("x", "x:2")).await);
    assert!(other.push(unique("y", "y:1")).await);
    other.worker().stop_when_empty().run().await;
    assert_eq!(other.done(), ["x", "x", "y"]);
    assert!(app.push(unique("x", "x:1")).await, "the first one is done");
    app.answer(|name| if name == "z" { Err(down()) } else { Ok(()) });
    let once = unique("z", "z").tries(1);
    assert!(app.push(once.clone()).await);
    app.drain().await;
    assert!(app.push(once).await, "the first one has failed");
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 1);
}

pub async fn uniqueness_ends_after_its_time(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let short = || TestJob::new("a", "x").unique("x", SHORT);
    let started = Instant::now();
    app.push(short()).await;
    // The first job keeps waiting.
    while !app.push(short()).await {}
    assert!(started.elapsed() >= SHORT - Duration::from_millis(2));
}

pub async fn the_latest_of_identical_jobs_takes_the_place_of_the_first(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let other = Fixture::new(store);
    let latest = |name: &str, key: &str| TestJob::new("a", name).latest(key);
    assert!(app.push(latest("1", "x")).await);
    assert!(app.push(TestJob::new("a", "between")).await);
    assert!(other.push(latest("2", "x")).await, "another process replaces it");
    assert!(app.push(latest("3", "x")).await);
    assert!(app.push(latest("4", "y")).await, "another key");
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 3);
    app.drain().await;
    assert_eq!(app.done(), ["3", "between", "4"]);
    assert!(app.push(latest("5", "x")).await, "the first one is done");
    app.drain().await;
    assert_eq!(app.done(), ["3", "between", "4", "5"]);
}

pub async fn a_running_job_is_not_replaced(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let latest = |name: &str| TestJob::new("a", name).latest("x");
    app.hold(&["runs"]);
    app.push(latest("runs")).await;
    let worker = tokio::spawn(app.worker().at_most(2).run());
    app.wait_started(1).await;
    assert!(app.push(latest("replaced")).await);
    assert!(app.push(latest("last")).await);
    app.hold(&[]);
    worker.await.unwrap();
    assert_eq!(app.done(), ["runs", "last"]);
    assert!(app.storage.sizes().await.unwrap().is_empty());
}

pub async fn a_job_that_waits_for_its_retry_is_replaced(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let latest = |name: &str| TestJob::new("a", name).latest("x");
    app.answer(|name| if name == "old" { Err(down()) } else { Ok(()) });
    app.push(latest("old")).await;
    app.worker().at_most(1).run().await;
    app.push(latest("new")).await;
    app.drain().await;
    assert_eq!(app.started(), ["old", "new"]);
    assert_eq!(app.done(), ["new"]);
}

pub async fn a_delayed_job_comes_after_the_failed_one_of_its_key(store: &dyn TestStore) {
    for (retry, delay) in [(400, 50), (50, 400)] {
        let app = Fixture::new(store);
        let latest = |name: &str| TestJob::new("a", name).latest("x").ordered("x");
        let failures = AtomicUsize::new(0);
        app.answer(move |name| {
            let fails = name == "old" && failures.fetch_add(1, Ordering::Relaxed) == 0;
            if fails { Err(down()) } else { Ok(()) }
        });
        app.hold(&["old"]);
        app.push(latest("old").delay(SHORT).delays(&[Duration::from_millis(retry)])).await;
        let worker = tokio::spawn(app.worker().at_most(1).run());
        app.wait_started(1).await;
        let begun = Instant::now();
        let delay = Duration::from_millis(delay);
        assert!(app.push(latest("new").delay(delay)).await, "the old one runs");
        app.push(TestJob::new("a", "other")).await;
        app.hold(&[]);
        worker.await.unwrap();
        app.drain().await;
        assert_eq!(app.done().last().unwrap(), "new", "after {:?}", app.started());
        assert_eq!(app.done().len(), 3);
        assert!(begun.elapsed() >= delay, "its delay counts while it waits for the old one");
    }
}

pub async fn a_delayed_job_runs_later(store: &dyn TestStore) {
    let app = Fixture::new(store);
    let delay = Duration::from_millis(100);
    let started = Instant::now();
    app.push(TestJob::new("a", "later").delay(delay)).await;
    app.worker().run_until(app.wait_done(1)).await;
    assert!(started.elapsed() >= delay);
}

pub async fn a_delayed_job_blocks_no_other(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.push(TestJob::new("a", "tomorrow").delay(DAY)).await;
    app.push(TestJob::new("a", "now")).await;
    app.worker().run_until(app.wait_done(1)).await;
    assert_eq!(app.started(), ["now"]);
    assert_eq!(app.storage.sizes().await.unwrap()[0].later, 1);
}

pub async fn a_stopping_worker_finishes_running_jobs_only(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.hold(&["runs"]);
    app.push(TestJob::new("a", "runs")).await;
    app.push(TestJob::new("a", "waits")).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = tokio::spawn(app.worker().run_until(async { stopped.await.unwrap() }));
    app.wait_started(1).await;
    stop.send(()).unwrap();
    app.push(TestJob::new("b", "new")).await;
    assert!(!worker.is_finished());
    app.hold(&[]);
    worker.await.unwrap();
    assert_eq!(app.done(), ["runs"]);
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 2);
}

pub async fn a_job_of_a_dropped_worker_runs_again_after_its_lease(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.hold(&["x"]);
    app.push(TestJob::new("a", "x").tries(1)).await;
    app.push(TestJob::new("a", "y")).await;
    // If the machine is so busy that this worker loses its lease, it doesn't reserve the job again.
    let first = app.worker().lease(Duration::from_millis(150)).at_most(1);
    let worker = tokio::spawn(first.run());
    app.wait_started(1).await;
    worker.abort();
    let _ = worker.await;
    app.hold(&[]);
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let reported = attempts.clone();
    let worker = app.worker().lease(DAY).report(move |report| {
        if report.name == "x" {
            let is_done = matches!(report.state, JobState::Done { .. });
            reported.lock().unwrap().push((report.attempt, is_done));
        }
    });
    worker.run_until(app.wait_done(2)).await;
    assert_eq!(app.done(), ["x", "y"], "in order");
    assert_eq!(*attempts.lock().unwrap(), [(2, false), (2, true)]);
}

pub async fn a_renewed_lease_keeps_the_job(store: &dyn TestStore) {
    let storage = store.connect();
    storage.push(&NewJob::new("default", "x")).await.unwrap();
    let job = storage.reserve("default", SHORT).await.unwrap().unwrap();
    assert!(storage.extend(&job, DAY).await.unwrap(), "nobody has reserved it since");
    // Time is the subject: the first lease ends.
    tokio::time::sleep(SHORT * 2).await;
    assert_eq!(storage.reserve("default", DAY).await.unwrap(), None);
    assert!(storage.extend(&job, SHORT).await.unwrap());
    let next = loop {
        if let Some(next) = storage.reserve("default", DAY).await.unwrap() {
            break next;
        }
    };
    assert_eq!((job.attempt, next.attempt), (1, 2));
    assert!(!storage.extend(&job, DAY).await.unwrap(), "another worker has the job");
    assert!(!storage.complete(&job).await.unwrap());
    assert!(storage.complete(&next).await.unwrap());
}

pub async fn a_worker_stops_at_its_limit_or_when_the_queue_is_empty(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.worker().stop_when_empty().run().await;
    for name in ["a", "b", "c"] {
        app.push(TestJob::new(name, name)).await;
    }
    app.worker().concurrency(2).at_most(1).run().await;
    assert_eq!(app.done(), ["a"]);
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.done(), ["a", "b", "c"]);
}

pub async fn a_lock_has_one_owner_until_it_expires_or_is_released(store: &dyn TestStore) {
    let storage = store.connect();
    let long = Duration::from_secs(600);
    assert!(storage.lock("nightly", "here", long).await.unwrap());
    assert!(!storage.lock("nightly", "there", long).await.unwrap());
    assert!(!storage.lock("nightly", "here", long).await.unwrap(), "not twice by one owner");
    assert!(storage.lock("hourly", "there", long).await.unwrap());
    storage.unlock("nightly", "there").await.unwrap();
    assert!(!storage.lock("nightly", "there", long).await.unwrap(), "only its owner releases it");
    storage.unlock("nightly", "here").await.unwrap();
    let started = Instant::now();
    assert!(storage.lock("nightly", "there", SHORT).await.unwrap());
    assert!(!storage.extend_lock("nightly", "here", long).await.unwrap(), "of another owner");
    while !storage.lock("nightly", "here", long).await.unwrap() {}
    assert!(started.elapsed() >= SHORT - Duration::from_millis(2));
    assert!(!storage.extend_lock("nightly", "there", long).await.unwrap(), "it is lost");
    assert!(storage.lock("weekly", "here", SHORT * 100).await.unwrap());
    assert!(storage.extend_lock("weekly", "here", SHORT).await.unwrap());
    while !storage.lock("weekly", "there", long).await.unwrap() {}
    storage.unlock("weekly", "there").await.unwrap();
}

pub async fn sizes_count_jobs_by_state(store: &dyn TestStore) {
    let app = Fixture::new(store);
    assert!(app.is_empty().await);
    app.hold(&["runs"]);
    app.push(TestJob::new("a", "runs").queue("high")).await;
    app.push(TestJob::new("a", "behind").queue("high")).await;
    app.push(TestJob::new("b", "tomorrow").delay(DAY)).await;
    let worker = tokio::spawn(app.worker().queues(["high"]).run());
    app.wait_started(1).await;
    let sizes = app.storage.sizes().await.unwrap();
    let numbers: Vec<_> =
        sizes.iter().map(|s| (s.queue.as_str(), s.waiting, s.later, s.running)).collect();
    assert_eq!(numbers, [("default", 0, 1, 0), ("high", 1, 0, 1)]);
    assert_eq!(sizes[0].oldest, None);
    assert!(sizes[1].oldest.unwrap() < Duration::from_secs(60));
    worker.abort();
}

pub async fn failed_jobs_are_deleted_one_by_one_or_all(store: &dyn TestStore) {
    let app = Fixture::new(store);
    for _ in 0..3 {
        app.storage.push(&NewJob::new("default", "?")).await.unwrap();
    }
    app.drain().await;
    let failed = app.failed().await;
    assert!(failed.is_sorted_by_key(|job| job.id));
    assert!(app.storage.forget(failed[1].id).await.unwrap());
    assert!(!app.storage.forget(failed[1].id).await.unwrap());
    assert_eq!(app.failed().await.len(), 2);
    assert_eq!(app.storage.flush().await.unwrap(), 2);
    assert!(app.failed().await.is_empty());
}
