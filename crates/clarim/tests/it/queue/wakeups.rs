//! Workers that are woken by commits.

use std::time::{Duration, Instant};

use clarim::Clarim;
use clarim::queue::Worker;
use serde_json::json;
use tokio::sync::oneshot;

use super::transactions::{Database, begin};
use crate::queue::stores::{Store, with_each_store};
use crate::support::World;

with_each_store! {
    sql:
    a_commit_reaches_subscribers_without_polling,
}

/// Longer than any test.
const NEVER: Duration = Duration::from_secs(86_400);

const COMMITS: u32 = 200;

/// The figures are printed: `cargo nextest run -p clarim without_polling --no-capture`.
#[expect(clippy::print_stdout, reason = "figures of runs by hand")]
async fn a_commit_reaches_subscribers_without_polling(store: Store) {
    let world = World::start();
    let database = Database::connect(store.url()).await;
    let clarim = Clarim::new(world.settings().queue(store.connection())).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = Worker::new(&clarim).unwrap().poll(NEVER);
    let worker = tokio::spawn(worker.run_until(async { stopped.await.unwrap() }));
    let mut client = world.connect().await;
    client.subscribe("orders").await;
    let mut latencies = Vec::new();
    for id in 0..COMMITS {
        let event = clarim.on("orders").name("created").with(json!({ "id": id }));
        begin!(database, |transaction| {
            event.in_tx(&mut transaction).await.unwrap();
            transaction.commit().await.unwrap();
        });
        let committed_at = Instant::now();
        let (_, _, data) = client.event().await;
        latencies.push(committed_at.elapsed());
        assert_eq!(data["id"], id);
    }
    latencies.sort();
    let at = |percent: usize| latencies[latencies.len() * percent / 100];
    println!("commit to subscriber: p50 {:?}, p90 {:?}, p99 {:?}", at(50), at(90), at(99));
    stop.send(()).unwrap();
    worker.await.unwrap();
}
