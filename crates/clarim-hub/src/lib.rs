//! The state of a node: which connections are on which channels, and the protocol that changes it. Inputs and
//! the time go in, outputs come out as values: no sockets, no clock, no waiting.
//!
//! - [`Node`] is the state that all workers share: the apps and, in shards under short locks, the directory
//!   of channels (workers with subscribers, presence members, cached events) and of signed-in users.
//! - [`Worker`] is the state of one thread: its connections and, for each channel, a dense list of its own
//!   subscribers.
//! - [`Output`] is what the server does in consequence: a message to a worker, a command for the bus, a
//!   lifecycle event. The outputs of a channel are handed to the [`OutputSink`] *under that channel's lock*.
//!   So all workers see one order of its events, and a subscription has its place in that order too.
//!
//! Invariants:
//!
//! 1. A subscriber gets `subscription_succeeded`, and then exactly what is published later.
//! 2. The member list in it plus the `member_added` and `member_removed` that follow are the true set.
//! 3. When all connections are closed, nothing is left of them.

mod address;
pub mod app;
pub mod cluster;
mod connection;
mod debounce;
mod directory;
mod node;
mod outputs;
mod pages;
mod rejected;
pub mod snapshot;
mod sockets;
mod worker;

pub use address::{AppIndex, ChannelKey, ConnectionAddr, ConnectionId, WorkerId};
pub use app::{Apps, Refusal};
pub use connection::End;
pub use debounce::{Debounce, DebounceAction};
pub use directory::{
    CACHE_TTL, ChannelState, HistoryEvent, HistoryPage, HistoryQuery, NodeBus, NodeConfig,
    Recoveries, Totals,
};
pub use node::Node;
pub use outputs::{
    BusCommand, ChannelEvent, ConnectionEvent, Delivery, DeliveryAck, DeliveryAcks, Migration,
    Occupant, Output, OutputSink, Placed, Replayed, SyncKind, WorkerMessage,
};
pub use rejected::Rejected;
pub use sockets::Sockets;
pub use worker::{ConnectionInfo, Worker, WorkerRestorer};
