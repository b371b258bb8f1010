//! An application's side of broadcasting against the real server.

#![allow(clippy::unwrap_used, reason = "helpers of tests, as tests, fail by panicking")]

mod authorization;
mod derive;
mod examples;
mod fake;
mod faults;
mod notifications;
mod postgres;
mod publishing;
mod queue;
mod support;
