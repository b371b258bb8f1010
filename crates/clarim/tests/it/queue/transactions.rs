//! Broadcasts in a transaction of the application.

use std::collections::BTreeMap;
use std::env;
use std::hash::{BuildHasher, RandomState};
use std::process::Stdio;
use std::time::Duration;

use clarim::notification::{Notifiable, Notification, Notifications};
use clarim::{Clarim, Error, Settings};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::timeout;

use super::jobs::TestApp;
use crate::queue::stores::{Kind, Store, with_each_store};
use crate::support::TIMEOUT;

with_each_store! {
    sql:
    an_event_is_delivered_once_if_its_transaction_commits,
    a_unique_event_is_dropped_in_a_transaction_that_goes_on,
    a_notification_is_sent_if_its_transaction_commits,
    a_transaction_of_another_database_is_refused,
    a_trigger_publishes,
    invalid_publications_end_the_statement,
    a_worker_starts_while_a_transaction_with_jobs_is_open,
}

/// The pool of an application whose queue is in the same database.
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Runs the same code in a transaction of either database.
macro_rules! begin {
    ($database:expr, |$transaction:ident| $run:expr) => {
        match &$database {
            Database::Sqlite(pool) => {
                let mut $transaction = pool.begin().await.unwrap();
                $run
            }
            Database::Postgres(pool) => {
                let mut $transaction = pool.begin().await.unwrap();
                $run
            }
        }
    };
}

pub(crate) use begin;

impl Database {
    pub(crate) async fn connect(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqlitePool::connect(&format!("{url}?mode=rwc")).await.unwrap())
        } else {
            Self::Postgres(PgPool::connect(url).await.unwrap())
        }
    }

    pub(crate) async fn execute(&self, statement: &str) -> sqlx::Result<()> {
        let statement = AssertSqlSafe(statement.to_owned());
        match self {
            Self::Sqlite(pool) => sqlx::raw_sql(statement).execute(pool).await.map(drop),
            Self::Postgres(pool) => sqlx::raw_sql(statement).execute(pool).await.map(drop),
        }
    }

    async fn orders(&self) -> Vec<i64> {
        let select = "SELECT id FROM orders ORDER BY id";
        match self {
            Self::Sqlite(pool) => sqlx::query_scalar(select).fetch_all(pool).await.unwrap(),
            Self::Postgres(pool) => sqlx::query_scalar(select).fetch_all(pool).await.unwrap(),
        }
    }
}

const ORDERS: &str = "CREATE TABLE orders (id BIGINT PRIMARY KEY)";

/// Inserts an order with its event, and commits if `commits` says so.
async fn order(database: &Database, clarim: &Clarim, id: i64, commits: bool) {
    let insert = "INSERT INTO orders (id) VALUES ($1)";
    let event = clarim.on("orders").name(id.to_string());
    begin!(database, |transaction| {
        sqlx::query(insert).bind(id).execute(&mut *transaction).await.unwrap();
        event.in_tx(&mut transaction).await.unwrap();
        if commits {
            transaction.commit().await.unwrap();
        } else {
            transaction.rollback().await.unwrap();
        }
    });
}

async fn an_event_is_delivered_once_if_its_transaction_commits(store: Store) {
    let database = Database::connect(store.url()).await;
    database.execute(ORDERS).await.unwrap();
    let app = TestApp::new(&store, |_| Ok(()));
    // The first one finds no tables of the queue.
    for (id, commits) in [(1, false), (2, true), (3, false), (4, true)] {
        order(&database, &app.clarim, id, commits).await;
    }
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.names(), ["2", "4"]);
    assert_eq!(database.orders().await, [2, 4]);
    begin!(database, |transaction| {
        app.clarim.on("orders").name("dropped").in_tx(&mut transaction).await.unwrap();
    });
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.names(), ["2", "4"], "a transaction that is dropped is rolled back");
}

