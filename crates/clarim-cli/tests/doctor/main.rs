//! `clarim doctor` with real servers and proxies that have one problem each.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fallback;
mod here;
mod history;
mod proxy;
mod server;
mod support;
mod tls;
