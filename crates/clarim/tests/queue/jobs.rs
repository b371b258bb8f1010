//! What becomes of a job.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clarim::queue::{NewJob, State};
use clarim::{Clarim, Delivery, Error, Settings};
use clarim_server::config::ServerConfig;
use tokio::sync::oneshot;

use crate::stores::Store;
use crate::support::{App, SOON, down, soon, word};

crate::with_each_store! {
    queues_go_by_priority,
    temporary_failures_follow_the_backoff_list,
    a_channel_keeps_its_order_and_the_others_go_on,
    an_event_on_two_channels_has_its_place_in_both,
    the_last_try_is_kept_with_its_error_and_gives_way,
    a_permanent_error_fails_at_once,
    a_payload_over_the_servers_limit_fails_at_once_with_size_and_limit,
    what_is_no_job_fails_and_the_worker_goes_on,
    a_panic_is_a_failed_attempt,
    a_unique_event_is_dropped_while_the_same_waits_in_another_process,
    a_unique_event_keeps_others_out_no_longer_than_it_says,
    a_delayed_event_comes_later_and_holds_nobody,
    a_stop_finishes_what_runs_and_takes_nothing_new,
    a_job_of_a_dropped_worker_runs_again_after_its_lease,
    a_long_job_stays_with_its_worker,
    what_went_out_is_not_sent_again,
    one_job_at_most_and_stopping_when_empty,
    locks_are_held_by_one_until_they_expire_or_are_given_back,
    sizes_tell_what_waits_and_what_comes_later,
    failed_jobs_are_forgotten_one_by_one_or_all,
}

async fn queues_go_by_priority(store: Store) {
    let app = App::new(&store);
    for n in ["1", "2"] {
        app.send("a", &format!("default-{n}"), soon()).await;
        app.send("b", &format!("low-{n}"), soon().queue("low")).await;
        app.send("c", &format!("high-{n}"), soon().queue("high")).await;
    }
    let worker = app.worker().queues(["high", "default"]).stop_when_empty();
    worker.run().await;
    assert_eq!(app.server.out(), ["high-1", "high-2", "default-1", "default-2"]);
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 2, "nobody has asked for low");
}

async fn temporary_failures_follow_the_backoff_list(store: Store) {
    let app = App::new(&store);
    let failures = AtomicUsize::new(4);
    let failed = Arc::new(Mutex::new(Vec::new()));
    let fails = failed.clone();
    app.server.answer(move |_| {
        fails.lock().unwrap().push(Instant::now());
        let left =
            failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map_or(Ok(()), |_| Err(down()))
    });
    let waits = [10, 40, 20].map(Duration::from_millis);
    app.send("a", "x", Delivery::queued().backoff(waits)).await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let (heard, begun) = (said.clone(), Arc::new(Mutex::new(Vec::new())));
    let begins = begun.clone();
    let worker = app.worker().report(move |report| match &report.state {
        State::Again { after, error, .. } => {
            assert_eq!(*error, "cannot publish to h:1: down");
            heard.lock().unwrap().push((report.attempt, *after));
        }
        State::Running => begins.lock().unwrap().push(Instant::now()),
        _ => {}
    });
    worker.run_until(app.server.wait_out(1)).await;
    let expected = [(1, 10), (2, 40), (3, 20), (4, 20)];
    let expected = expected.map(|(n, wait)| (n, Duration::from_millis(wait)));
    assert_eq!(*said.lock().unwrap(), expected);
    let (failed, begun) = (failed.lock().unwrap(), begun.lock().unwrap());
    for (n, (_, wait)) in expected.iter().enumerate() {
        // From the failure, behind which the store begins to count; it counts whole milliseconds.
        let waited = begun[n + 1] - failed[n] + Duration::from_millis(1);
        assert!(waited >= *wait, "{waited:?} before attempt {}", n + 2);
    }
}

