//! The commands for the queue, as a program.

use std::process::{Output, Stdio};
use std::time::Duration;

use clarim::Delivery;
use clarim::queue::NewJob;
use tokio::io::AsyncWriteExt;

use super::crash::orders;
use super::jobs::{TestApp, down, soon};
use crate::queue::stores::{Kind, Store, with_each_store};

with_each_store! {
    failed_jobs_are_listed_retried_and_deleted,
    queues_run_by_priority_and_are_monitored,
    a_worker_stops_after_a_number_of_jobs_or_a_time,
    a_workers_settings_hold_for_events_without_their_own,
    a_queue_is_cleared_when_the_user_confirms,
    a_restart_is_requested_of_all_workers,
}

struct Printed {
    out: String,
    error: String,
    code: i32,
}

/// Runs `orders queue …` to its end. No server listens on its port.
async fn queue(store: &Store, args: &str) -> Printed {
    queue_with_input(store, args, "").await
}

async fn queue_with_input(store: &Store, args: &str, input: &str) -> Printed {
    let args: Vec<&str> = ["queue"].into_iter().chain(args.split_whitespace()).collect();
    let mut command = orders(store, 1, &args);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that reads nothing may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    let Output { status, stdout, stderr } = child.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Printed { out: text(stdout), error: text(stderr), code: status.code().unwrap() }
}

async fn failed_jobs_are_listed_retried_and_deleted(store: Store) {
    let app = TestApp::new(&store, |_| Err(down()));
    assert_eq!(queue(&store, "failed").await.out, "No job has failed.\n");
    for name in ["one", "two", "three"] {
        app.send("a", name, soon().queue("high").tries(1)).await;
    }
    app.storage.push(&NewJob::new("high", "?")).await.unwrap();
    app.worker().queues(["high"]).stop_when_empty().run().await;
    let ids: Vec<u64> = app.storage.failed().await.unwrap().iter().map(|job| job.id).collect();

    let printed = queue(&store, "failed").await;
    let lines: Vec<Vec<&str>> =
        printed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "FAILED", "AT", "QUEUE", "EVENT", "ERROR"]);
    assert_eq!(lines[1][0], ids[0].to_string());
    assert_eq!(lines[1][3..], ["high", "one", "cannot", "publish", "to", "h:1:", "down"]);
    assert!(printed.out.lines().nth(4).unwrap().contains("(unreadable)"), "{}", printed.out);

    let printed = queue(&store, &format!("retry {} 99999", ids[0])).await;
    assert_eq!(printed.out, format!("Job {} queued again\n", ids[0]));
    assert_eq!(
        (printed.error.as_str(), printed.code),
        ("error: no failed job has the id 99999\n", 1)
    );
    let printed = queue(&store, &format!("forget {}", ids[1])).await;
    assert_eq!((printed.out, printed.code), (format!("Job {} deleted\n", ids[1]), 0));
    assert_eq!(app.storage.failed().await.unwrap().len(), 2);
    assert_eq!(queue(&store, "retry all").await.out.lines().count(), 2);
    assert!(app.storage.failed().await.unwrap().is_empty());

    let up = TestApp::new(&store, |_| Ok(()));
    up.worker().queues(["high"]).stop_when_empty().run().await;
    assert_eq!(up.names(), ["one", "three"]);
    assert_eq!(queue(&store, "flush").await.out, "1 job deleted\n");
    assert!(app.storage.failed().await.unwrap().is_empty());
    let printed = queue(&store, "retry some").await;
    assert!(
        printed.code == 2 && printed.error.contains("expected a number, or all"),
        "{}",
        printed.error
    );
}

