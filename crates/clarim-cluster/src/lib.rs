//! How the nodes of a cluster find and understand each other.
//!
//! - [`message`]: messages that nodes and external publishers send over the bus, in a versioned encoding.
//! - [`Versions`]: which protocol versions a node speaks, and which one its cluster uses.
//! - [`Membership`]: the other nodes, and which of them are alive.
//! - [`Joining`]: a new node that does not know all others yet.
//! - [`ClusterChannel`]: the state of each node on one channel. [`Shadow`]: that of a node which is alone on
//!   a channel, at its backup.
//! - [`Keys`]: the idempotency keys of all nodes.
//! - [`Queries`]: queries that wait for replies of other nodes.
//! - [`snapshot`]: records of all this, for a node that is handed over to another program.
//! - [`timing`]: every time window, and the relations between them.
//!
//! Everything is pure: messages and the time go in. The hub applies the messages to its channels under their
//! locks; a publisher that sends events straight to the bus needs only the messages.

mod channel;
mod codec;
mod joining;
mod keys;
mod membership;
pub mod message;
mod node_id;
mod queries;
pub mod snapshot;
pub mod subject;
pub mod timing;
mod versions;

pub use channel::{Assembled, ClusterChannel, PART_BYTES, Parts, PeerState, Shadow};
pub use codec::{InvalidMessage, Received, decode, encode};
pub use joining::Joining;
pub use keys::{AnsweredKey, KeyClaim, KeyHash, KeyOutcome, Keys, OnClaimed};
pub use membership::{Health, Membership};
pub use message::{
    Change, ClusterMessage, ExternalEvent, KeptEvent, Part, Query, QueryReply, SenderId, State,
    Trace,
};
pub use node_id::{Departure, NodeId};
pub use queries::{ChannelCounts, Gathered, OnGathered, PeerSet, Queries};
pub use subject::{channel_of, channel_subject, node_subject, nodes_subject};
pub use versions::{Version, Versions};