async fn a_unique_event_is_dropped_in_a_transaction_that_goes_on(store: Store) {
    let database = Database::connect(store.url()).await;
    let app = TestApp::new(&store, |_| Ok(()));
    let unique = super::jobs::soon().unique_for(Duration::from_secs(600));
    begin!(database, |transaction| {
        for name in ["x", "x", "y"] {
            let event = app.clarim.on("a").name(name).delivery(unique.clone());
            event.in_tx(&mut transaction).await.unwrap();
        }
        transaction.commit().await.unwrap();
    });
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.names(), ["x", "y"]);
}

#[derive(Serialize)]
struct InvoicePaid {
    invoice: u64,
}

struct User(u64);

impl Notifiable for User {
    fn notifiable_id(&self) -> String {
        self.0.to_string()
    }
}

impl Notification<User> for InvoicePaid {}

async fn a_notification_is_sent_if_its_transaction_commits(store: Store) {
    let database = Database::connect(store.url()).await;
    let app = TestApp::new(&store, |_| Ok(()));
    let table = match &database {
        Database::Sqlite(pool) => Notifications::from(pool.clone()),
        Database::Postgres(pool) => Notifications::from(pool.clone()),
    };
    table.migrate().await.unwrap();
    let clarim = app.clarim.clone().with_notifications(table.clone());
    for (invoice, commits) in [(1, false), (2, true)] {
        begin!(database, |transaction| {
            let sent = clarim.notify(&User(7), InvoicePaid { invoice });
            sent.in_tx(&mut transaction).await.unwrap();
            if commits {
                transaction.commit().await.unwrap();
            }
        });
        assert_eq!(table.count_unread(&User(7)).await.unwrap(), 0, "the worker writes the row");
    }
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.names(), [clarim::notification::BROADCAST_NOTIFICATION_CREATED]);
    let rows = table.all(&User(7), clarim::notification::Page::default()).await.unwrap();
    let invoices: Vec<_> = rows.iter().map(|row| row.data["invoice"].clone()).collect();
    assert_eq!(invoices, [2]);
}

