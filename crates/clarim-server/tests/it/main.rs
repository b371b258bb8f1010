//! A whole server, tested from outside through sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod cluster;
mod consumers;
#[cfg(target_os = "linux")]
mod handover;
mod history;
mod raw;
mod support;
mod websocket;
