//! The cases about what operators do.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "these are tests: their names say what they check, and they fail by panicking"
)]

use std::pin::pin;
use std::time::Duration;

use super::{Fixture, SHORT, TestJob, TestStore};

const DAY: Duration = Duration::from_secs(86_400);

pub async fn clearing_deletes_the_waiting_jobs_of_one_queue(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.hold(&["runs"]);
    app.push(TestJob::new("a", "runs").and("b")).await;
    let worker = tokio::spawn(app.worker().concurrency(4).run());
    app.wait_started(1).await;
    app.push(TestJob::new("a", "behind").and("c").delay(DAY).ordered("c")).await;
    app.push(TestJob::new("c", "after")).await;
    app.push(TestJob::new("a", "second")).await;
    app.push(TestJob::new("e", "unique").unique("e", DAY).delay(DAY)).await;
    app.push(TestJob::new("a", "other").queue("high")).await;
    assert_eq!(app.storage.clear("default").await.unwrap(), 4);
    assert_eq!(app.storage.clear("default").await.unwrap(), 0);
    let sizes = app.storage.sizes().await.unwrap();
    let numbers: Vec<_> =
        sizes.iter().map(|s| (s.queue.as_str(), s.waiting, s.later, s.running)).collect();
    assert_eq!(numbers, [("default", 0, 0, 1), ("high", 1, 0, 0)]);

    // The running job keeps its place. Nobody waits for deleted jobs, and the unique key is free.
    app.push(TestJob::new("a", "new-a")).await;
    app.push(TestJob::new("c", "new-c")).await;
    assert!(app.push(TestJob::new("e", "again").unique("e", DAY)).await);
    app.wait_done(2).await;
    assert_eq!(app.done(), ["new-c", "again"]);
    app.hold(&[]);
    app.wait_done(5).await;
    assert_eq!(app.done()[4], "new-a");
    worker.abort();
}

pub async fn a_restart_ends_the_workers_that_were_running(store: &dyn TestStore) {
    let app = Fixture::new(store);
    app.storage.request_restart().await.unwrap();
    let before = app.storage.restarts().await.unwrap();
    let worker = app.worker();
    let mut restart = pin!(worker.restart_requested());
    let waits = tokio::time::timeout(Duration::from_millis(1500), &mut restart).await;
    assert!(waits.is_err(), "the worker is younger than the request");
    // Again and again: on a busy machine, the worker may not have read the first number yet.
    let requests = async {
        loop {
            app.storage.request_restart().await.unwrap();
            tokio::time::sleep(SHORT).await;
        }
    };
    tokio::select! {
        () = worker.run_until(restart) => {}
        () = requests => {}
    }
    assert!(app.storage.restarts().await.unwrap() > before);
}
