//! Any interleaving of pushes, crashes of the worker, and failures of all attempts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clarim_queue::JobError;
use clarim_queue::testing::{Fixture, TIMEOUT, TestJob};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::task::JoinHandle;

use crate::stores::{Kind, Store};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Pushes a job with the order keys of these bits.
    Push(u8),
    /// Drops the worker's future wherever it is, and starts another worker.
    Crash,
    /// From now on attempts fail.
    Fail,
    /// From now on attempts succeed.
    Succeed,
    /// Waits for one more attempt, or until the queue is empty.
    Wait,
}

const KEYS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..1_u8 << KEYS).prop_map(Step::Push),
        2 => Just(Step::Crash),
        1 => Just(Step::Fail),
        2 => Just(Step::Succeed),
        3 => Just(Step::Wait),
    ]
}

struct Run {
    app: Fixture,
    concurrency: usize,
    worker: JoinHandle<()>,
    is_up: Arc<AtomicBool>,
}

impl Run {
    fn new(store: &Store, concurrency: usize) -> Self {
        let app = Fixture::new(store);
        let is_up = Arc::new(AtomicBool::new(true));
        let up = is_up.clone();
        app.answer(move |_| match up.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(JobError::temporary("down")),
        });
        let worker = Self::start(&app, concurrency);
        Self { app, concurrency, worker, is_up }
    }

    fn start(app: &Fixture, concurrency: usize) -> JoinHandle<()> {
        let worker = app.worker().concurrency(concurrency).lease(Duration::from_millis(60));
        tokio::spawn(worker.run())
    }

    async fn step(&mut self, number: usize, step: Step) {
        match step {
            Step::Push(bits) => {
                let mut keys = (0..KEYS).filter(|bit| bits & (1 << bit) != 0);
                let first = keys.next().unwrap().to_string();
                let job = TestJob::new(&first, &format!("{number:03}"));
                let job = keys.fold(job, |job, key| job.and(&key.to_string()));
                self.app.push(job).await;
            }
            Step::Crash => {
                self.worker.abort();
                let _ = (&mut self.worker).await;
                self.worker = Self::start(&self.app, self.concurrency);
            }
            Step::Fail => self.is_up.store(false, Ordering::SeqCst),
            Step::Succeed => self.is_up.store(true, Ordering::SeqCst),
            Step::Wait => {
                let next = self.app.started().len() + 1;
                tokio::select! {
                    () = self.app.wait_started(next) => {}
                    () = self.emptied() => {}
                }
            }
        }
    }

    async fn emptied(&self) {
        let empty = async {
            while !self.app.is_empty().await {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, empty).await.expect("the queue is empty in time");
    }
}

fn every_job_runs_in_order(kind: Kind, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    let input = (1..4_usize, prop::collection::vec(step(), 1..25));
    let result = runner.run(&input, |(concurrency, steps)| {
        // On one thread, an attempt starts and ends in one step. On two, an attempt that lost its lease on a
        // busy machine might end after those that followed it.
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::new(kind);
            let mut run = Run::new(&store, concurrency);
            for (number, step) in steps.iter().enumerate() {
                run.step(number, *step).await;
            }
            run.is_up.store(true, Ordering::SeqCst);
            run.emptied().await;
            check(&steps, &run.app.done_by_key())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Every job ran for each of its keys. A job that ran twice did so before the next one of its key.
fn check(steps: &[Step], done: &[(String, String)]) -> Result<(), TestCaseError> {
    let mut by_key: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, name) in done {
        by_key.entry(key.clone()).or_default().push(name.clone());
    }
    for key in 0..KEYS {
        let has_key = |step: &Step| matches!(step, Step::Push(bits) if bits & (1 << key) != 0);
        let numbers = steps.iter().enumerate().filter(|(_, step)| has_key(step));
        let pushed: Vec<String> = numbers.map(|(number, _)| format!("{number:03}")).collect();
        let mut done = by_key.remove(&key.to_string()).unwrap_or_default();
        prop_assert!(done.is_sorted(), "key {key} ran {done:?}");
        done.dedup();
        prop_assert_eq!(done, pushed, "key {}", key);
    }
    Ok(())
}

#[test]
fn every_job_runs_in_order_with_sqlite() {
    every_job_runs_in_order(Kind::Sqlite, 24);
}

#[test]
fn every_job_runs_in_order_with_postgres() {
    every_job_runs_in_order(Kind::Postgres, 16);
}

#[test]
fn every_job_runs_in_order_with_redis() {
    every_job_runs_in_order(Kind::Redis, 24);
}
