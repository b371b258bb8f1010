//! `clarim doctor`, beside everything that can be wrong: each is broken with the real thing, and told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod fallback;
mod here;
mod proxy;
mod server;
mod support;
mod tls;
