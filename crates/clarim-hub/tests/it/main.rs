//! The hub from outside: transcripts of conversations, one file per feature; random actions
//! beside a model; and real threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod script;

mod apps;
mod cache;
mod client_events;
mod cluster;
mod compression;
mod counts;
mod keepalive;
mod malformed;
mod model;
mod order;
mod presence;
mod random;
mod rate;
mod subscribing;
mod threads;
mod users;
