//! The hub from outside: transcripts of conversations, one file per feature; random actions
//! beside a model; and real threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;
mod script;

mod apps;
mod channels;
mod clients;
mod cluster;
mod random;
mod snapshot;
mod threads;
