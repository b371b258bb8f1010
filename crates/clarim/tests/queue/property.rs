//! Any interleaving of dispatching, crashes of the worker, and a server that comes and goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::task::JoinHandle;

use crate::stores::{Kind, Store, TIMEOUT};
use crate::support::{App, SOON, down};

#[derive(Debug, Clone, Copy)]
enum Step {
    /// An event on the channels of these bits.
    Dispatch(u8),
    /// Wherever the worker is: its future is dropped, and another one begins.
    Crash,
    ServerGoes,
    ServerComes,
    /// Until the server was asked once more, or nothing is left to be asked for.
    Wait,
}

const CHANNELS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..1_u8 << CHANNELS).prop_map(Step::Dispatch),
        2 => Just(Step::Crash),
        1 => Just(Step::ServerGoes),
        2 => Just(Step::ServerComes),
        3 => Just(Step::Wait),
    ]
}

struct Run {
    app: App,
    concurrency: usize,
    worker: JoinHandle<()>,
    is_up: Arc<AtomicBool>,
}

impl Run {
    fn new(store: &Store, concurrency: usize) -> Self {
        let (app, is_up) = (App::new(store), Arc::new(AtomicBool::new(true)));
        let up = is_up.clone();
        app.server.answer(move |_| if up.load(Ordering::SeqCst) { Ok(()) } else { Err(down()) });
        let worker = Self::start(&app, concurrency);
        Self { app, concurrency, worker, is_up }
    }

    fn start(app: &App, concurrency: usize) -> JoinHandle<()> {
        let worker = app.worker().concurrency(concurrency).lease(Duration::from_millis(60));
        tokio::spawn(worker.run())
    }

    async fn step(&mut self, number: usize, step: Step) {
        match step {
            Step::Dispatch(bits) => {
                let mut channels = (0..CHANNELS).filter(|bit| bits & (1 << bit) != 0);
                let first = channels.next().unwrap();
                let mut event = self.app.clarim.on(first.to_string()).name(format!("{number:03}"));
                for channel in channels {
                    event = event.and(channel.to_string());
                }
                let delivery = clarim::Delivery::queued().backoff([SOON]);
                event.delivery(delivery).send().await.unwrap();
            }
            Step::Crash => {
                self.worker.abort();
                let _ = (&mut self.worker).await;
                self.worker = Self::start(&self.app, self.concurrency);
            }
            Step::ServerGoes => self.is_up.store(false, Ordering::SeqCst),
            Step::ServerComes => self.is_up.store(true, Ordering::SeqCst),
            Step::Wait => {
                let next = self.app.server.asked().len() + 1;
                tokio::select! {
                    () = self.app.server.wait_asked(next) => {}
                    () = self.emptied() => {}
                }
            }
        }
    }

    async fn emptied(&self) {
        let empty = async {
            while !self.app.storage.sizes().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        };
        tokio::time::timeout(TIMEOUT, empty).await.expect("everything is delivered in time");
    }
}

fn every_event_arrives_in_order(kind: Kind, cases: u32) {
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    let input = (1..4_usize, prop::collection::vec(step(), 1..25));
    let result = runner.run(&input, |(concurrency, steps)| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let store = Store::new(kind);
            let mut run = Run::new(&store, concurrency);
            for (number, step) in steps.iter().enumerate() {
                run.step(number, *step).await;
            }
            run.is_up.store(true, Ordering::SeqCst);
            run.emptied().await;
            check(&steps, &run.app.server.out_on())
        })
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Each event was on each of its channels; one that came twice did so before the next one.
fn check(steps: &[Step], out: &[(String, String)]) -> Result<(), TestCaseError> {
    let mut heard: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (channel, name) in out {
        heard.entry(channel.clone()).or_default().push(name.clone());
    }
    for channel in 0..CHANNELS {
        let is_on =
            |step: &Step| matches!(step, Step::Dispatch(bits) if bits & (1 << channel) != 0);
        let numbers = steps.iter().enumerate().filter(|(_, step)| is_on(step));
        let sent: Vec<String> = numbers.map(|(number, _)| format!("{number:03}")).collect();
        let mut heard = heard.remove(&channel.to_string()).unwrap_or_default();
        prop_assert!(heard.is_sorted(), "channel {channel} heard {heard:?}");
        heard.dedup();
        prop_assert_eq!(heard, sent, "channel {}", channel);
    }
    Ok(())
}

#[test]
fn every_event_arrives_in_order_with_sqlite() {
    every_event_arrives_in_order(Kind::Sqlite, 24);
}

#[test]
fn every_event_arrives_in_order_with_postgres() {
    every_event_arrives_in_order(Kind::Postgres, 16);
}

#[test]
fn every_event_arrives_in_order_with_redis() {
    every_event_arrives_in_order(Kind::Redis, 24);
}
