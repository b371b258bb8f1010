//! Several nodes as real processes on real buses: behaviour of the cluster, and faults.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod client;
mod faults;
mod handover;
mod history;
mod node;
mod outside;
mod scene;
mod together;
mod webhooks;
