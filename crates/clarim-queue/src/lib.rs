#![doc = include_str!("../README.md")]

mod attempt;
mod error;
mod future;
mod job;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod report;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod transaction;
mod wakeups;
mod worker;

pub use error::{Error, JobError};
pub use future::{BoxFuture, Panicked, catch_panic};
pub use job::{Job, JobReader};
pub use memory::{MemoryJob, MemoryQueue};
#[cfg(feature = "redis")]
pub use redis::RedisStorage;
pub use report::{JobState, Report};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use sql::SqlStorage;
pub use storage::{FailedJob, Keep, NewJob, QueueSize, ReservedJob, Storage, Unique};
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use transaction::SqlTransaction;
pub use wakeups::{WakeupSender, Wakeups};
pub use worker::{JobSource, Worker};
