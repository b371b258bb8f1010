//! What every bus must do, on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod buses;
mod faults;
mod listener;
mod scenarios;
