//! Every backend passes the suite, on real servers.
#![allow(clippy::unwrap_used, reason = "a test without its server has failed")]

mod backends;
mod logs;
mod nats_logs;
mod outages;
mod raw_nats;
mod servers;
mod urls;
