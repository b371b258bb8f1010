//! Publishers without a server: for development, and for turning broadcasting off.

use clarim_queue::BoxFuture;

use super::publication::{Publication, Publisher};
use crate::error::Error;

/// Writes each event into the log, at level info.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogPublisher;

impl Publisher for LogPublisher {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        for Publication { channels, name, data, .. } in batch {
            tracing::info!(event = name, ?channels, data, "broadcast");
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Drops each event.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullPublisher;

impl Publisher for NullPublisher {
    fn publish<'a>(&'a self, _: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
