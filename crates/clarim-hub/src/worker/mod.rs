//! A worker: one thread's connections and the protocol that they speak.

mod commands;
mod inputs;
mod page_table;
mod pages;
mod pending;
mod reconnects;
mod restorer;
mod state;
mod subscribers;

pub use inputs::{ConnectionInfo, Worker};
pub use restorer::WorkerRestorer;
