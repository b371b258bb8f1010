//! Workers in processes that are killed.

use std::env;
use std::hash::{BuildHasher, RandomState};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use clarim::queue::Storage;
use clarim_server::App;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::jobs::{TestApp, soon};
use crate::queue::stores::{Kind, Store, with_each_store};
use crate::support::{Client, TIMEOUT, World};

with_each_store! {
    a_job_whose_worker_is_killed_runs_again,
    a_worker_that_gets_sigterm_finishes_its_job,
    a_worker_finishes_its_job_before_a_restart,
}

/// The example `orders`, with a queue in this store and its server on this port.
pub(crate) fn orders(store: &Store, port: u16, args: &[&str]) -> Command {
    let mut command = Command::new(clarim_testing::example("orders"));
    command.args(args).envs(store.variables()).kill_on_drop(true).stdout(Stdio::piped());
    command.envs([
        ("BROADCAST_CONNECTION", "reverb"),
        ("REVERB_APP_ID", "1"),
        ("REVERB_APP_KEY", "key"),
        ("REVERB_APP_SECRET", "secret"),
        ("REVERB_HOST", "127.0.0.1"),
    ]);
    command.env("REVERB_PORT", port.to_string());
    command
}

/// A fake server that records events, and answers once it is opened.
struct Held {
    port: u16,
    names: Arc<Mutex<Vec<String>>>,
    count: watch::Sender<usize>,
    is_open: watch::Sender<bool>,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let names: Arc<Mutex<Vec<String>>> = Arc::default();
        let count = watch::Sender::new(0);
        let is_open = watch::Sender::new(false);
        let known = names.clone();
        let counted = count.clone();
        let open = is_open.clone();
        let router = Router::new().fallback(move |body: String| async move {
            let body: Value = serde_json::from_str(&body).unwrap();
            known.lock().unwrap().push(body["name"].as_str().unwrap().to_owned());
            counted.send_modify(|count| *count += 1);
            open.subscribe().wait_for(|open| *open).await.unwrap();
            "{}"
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { port, names, count, is_open }
    }

    async fn wait(&self, requests: usize) {
        let mut count = self.count.subscribe();
        let enough = count.wait_for(|count| *count >= requests);
        tokio::time::timeout(TIMEOUT, enough).await.expect("requests arrive in time").unwrap();
    }

    fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }
}

fn work(store: &Store, port: u16, args: &[&str]) -> Child {
    orders(store, port, &[&["queue", "work"], args].concat()).spawn().unwrap()
}

async fn a_job_whose_worker_is_killed_runs_again(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    let server = Held::start().await;
    for name in ["first", "second", "third"] {
        app.send("orders.1", name, soon()).await;
    }
    // If the machine is so busy that this worker loses its lease, it doesn't publish again.
    let mut worker = work(&store, server.port, &["--lease", "1", "--once"]);
    server.wait(1).await;
    // The server has received the event and has not answered.
    worker.kill().await.unwrap();
    server.is_open.send_replace(true);
    let _worker = work(&store, server.port, &["--lease", "600"]);
    server.wait(4).await;
    assert_eq!(server.names(), ["first", "first", "second", "third"]);
    while !app.storage.sizes().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(app.storage.failed().await.unwrap().is_empty());
}

async fn a_worker_that_gets_sigterm_finishes_its_job(store: Store) {
    a_stopped_worker_finishes_its_job(store, |worker, _| {
        let id = Pid::from_raw(worker.id().unwrap().cast_signed()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
    })
    .await;
}

async fn a_worker_finishes_its_job_before_a_restart(store: Store) {
    a_stopped_worker_finishes_its_job(store, |_, storage| {
        // Again and again, since a request before the worker asked for the first time is not meant for it.
        tokio::spawn(async move {
            loop {
                storage.request_restart().await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    })
    .await;
}

async fn a_stopped_worker_finishes_its_job(
    store: Store,
    stop: impl FnOnce(&Child, Arc<dyn Storage>),
) {
    let app = TestApp::new(&store, |_| Ok(()));
    let server = Held::start().await;
    for name in ["first", "second"] {
        app.send("orders.1", name, soon()).await;
    }
    let mut worker = work(&store, server.port, &["--lease", "600"]);
    server.wait(1).await;
    stop(&worker, app.storage.clone());
    let mut out = worker.stdout.take().unwrap();
    let mut output = String::new();
    let mut part = [0; 1024];
    while !output.contains("Stopping") {
        let read = out.read(&mut part).await.unwrap();
        assert_ne!(read, 0, "{output}");
        output.push_str(std::str::from_utf8(&part[..read]).unwrap());
    }
    assert!(worker.try_wait().unwrap().is_none(), "its job has not ended");
    server.is_open.send_replace(true);
    assert!(worker.wait().await.unwrap().success());
    out.read_to_string(&mut output).await.unwrap();
    assert!(output.trim_end().ends_with("DONE"), "{output}");
    assert_eq!(server.names(), ["first"]);
    assert_eq!(app.storage.sizes().await.unwrap()[0].waiting, 1);
}

/// Number of events in the suite. By hand:
/// `CLARIM_TEST_EVENTS=10000 cargo nextest run -p clarim killed_workers --no-capture`.
fn events() -> usize {
    env::var("CLARIM_TEST_EVENTS").map_or(300, |number| number.parse().unwrap())
}

#[tokio::test]
async fn events_of_killed_workers_are_heard_once_with_sqlite() {
    events_of_killed_workers_are_heard_once(Kind::Sqlite).await;
}

#[tokio::test]
async fn events_of_killed_workers_are_heard_once_with_redis() {
    events_of_killed_workers_are_heard_once(Kind::Redis).await;
}

/// Kills workers at random places until all jobs are done.
#[expect(clippy::print_stdout, reason = "figures of runs by hand")]
async fn events_of_killed_workers_are_heard_once(kind: Kind) {
    let store = Store::new(kind);
    let world = World::start_with(App::new("1", "key", "secret"));
    let port = world.0.address().unwrap().port();
    let mut client = Client::connect_as("key", port).await;
    client.subscribe_with(&json!({ "channel": "news" })).await;
    let app = TestApp::new(&store, |_| Ok(()));
    let sending = async {
        for n in 0..events() {
            app.send("news", &n.to_string(), soon()).await;
        }
    };
    let hearing = async {
        for n in 0..events() {
            assert_eq!(client.receive().await["event"], n.to_string());
        }
        client.expect_nothing().await;
    };
    let working = async {
        let mut killed = 0;
        loop {
            // Longer and longer: on a busy machine, the first ones may not even have started.
            let longest = (events() as u64 / 5).max(200) + 50 * killed;
            let mut worker = work(&store, port, &["--lease", "1", "--stop-when-empty"]);
            let time = Duration::from_millis(50 + RandomState::new().hash_one(killed) % longest);
            if tokio::time::timeout(time, worker.wait()).await.is_err() {
                worker.kill().await.unwrap();
                killed += 1;
            } else if app.storage.sizes().await.unwrap().is_empty() {
                break;
            }
            // Otherwise a killed worker's lease has not ended yet.
        }
        println!("{killed} workers killed");
    };
    sending.await;
    tokio::join!(hearing, working);
    assert!(app.storage.failed().await.unwrap().is_empty());
}
