//! A node's part in its cluster: the subjects it subscribes to on the bus, the other nodes, the state that
//! they share, and queries to all of them.
//!
//! Everything is pure: events of the bus and commands of the node go in, with the time, and messages come out
//! through [`Wire`].

mod channel_sync;
mod channels;
mod gap;
mod handover;
mod keys;
mod outgoing;
mod participant;
mod peers;
mod refresh;
mod replies;
mod resync;
mod takeover;
mod wire;

pub use keys::ClusterKeys;
pub use participant::Cluster;
pub use wire::{ClusterSettings, ClusterState, LogEntry, LogEvent, LogPage, OnGap, Wire};
