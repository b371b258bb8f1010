//! A worker: one thread's connections and the protocol that they speak.

mod commands;
mod inputs;
mod pending;
mod state;
mod subscribers;

pub use inputs::{ConnectionInfo, Worker};
