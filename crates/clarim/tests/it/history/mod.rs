//! Histories of channels, and events that are sent twice.

mod idempotency;
mod reading;
