//! The client against the real server, and against one that misbehaves.

#![allow(clippy::unwrap_used, reason = "helpers of tests, as tests, fail by panicking")]

mod authorizing;
mod channels;
mod connection;
mod example;
mod history;
mod support;
