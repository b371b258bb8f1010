//! Clients with several channels that join, leave and send client events.

pub(crate) mod account;
pub(crate) mod client;
pub(crate) mod engine;
pub(crate) mod members;
pub(crate) mod rooms;
pub(crate) mod schedule;
mod slot;
