//! What people at a terminal are told.

use std::process::Output;

use clarim::queue::NewJob;

use crate::crash::orders;
use crate::stores::{Kind, Store};
use crate::support::{App, down, soon};

crate::with_each_store! {
    failed_jobs_are_listed_retried_forgotten_and_flushed,
    queues_are_worked_by_priority_and_monitored,
}

struct Said {
    out: String,
    error: String,
    code: i32,
}

/// Runs `orders queue …` to its end. Nobody listens at its server's port.
async fn queue(store: &Store, args: &str) -> Said {
    let args: Vec<&str> = ["queue"].into_iter().chain(args.split_whitespace()).collect();
    let mut command = orders(store, 1, &args);
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { out: text(stdout), error: text(stderr), code: status.code().unwrap() }
}

async fn failed_jobs_are_listed_retried_forgotten_and_flushed(store: Store) {
    let app = App::new(&store);
    assert_eq!(queue(&store, "failed").await.out, "No job has failed.\n");
    app.server.answer(|_| Err(down()));
    for name in ["one", "two", "three"] {
        app.send("a", name, soon().queue("high").tries(1)).await;
    }
    app.storage.push(&NewJob::new("high", "?")).await.unwrap();
    app.worker().queues(["high"]).stop_when_empty().run().await;
    let ids: Vec<u64> = app.failed().await.iter().map(|job| job.id).collect();

    let said = queue(&store, "failed").await;
    let lines: Vec<Vec<&str>> =
        said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "FAILED", "AT", "QUEUE", "EVENT", "ERROR"]);
    assert_eq!(lines[1][0], ids[0].to_string());
    assert_eq!(lines[1][3..], ["high", "one", "cannot", "publish", "to", "h:1:", "down"]);
    assert!(said.out.lines().nth(4).unwrap().contains("(cannot be read)"), "{}", said.out);

    let said = queue(&store, &format!("retry {} 99999", ids[0])).await;
    assert_eq!(said.out, format!("Job {} is queued again\n", ids[0]));
    assert_eq!((said.error.as_str(), said.code), ("error: there is no failed job 99999\n", 1));
    let said = queue(&store, &format!("forget {}", ids[1])).await;
    assert_eq!((said.out, said.code), (format!("Job {} is forgotten\n", ids[1]), 0));
    assert_eq!(app.failed().await.len(), 2);
    assert_eq!(queue(&store, "retry all").await.out.lines().count(), 2);
    assert!(app.failed().await.is_empty());

    app.server.answer(|_| Ok(()));
    app.worker().queues(["high"]).stop_when_empty().run().await;
    assert_eq!(app.server.out(), ["one", "three"]);
    assert_eq!(queue(&store, "flush").await.out, "1 job forgotten\n");
    assert!(app.failed().await.is_empty());
    let said = queue(&store, "retry some").await;
    assert!(said.code == 2 && said.error.contains("expected a number, or all"), "{}", said.error);
}

async fn queues_are_worked_by_priority_and_monitored(store: Store) {
    let app = App::new(&store);
    assert_eq!(queue(&store, "monitor").await.out, "The queues are empty.\n0 jobs failed\n");
    app.send("a", "first", soon()).await;
    app.send("b", "second", soon().queue("high").tries(1)).await;
    let said = queue(&store, "monitor").await;
    let rows: Vec<Vec<&str>> =
        said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["QUEUE", "WAITING", "LATER", "RUNNING", "OLDEST"]);
    assert_eq!(rows[1][..4], ["default", "1", "0", "0"]);
    assert_eq!(rows[2][..4], ["high", "1", "0", "0"]);

    let said = queue(&store, "work --queue high,default --concurrency 1 --stop-when-empty").await;
    assert_eq!(said.code, 0);
    let lines: Vec<&str> = said.out.lines().collect();
    assert!(lines[0].starts_with("Jobs of high, default."), "{}", said.out);
    assert!(lines[1].contains(" second ...") && lines[1].ends_with(" RUNNING"), "{}", said.out);
    assert!(lines[2].contains(" second ...") && lines[2].ends_with("s FAIL"), "{}", said.out);
    let cause = "cannot publish to 127.0.0.1:1: ";
    assert!(lines[3].trim_start().starts_with(cause), "{}", said.out);
    assert!(lines[5].contains(" first ...") && lines[5].contains("s AGAIN IN "), "{}", said.out);
    let said = queue(&store, "work --once").await;
    assert!(said.out.lines().count() <= 4, "{}", said.out);
}

#[tokio::test]
async fn a_queue_in_memory_has_no_worker() {
    let store = Store::new(Kind::Sqlite);
    let mut command = orders(&store, 1, &["queue", "work"]);
    let output = command.env("QUEUE_CONNECTION", "memory").output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("error: QUEUE_CONNECTION: the queue is in the memory"), "{error}");
    assert_eq!(output.status.code(), Some(1));
}