async fn queues_run_by_priority_and_are_monitored(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    assert_eq!(queue(&store, "monitor").await.out, "The queues are empty.\n0 jobs failed\n");
    app.send("a", "first", soon()).await;
    app.send("b", "second", soon().queue("high").tries(1)).await;
    let printed = queue(&store, "monitor").await;
    let rows: Vec<Vec<&str>> =
        printed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["QUEUE", "WAITING", "LATER", "RUNNING", "OLDEST"]);
    assert_eq!(rows[1][..4], ["default", "1", "0", "0"]);
    assert_eq!(rows[2][..4], ["high", "1", "0", "0"]);

    let printed =
        queue(&store, "work --queue high,default --concurrency 1 --stop-when-empty").await;
    assert_eq!(printed.code, 0);
    let lines: Vec<&str> = printed.out.lines().collect();
    assert!(lines[0].starts_with("Running jobs of high, default."), "{}", printed.out);
    assert!(lines[1].contains(" second ...") && lines[1].ends_with(" RUNNING"), "{}", printed.out);
    assert!(lines[2].contains(" second ...") && lines[2].ends_with("s FAIL"), "{}", printed.out);
    let cause = "cannot publish to 127.0.0.1:1: ";
    assert!(lines[3].trim_start().starts_with(cause), "{}", printed.out);
    assert!(lines[5].contains(" first ...") && lines[5].contains("s RETRY IN "), "{}", printed.out);
    let printed = queue(&store, "work --once").await;
    assert!(printed.out.lines().count() <= 4, "{}", printed.out);
}

async fn a_worker_stops_after_a_number_of_jobs_or_a_time(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    for name in ["one", "two", "three"] {
        app.send(name, name, soon().tries(1)).await;
    }
    let printed = queue(&store, "work --max-jobs 2").await;
    assert_eq!(printed.code, 0);
    assert_eq!(printed.out.matches("s FAIL").count(), 2, "{}", printed.out);
    let printed = queue(&store, "work --max-time 2").await;
    assert_eq!(printed.code, 0);
    assert!(printed.out.lines().last().unwrap().starts_with("Stopping after"), "{}", printed.out);
}

async fn a_workers_settings_hold_for_events_without_their_own(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    app.send("a", "plain", Delivery::queued()).await;
    app.send("b", "patient", Delivery::queued().tries(3).backoff([Duration::from_secs(700)])).await;
    let printed = queue(&store, "work --max-jobs 2 --tries 1 --backoff 600").await;
    let failed = app.storage.failed().await.unwrap();
    assert_eq!(failed.len(), 1, "{}", printed.out);
    assert!(failed[0].payload.contains("plain"));
    assert!(!failed[0].payload.contains("timeout"), "the settings stay the worker's");
    assert!(printed.out.contains("RETRY IN 11m 40s"), "{}", printed.out);

    app.send("c", "other", Delivery::queued()).await;
    let printed = queue(&store, "work --once --tries 0 --backoff 120,600").await;
    assert!(printed.out.contains("RETRY IN 2m 0s"), "{}", printed.out);
    let printed = queue(&store, "work --timeout 0").await;
    assert_eq!(printed.code, 2);
    assert!(printed.error.contains("0 is not in 1.."), "{}", printed.error);
}

async fn a_queue_is_cleared_when_the_user_confirms(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    for queue in ["default", "high", "high"] {
        app.send("a", "event", soon().queue(queue)).await;
    }
    for answer in ["", "n\n", "no\n", "\n"] {
        let printed = queue_with_input(&store, "clear", answer).await;
        assert_eq!(printed.out, "Delete the waiting jobs of default? [y/N] ");
        assert!(printed.error.contains("add --force") && printed.code == 1, "{}", printed.error);
    }
    assert_eq!(app.storage.sizes().await.unwrap().len(), 2);
    let printed = queue_with_input(&store, "clear", "y\n").await;
    assert!(printed.out.ends_with("? [y/N] 1 job of default deleted\n"), "{}", printed.out);
    assert_eq!(app.storage.sizes().await.unwrap()[0].queue, "high");
    let printed = queue(&store, "clear --queue high,default --force").await;
    assert_eq!(printed.out, "2 jobs of high deleted\n0 jobs of default deleted\n");
    assert_eq!(printed.code, 0);
    assert!(app.storage.sizes().await.unwrap().is_empty());
}

async fn a_restart_is_requested_of_all_workers(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    assert_eq!(app.storage.restarts().await.unwrap(), 0);
    for requests in 1..=2 {
        let printed = queue(&store, "restart").await;
        assert_eq!(printed.out, "Workers end when their running jobs have finished.\n");
        assert_eq!(app.storage.restarts().await.unwrap(), requests);
    }
}

#[tokio::test]
async fn a_queue_in_memory_has_no_worker() {
    let store = Store::new(Kind::Sqlite);
    let mut command = orders(&store, 1, &["queue", "work"]);
    let output = command.env("QUEUE_CONNECTION", "memory").output().await.unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.starts_with("error: QUEUE_CONNECTION: the queue is in the application's memory"),
        "{error}"
    );
    assert_eq!(output.status.code(), Some(1));
}