async fn a_channel_keeps_its_order_and_the_others_go_on(store: Store) {
    let app = App::new(&store);
    let failures = AtomicUsize::new(3);
    app.server.answer(move |name| {
        let fails = name == "a1"
            && failures
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        if fails { Err(down()) } else { Ok(()) }
    });
    for name in ["a1", "a2", "b1", "a3", "b2"] {
        app.send(&name[..1], name, soon()).await;
    }
    let worker = app.worker().concurrency(4);
    worker.run_until(app.server.wait_out(5)).await;
    let out = app.server.out();
    let of =
        |channel| out.iter().filter(|name| name.starts_with(channel)).cloned().collect::<Vec<_>>();
    assert_eq!(of('a'), ["a1", "a2", "a3"]);
    assert_eq!(of('b'), ["b1", "b2"]);
    assert_eq!(out[0], "b1", "the other channel has not waited: {out:?}");
}

async fn an_event_on_two_channels_has_its_place_in_both(store: Store) {
    let app = App::new(&store);
    app.server.hold(&["first"]);
    app.send("a", "first", soon()).await;
    let both = app.clarim.on("a").and("b").name("both");
    both.delivery(soon()).send().await.unwrap();
    app.send("b", "last", soon()).await;
    app.send("c", "other", soon()).await;
    let worker = app.worker().concurrency(4);
    worker
        .run_until(async {
            app.server.wait_out(1).await;
            assert_eq!(app.server.asked(), ["first", "other"], "both waits, and last behind it");
            app.server.hold(&[]);
            app.server.wait_out(5).await;
        })
        .await;
    assert_eq!(app.server.asked(), ["first", "other", "both", "last"]);
}

async fn the_last_try_is_kept_with_its_error_and_gives_way(store: Store) {
    let app = App::new(&store);
    app.server.answer(|name| if name == "bad" { Err(down()) } else { Ok(()) });
    app.send("a", "bad", soon().tries(2)).await;
    app.send("a", "good", soon()).await;
    app.drain().await;
    assert_eq!(app.server.asked(), ["bad", "bad", "good"]);
    let failed = app.failed().await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].error, "cannot publish to h:1: down");
    assert_eq!((failed[0].queue.as_str(), failed[0].event().as_deref()), ("default", Some("bad")));
    let age = failed[0].failed_at.elapsed().unwrap_or_default();
    assert!(age < Duration::from_secs(60), "{age:?}");
}

async fn a_permanent_error_fails_at_once(store: Store) {
    let app = App::new(&store);
    app.server.answer(|_| {
        let (host, answer) = ("h".to_owned(), "no".to_owned());
        Err(Error::Refused { host, port: 1, status: 401, answer })
    });
    app.send("a", "x", soon()).await;
    app.drain().await;
    assert_eq!(app.server.asked().len(), 1);
    assert_eq!(app.failed().await[0].error, "h:1 answered 401: no");
}

async fn a_payload_over_the_servers_limit_fails_at_once_with_size_and_limit(store: Store) {
    let mut known = clarim_server::App::new("1", "key", "secret");
    known.limits.event_data_bytes = 10;
    let host = "127.0.0.1".to_owned();
    let (port, drain) = (0, Duration::ZERO);
    let settings = ServerConfig::default().host(host).port(port).drain(drain);
    let server = clarim_server::Server::start(settings, vec![known], false).unwrap();
    let port = server.address().unwrap().port();
    let queue = store.connection();
    let clarim =
        Clarim::new(Settings { port, queue, ..Settings::http("1", "key", "secret") }).unwrap();
    clarim.on("news").name("big").with("x".repeat(50)).delivery(soon()).send().await.unwrap();
    let worker = clarim::queue::Worker::new(&clarim).unwrap();
    worker.at_most(1).run().await;
    let failed = clarim.storage().unwrap().failed().await.unwrap();
    let error = &failed[0].error;
    assert!(error.contains("413") && error.contains("52") && error.contains("10"), "{error}");
    server.stop();
}

async fn what_is_no_job_fails_and_the_worker_goes_on(store: Store) {
    let app = App::new(&store);
    for payload in ["O:8:\"stdClass\":0:{}", r#"{"version":99}"#, ""] {
        assert!(app.storage.push(&NewJob::new("default", payload)).await.unwrap());
    }
    app.send("a", "good", soon()).await;
    app.drain().await;
    assert_eq!(app.server.out(), ["good"]);
    let failed = app.failed().await;
    let [first, second, third] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(first.payload, "O:8:\"stdClass\":0:{}");
    assert!(first.error.contains("a stored job"), "{}", first.error);
    assert_eq!(second.error, "a job of version 99; this code knows versions up to 1");
    assert_eq!((third.payload.as_str(), third.event()), ("", None));
}