async fn a_transaction_of_another_database_is_refused(store: Store) {
    let app = TestApp::new(&store, |_| Ok(()));
    let other = Store::new(store.kind());
    let database = Database::connect(other.url()).await;
    // The other database has a queue too.
    other.connection().storage().unwrap().sizes().await.unwrap();
    begin!(database, |transaction| {
        let error = app.clarim.on("a").in_tx(&mut transaction).await.unwrap_err();
        assert_eq!(error.code(), "queue_transaction", "{error}");
        assert!(!error.is_temporary());
        assert!(error.to_string().contains("set the queue's URL"), "{error}");
    });
    let sqlite = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let mut transaction = sqlite.begin().await.unwrap();
    let error = app.clarim.on("a").in_tx(&mut transaction).await.unwrap_err();
    assert_eq!(error.code(), "queue_transaction", "{error}");
    assert!(app.storage.sizes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_queue_without_transactions_is_refused() {
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    let memory = Clarim::new(Settings::default()).unwrap();
    let error = memory.on("a").in_tx(&mut transaction).await.unwrap_err();
    assert!(error.to_string().starts_with("QUEUE_CONNECTION: the queue is in memory"), "{error}");
    let redis = clarim::QueueConnection::Redis("redis://127.0.0.1:1".to_owned());
    let redis = Clarim::new(Settings::default().queue(redis)).unwrap();
    let error = redis.on("a").in_tx(&mut transaction).await.unwrap_err();
    assert!(matches!(error, Error::Queue(_)), "{error}");
    assert!(error.to_string().contains("not in a SQL database"), "{error}");
}

#[tokio::test]
async fn a_fake_records_what_is_sent_in_a_transaction() {
    let (clarim, fake) = Clarim::fake();
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    clarim.on("a").name("x").in_tx(&mut transaction).await.unwrap();
    clarim.notify(&User(7), InvoicePaid { invoice: 1 }).in_tx(&mut transaction).await.unwrap();
    fake.assert_broadcast_as("x", |sent| sent.queue.as_deref() == Some("default"));
    fake.assert_notified::<InvoicePaid>(&User(7), |sent| sent.invoice == 1);
}

/// A trigger that publishes each order.
fn trigger(kind: Kind) -> &'static str {
    match kind {
        Kind::Sqlite => {
            "CREATE TRIGGER order_created AFTER INSERT ON orders BEGIN
                 INSERT INTO clarim_publish (channel, event, payload)
                 VALUES ('orders.' || NEW.id, 'order.created', json_object('id', NEW.id));
             END"
        }
        _ => {
            "CREATE FUNCTION order_created() RETURNS TRIGGER LANGUAGE plpgsql AS $$
             BEGIN
                 PERFORM clarim_publish('orders.' || NEW.id, 'order.created', to_jsonb(NEW));
                 RETURN NULL;
             END $$;
             CREATE TRIGGER order_created AFTER INSERT ON orders
             FOR EACH ROW EXECUTE FUNCTION order_created();"
        }
    }
}

async fn a_trigger_publishes(store: Store) {
    let database = Database::connect(store.url()).await;
    let app = TestApp::new(&store, |_| Ok(()));
    app.storage.sizes().await.unwrap();
    database.execute(ORDERS).await.unwrap();
    database.execute(trigger(store.kind())).await.unwrap();
    let insert = "INSERT INTO orders (id) VALUES (7)";
    begin!(database, |transaction| {
        sqlx::query(insert).execute(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
    });
    database.execute("INSERT INTO orders (id) VALUES (8), (9)").await.unwrap();
    app.worker().stop_when_empty().run().await;
    let published = app.published();
    let channels: Vec<_> = published.iter().flat_map(|one| one.channels.clone()).collect();
    assert_eq!(channels, ["orders.8", "orders.9"]);
    let data: serde_json::Value = serde_json::from_str(&published[0].data).unwrap();
    assert_eq!((published[0].name.as_str(), &data["id"]), ("order.created", &8.into()));
    assert!(published.iter().all(|one| one.idempotency_key.is_some()));
    assert_ne!(published[0].idempotency_key, published[1].idempotency_key);
    assert!(app.storage.failed().await.unwrap().is_empty());
}

async fn invalid_publications_end_the_statement(store: Store) {
    let database = Database::connect(store.url()).await;
    let app = TestApp::new(&store, |_| Ok(()));
    app.storage.sizes().await.unwrap();
    let publish = |arguments: &str| match store.kind() {
        Kind::Sqlite => {
            format!("INSERT INTO clarim_publish (channel, event, payload) VALUES ({arguments})")
        }
        _ => format!("SELECT clarim_publish({arguments})"),
    };
    for (arguments, problem) in [
        ("'private-encrypted-a', 'x', '1'", "cannot encrypt"),
        ("NULL, 'x', '1'", "needs a channel"),
        ("'a', '', '1'", "needs a channel"),
        ("'a', 'x', '{'", if store.kind() == Kind::Sqlite { "that is JSON" } else { "json" }),
    ] {
        let error = database.execute(&publish(arguments)).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{arguments}: {error}");
    }
    database.execute(&publish("'a', 'x', NULL")).await.unwrap();
    app.worker().stop_when_empty().run().await;
    let data: Vec<_> = app.published().into_iter().map(|one| one.data).collect();
    assert_eq!(data, ["null"]);
}

/// The tables of a queue are not changed at each start: the change would wait for the transaction, and all
/// pushes for the change.
async fn a_worker_starts_while_a_transaction_with_jobs_is_open(store: Store) {
    let database = Database::connect(store.url()).await;
    let app = TestApp::new(&store, |_| Ok(()));
    app.storage.sizes().await.unwrap();
    begin!(database, |transaction| {
        app.clarim.on("a").name("x").in_tx(&mut transaction).await.unwrap();
        let other = TestApp::new(&store, |_| Ok(()));
        assert!(other.storage.sizes().await.unwrap().is_empty());
        assert!(other.storage.failed().await.unwrap().is_empty());
        transaction.commit().await.unwrap();
    });
    app.worker().stop_when_empty().run().await;
    assert_eq!(app.names(), ["x"]);
}

const CHILD: &str = "CLARIM_TEST_TRANSACTIONS_FROM";

/// Number of transactions in the suite. By hand:
/// `CLARIM_TEST_TRANSACTIONS=10000 cargo nextest run -p clarim killed_processes --no-capture`.
fn transactions() -> usize {
    let typed = env::var("CLARIM_TEST_TRANSACTIONS");
    typed.map_or(300, |number| number.parse().unwrap())
}

#[tokio::test]
async fn no_event_of_killed_processes_is_lost_or_made_up_with_sqlite() {
    no_event_of_killed_processes_is_lost_or_made_up(Kind::Sqlite).await;
}

#[tokio::test]
async fn no_event_of_killed_processes_is_lost_or_made_up_with_postgres() {
    no_event_of_killed_processes_is_lost_or_made_up(Kind::Postgres).await;
}

/// Kills processes at random places in their transactions, while a worker runs.
#[expect(clippy::print_stdout, reason = "figures of runs by hand")]
async fn no_event_of_killed_processes_is_lost_or_made_up(kind: Kind) {
    let store = Store::new(kind);
    let database = Database::connect(store.url()).await;
    database.execute(ORDERS).await.unwrap();
    let app = TestApp::new(&store, |_| Ok(()));
    app.storage.sizes().await.unwrap();
    let steps = async {
        let mut left = transactions();
        let mut run = 1;
        while left > 0 {
            left -= killed_after(&store, run, left.min(100)).await;
            run += 1;
        }
        if kind == Kind::Postgres {
            // The server may still be executing the last COMMIT of a process.
            database.execute("BEGIN; LOCK TABLE orders; COMMIT").await.unwrap();
        }
        while !app.storage.sizes().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        println!("{} processes killed", run - 1);
    };
    app.worker().run_until(steps).await;
    let mut delivered: BTreeMap<i64, usize> = BTreeMap::new();
    for name in app.names() {
        *delivered.entry(name.parse().unwrap()).or_default() += 1;
    }
    let orders = database.orders().await;
    println!("{} of {} transactions committed", orders.len(), transactions());
    assert!(delivered.values().all(|times| *times == 1), "{delivered:?}");
    assert_eq!(delivered.into_keys().collect::<Vec<_>>(), orders);
    assert!(app.storage.failed().await.unwrap().is_empty());
}

/// Starts a process that makes transactions, kills it after at most this number, and returns the number.
async fn killed_after(store: &Store, run: usize, at_most: usize) -> usize {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "queue::transactions::transactions_until_killed", "--nocapture"]);
    command.envs(store.variables()).env(CHILD, (run * 1_000_000).to_string());
    command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let random = RandomState::new().hash_one(run);
    let last = 1 + random as usize % at_most;
    let mut done = 0;
    while done < last {
        let line = timeout(TIMEOUT, lines.next_line()).await.expect("transactions in time");
        done += usize::from(line.unwrap().expect("the process runs").starts_with("ended"));
    }
    // Anywhere in the next transaction.
    tokio::time::sleep(Duration::from_micros(random >> 32 & 0xfff)).await;
    child.kill().await.unwrap();
    done
}

/// The process that is killed. A third of its transactions are rolled back.
#[tokio::test]
async fn transactions_until_killed() {
    let Ok(first) = env::var(CHILD) else { return };
    let database = Database::connect(&env::var("DATABASE_URL").unwrap()).await;
    let clarim = Clarim::new(Settings::from_env().unwrap()).unwrap();
    println!();
    for id in first.parse().unwrap().. {
        order(&database, &clarim, id, id % 3 != 0).await;
        println!("ended {id}");
    }
}
