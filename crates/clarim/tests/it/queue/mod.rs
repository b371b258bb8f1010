//! Queues of broadcasts.

mod commands;
mod crash;
mod jobs;
mod memory;
pub(crate) mod stores;
mod transactions;
mod wakeups;