async fn a_panic_is_a_failed_attempt(store: Store) {
    let app = App::new(&store);
    app.server.answer(|name| if name == "bad" { panic!("a bug") } else { Ok(()) });
    app.send("a", "bad", soon().tries(2)).await;
    app.send("b", "good", soon()).await;
    app.drain().await;
    assert_eq!(app.server.out(), ["good"]);
    assert_eq!(app.server.asked().iter().filter(|name| *name == "bad").count(), 2);
    let error = &app.failed().await[0].error;
    assert_eq!(error, "queue \"default\": the job panicked: a bug");
}

async fn a_unique_event_is_dropped_while_the_same_waits_in_another_process(store: Store) {
    let (app, other) = (App::new(&store), App::new(&store));
    let unique = |by: &str| soon().unique_for(Duration::from_secs(600)).unique_by(by);
    app.send("a", "x", unique("1")).await;
    other.send("a", "x", unique("1")).await;
    other.send("a", "x", unique("2")).await;
    other.send("a", "y", unique("1")).await;
    other.worker().stop_when_empty().run().await;
    assert_eq!(other.server.out(), ["x", "x", "y"]);
    app.send("a", "x", unique("1")).await;
    app.server.answer(|name| if name == "z" { Err(down()) } else { Ok(()) });
    let once = soon().unique_for(Duration::from_secs(600)).tries(1);
    app.send("a", "z", once.clone()).await;
    app.drain().await;
    assert_eq!(app.server.asked()[0], "x", "the first is done, and keeps nobody out");
    app.send("a", "z", once).await;
    let sizes = app.storage.sizes().await.unwrap();
    assert_eq!(sizes[0].waiting, 1, "what was given up keeps nobody out");
}

async fn a_unique_event_keeps_others_out_no_longer_than_it_says(store: Store) {
    let app = App::new(&store);
    let short = || soon().unique_for(SOON);
    app.send("a", "x", short()).await;
    let started = Instant::now();
    // It waits on; after the time, one more may.
    while app.storage.sizes().await.unwrap()[0].waiting < 2 {
        app.send("a", "x", short()).await;
    }
    assert!(started.elapsed() >= SOON - Duration::from_millis(2));
}

async fn a_delayed_event_comes_later_and_holds_nobody(store: Store) {
    let app = App::new(&store);
    let delay = Duration::from_millis(100);
    let started = Instant::now();
    app.send("a", "later", soon().delay(delay)).await;
    app.send("a", "now", soon()).await;
    let worker = app.worker();
    worker.run_until(app.server.wait_out(2)).await;
    assert_eq!(app.server.out(), ["now", "later"]);
    assert!(started.elapsed() >= delay);
}

async fn a_stop_finishes_what_runs_and_takes_nothing_new(store: Store) {
    let app = App::new(&store);
    app.server.hold(&["runs"]);
    app.send("a", "runs", soon()).await;
    app.send("a", "waits", soon()).await;
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = tokio::spawn(app.worker().run_until(async { stopped.await.unwrap() }));
    app.server.wait_asked(1).await;
    stop.send(()).unwrap();
    app.send("b", "new", soon()).await;
    assert!(!worker.is_finished());
    app.server.hold(&[]);
    worker.await.unwrap();
    assert_eq!(app.server.out(), ["runs"]);
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 2);
}

async fn a_job_of_a_dropped_worker_runs_again_after_its_lease(store: Store) {
    let app = App::new(&store);
    let lease = Duration::from_millis(150);
    app.server.hold(&["x"]);
    app.send("a", "x", soon().tries(1)).await;
    app.send("a", "y", soon()).await;
    let worker = tokio::spawn(app.worker().lease(lease).run());
    app.server.wait_asked(1).await;
    worker.abort();
    let dead_at = Instant::now();
    app.server.hold(&[]);
    let (attempts, heard) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
    let (seen, at) = (attempts.clone(), heard.clone());
    let worker = app.worker().lease(lease).report(move |report| {
        if report.event == "x" {
            seen.lock().unwrap().push((report.attempt, word(&report.state)));
            *at.lock().unwrap() += 1;
        }
    });
    worker.run_until(app.server.wait_out(2)).await;
    assert_eq!(app.server.out(), ["x", "y"], "in order");
    assert_eq!(*attempts.lock().unwrap(), [(2, "running"), (2, "done")]);
    assert!(dead_at.elapsed() < lease * 20, "{:?}", dead_at.elapsed());
}

