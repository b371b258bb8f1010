//! A whole server, seen from outside: through sockets alone.

#![allow(clippy::unwrap_used, reason = "helpers of tests, as tests, fail by panicking")]

mod cluster;
mod compression;
mod events;
mod fallback;
mod faults;
mod http;
mod inspector;
mod load;
mod metrics;
mod metrics_load;
mod metrics_webhooks;
mod publisher;
mod raw;
mod stubborn;
mod support;
mod tls;
mod traces;
mod ws;
mod ws_channels;
