//! Several nodes as real processes on real buses: what their clients see together, and what they see when
//! something breaks.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod client;
mod faults;
mod node;
mod outside;
mod together;