async fn a_long_job_stays_with_its_worker(store: Store) {
    let app = App::new(&store);
    let lease = Duration::from_millis(300);
    app.server.hold(&["long"]);
    app.send("a", "long", soon()).await;
    let first = app.worker().lease(lease);
    let second = app.worker().lease(lease);
    let both = async {
        let stop = async {
            app.server.wait_asked(1).await;
            tokio::time::sleep(lease * 3).await;
            app.server.hold(&[]);
            app.server.wait_out(1).await;
        };
        tokio::join!(first.run_until(stop), second.run_until(app.server.wait_out(1)))
    };
    both.await;
    assert_eq!(app.server.asked(), ["long"]);
    assert!(app.storage.sizes().await.unwrap().is_empty());
}

async fn what_went_out_is_not_sent_again(store: Store) {
    let app = App::new(&store);
    let asked = AtomicUsize::new(0);
    app.server.answer(
        move |_| {
            if asked.fetch_add(1, Ordering::SeqCst) == 1 { Err(down()) } else { Ok(()) }
        },
    );
    let mut event = app.clarim.on("news.0").name("x").delivery(soon());
    for n in 1..150 {
        event = event.and(format!("news.{n}"));
    }
    event.send().await.unwrap();
    app.drain().await;
    assert_eq!(app.server.asked().len(), 3);
    let mut channels: Vec<String> = app.server.out_on().into_iter().map(|(on, _)| on).collect();
    channels.sort();
    channels.dedup();
    assert_eq!((channels.len(), app.server.out_on().len()), (150, 150));
}

async fn one_job_at_most_and_stopping_when_empty(store: Store) {
    let app = App::new(&store);
    app.worker().stop_when_empty().run().await;
    for name in ["a", "b", "c"] {
        app.send(name, name, soon()).await;
    }
    app.worker().concurrency(2).at_most(1).run().await;
    assert_eq!(app.server.out(), ["a"]);
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.server.out(), ["a", "b", "c"]);
}

async fn locks_are_held_by_one_until_they_expire_or_are_given_back(store: Store) {
    let (here, there) = (App::new(&store).clarim.queue(), App::new(&store).clarim.queue());
    let long = Duration::from_secs(600);
    assert!(here.lock("nightly", long).await.unwrap());
    assert!(!there.lock("nightly", long).await.unwrap());
    assert!(!here.lock("nightly", long).await.unwrap(), "not twice by the same either");
    assert!(there.lock("hourly", long).await.unwrap());
    there.unlock("nightly").await.unwrap();
    assert!(!there.lock("nightly", long).await.unwrap(), "it was not theirs to give back");
    here.unlock("nightly").await.unwrap();
    let started = Instant::now();
    assert!(there.lock("nightly", SOON).await.unwrap());
    while !here.lock("nightly", long).await.unwrap() {}
    assert!(started.elapsed() >= SOON - Duration::from_millis(2));
}

async fn sizes_tell_what_waits_and_what_comes_later(store: Store) {
    let app = App::new(&store);
    assert!(app.storage.sizes().await.unwrap().is_empty());
    app.server.hold(&["runs"]);
    app.send("a", "runs", soon().queue("high")).await;
    app.send("a", "behind", soon().queue("high")).await;
    app.send("b", "tomorrow", soon().delay(Duration::from_secs(86_400))).await;
    let worker = tokio::spawn(app.worker().queues(["high"]).run());
    app.server.wait_asked(1).await;
    let sizes = app.storage.sizes().await.unwrap();
    let numbers: Vec<_> =
        sizes.iter().map(|s| (s.queue.as_str(), s.waiting, s.later, s.running)).collect();
    assert_eq!(numbers, [("default", 0, 1, 0), ("high", 1, 0, 1)]);
    assert_eq!(sizes[0].oldest, None);
    assert!(sizes[1].oldest.unwrap() < Duration::from_secs(60));
    worker.abort();
}

async fn failed_jobs_are_forgotten_one_by_one_or_all(store: Store) {
    let app = App::new(&store);
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
