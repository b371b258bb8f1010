//! Queued broadcasts, and the worker that runs them.
//!
//! By default, broadcasts wait in memory: [`MemoryQueue`] runs them in this process, and those that wait
//! are lost when it ends. With [`Settings::queue`](crate::Settings::queue), or `QUEUE_CONNECTION` in the
//! environment, they are stored in SQLite, PostgreSQL or Redis (features `sqlite`, `postgres` and `redis`),
//! and a [`Worker`] runs them, in this process or another:
//!
//! ```no_run
//! use clarim::Clarim;
//! use clarim::queue::Worker;
//!
//! # async fn run() -> Result<(), clarim::Error> {
//! // QUEUE_CONNECTION=sqlite, postgres or redis
//! let clarim = Clarim::from_env()?;
//! let worker = Worker::new(&clarim)?.queues(["high", "default"]).concurrency(4);
//! // Finishes running jobs after Ctrl+C
//! worker.run_until(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
//! # Ok(())
//! # }
//! ```
//!
//! The feature `cli` adds commands to the application:
//!
//! ```text
//! myapp queue work --queue high,default --concurrency 4
//! myapp queue failed
//! myapp queue retry all
//! myapp queue monitor
//! myapp queue clear --queue high
//! myapp queue restart
//! ```
//!
//! `queue clear` deletes the waiting jobs of a queue. `queue restart` ends all workers after their running
//! jobs, so that a supervisor such as systemd starts them with a new version of the application.
//!
//! `queue work --tries 5 --timeout 30 --backoff 1,5,10` sets what holds for events without such settings of
//! their own.
//!
//! A job runs until it succeeds, until its error is not [temporary](crate::Error::is_temporary), or until the
//! attempts of its [`Delivery`](crate::Delivery) are used up, with the delays of
//! [`Delivery::delay_before`](crate::Delivery::delay_before) between them. So jobs wait while a server is
//! down. Jobs that fail for good are kept with their errors.
//!
//! Events of one channel keep their order: their jobs have the channels as order keys. See [`Worker`] for
//! what it guarantees, and the crate [`clarim_queue`] for the storages.
//!
//! # Broadcasts in a transaction
//!
//! [`in_tx`](crate::PendingBroadcast::in_tx) puts an event into a transaction of the application (a
//! *transactional outbox*): it is delivered exactly if the transaction commits, even if the process is killed
//! right after. Before the commit, no worker sees it. The queue must be in the same SQLite file or PostgreSQL
//! database, and the transaction one of sqlx 0.9:
//!
#![cfg_attr(feature = "postgres", doc = "```no_run")]
#![cfg_attr(not(feature = "postgres"), doc = "```ignore")]
//! use clarim::{Broadcast, Clarim};
//! use serde::Serialize;
//! use sqlx::PgPool;
//!
//! #[derive(Serialize, Broadcast)]
//! #[broadcast(private = "orders.{order}")]
//! struct OrderShipped {
//!     order: i64,
//! }
//!
//! type BoxError = Box<dyn std::error::Error>;
//!
//! // QUEUE_CONNECTION=postgres, DATABASE_URL=postgres://…
//! async fn ship(db: &PgPool, clarim: &Clarim, order: i64) -> Result<(), BoxError> {
//!     let mut tx = db.begin().await?;
//!     let update = "UPDATE orders SET shipped = true WHERE id = $1";
//!     sqlx::query(update).bind(order).execute(&mut *tx).await?;
//!     clarim.broadcast(OrderShipped { order }).in_tx(&mut tx).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//! ```
//!
//! `clarim.notify(…).in_tx(&mut tx)` does the same for a notification. Events of one transaction keep their
//! order. Those of transactions that overlap in time are delivered in either order.
//!
//! A commit wakes the workers: PostgreSQL notifies them (`LISTEN`, on one more connection per worker), and
//! for SQLite they read its counter of commits a hundred times per second. Both work across processes. If
//! there is no notification, for example behind PgBouncer in transaction mode, the worker finds the job when
//! it next polls.
//!
//! # Broadcasts from SQL
//!
//! Triggers, and applications in other languages, publish with `clarim_publish`, in their own transactions.
//! It takes a channel with its prefix, the event's name and the payload as JSON. Echo listens with a dot
//! before the name: `.listen('.order.shipped', …)`. PostgreSQL has a function:
//!
//! ```sql
//! SELECT clarim_publish('private-orders.7', 'order.shipped', '{"order": 7}');
//!
//! CREATE FUNCTION order_shipped() RETURNS TRIGGER LANGUAGE plpgsql AS $$
//! BEGIN
//!     PERFORM clarim_publish('private-orders.' || NEW.id, 'order.shipped', to_jsonb(NEW));
//!     RETURN NULL;
//! END $$;
//! CREATE TRIGGER order_shipped AFTER UPDATE ON orders
//! FOR EACH ROW EXECUTE FUNCTION order_shipped();
//! ```
//!
//! SQLite has a view of that name, which takes rows:
//!
//! ```sql
//! INSERT INTO clarim_publish (channel, event, payload)
//! VALUES ('private-orders.7', 'order.shipped', json_object('order', 7));
//! ```
//!
//! Both are created with the tables, when a worker or an application first uses the queue of a
//! [`QueueConnection`], and updated by newer versions. The events are in the queue `default`, with the
//! default [`Delivery`](crate::Delivery). Encrypted channels are refused, since the database has no key.
//! Events that the server refuses are among the failed jobs. A role of PostgreSQL other than the tables'
//! owner needs `INSERT` and `SELECT` on `clarim_jobs`, and `INSERT` on `clarim_job_channels`.

#[cfg(feature = "cli")]
pub mod cli;

pub use crate::jobs::connection::QueueConnection;
pub use crate::jobs::job::{BroadcastReader, Job};
pub use crate::jobs::memory::MemoryQueue;
pub use crate::jobs::queue_trait::Queue;
pub use crate::jobs::stored::StoredQueue;
#[cfg(feature = "redis")]
pub use clarim_queue::RedisStorage;
pub use clarim_queue::{
    Error as QueueError, FailedJob, JobState, Keep, NewJob, QueueSize, Report, ReservedJob,
    Storage, Unique, WakeupSender, Wakeups, Worker,
};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use clarim_queue::{SqlStorage, SqlTransaction};
