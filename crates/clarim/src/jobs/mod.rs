//! Broadcasts as jobs, and the queues that they wait in.

pub(crate) mod connection;
pub(crate) mod job;
pub(crate) mod memory;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod publish_sql;
pub(crate) mod queue_trait;
pub(crate) mod stored;
pub(crate) mod target;
