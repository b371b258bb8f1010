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
//! ```
//!
//! A job runs until it succeeds, until its error is not [temporary](crate::Error::is_temporary), or until the
//! attempts of its [`Delivery`](crate::Delivery) are used up, with the delays of
//! [`Delivery::delay_before`](crate::Delivery::delay_before) between them. So jobs wait while a server is
//! down. Jobs that fail for good are kept with their errors.
//!
//! Events of one channel keep their order: their jobs have the channels as order keys. See [`Worker`] for
//! what it guarantees, and the crate [`clarim_queue`] for the storages.

#[cfg(feature = "cli")]
pub mod cli;

pub use crate::jobs::connection::QueueConnection;
pub use crate::jobs::job::{BroadcastReader, Job};
pub use crate::jobs::memory::MemoryQueue;
pub use crate::jobs::queue_trait::Queue;
pub use crate::jobs::stored::StoredQueue;
#[cfg(feature = "redis")]
pub use clarim_queue::RedisStorage;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use clarim_queue::SqlStorage;
pub use clarim_queue::{
    Error as QueueError, FailedJob, JobState, NewJob, QueueSize, Report, ReservedJob, Storage,
    Unique, Worker,
};
