//! Who is on which channel: the state of a node and the protocol that changes it. Input and `now` go in,
//! frames come out; there are no sockets here, no clock, and nothing waits.
//!
//! - [`Node`] is what all workers share: the apps and, in shards under short locks, the directory of channels
//!   (which workers have subscribers, who is present, what is cached) and of signed-in users.
//! - [`Worker`] is one thread's part: its connections, and for each channel a dense list of its own
//!   subscribers.
//! - [`WorkerMessage`] is what one tells another. Whatever changes a channel is posted to the inboxes of the workers
//!   concerned *under that channel's lock*: so all of them see one order, and a subscription takes its place
//!   in that order too.
//!
//! What holds at any time:
//!
//! 1. A subscriber gets `subscription_succeeded`, and then exactly what is published later.
//! 2. The member list in it plus the `member_added` and `member_removed` that follow are the true set.
//! 3. When all connections have gone, nothing is left of them.

pub mod app;
mod apps;
mod cache;
mod channel;
mod channels;
pub mod cluster;
mod connection;
mod entry;
mod link;
mod node;
mod presence;
mod reject;
mod remote;
mod replica;
mod session;
mod shard;
mod totals;
mod user;
mod waiting;
mod worker;

pub use apps::{AppIndex, Apps, Refusal};
pub use entry::{
    BusCommand, ChannelEvent, ChannelKey, ConnectionAddr, ConnectionEvent, ConnectionId,
    DeliveryAck, DeliveryAcks, Migration, Occupant, Outputs, WorkerId, WorkerMessage,
};
pub use node::Node;
pub use reject::Rejected;
pub use shard::{CACHE_TTL, ChannelState, LINGER};
pub use totals::Totals;
pub use worker::{ConnectionInfo, Sockets, Worker};
