//! An application's side of broadcasting against the real server.

#![allow(clippy::unwrap_used, reason = "helpers of tests, as tests, fail by panicking")]

mod authorization;
mod bus;
mod derive;
mod examples;
mod fake;
mod faults;
mod history;
mod notifications;
mod publishing;
mod queue;
mod routes;
mod support;
mod types;
