//! Snapshots: everything that a node holds, as values that outlive the process.
//!
//! A program hands its clients over to its successor with a snapshot. [`Node`](crate::Node) and
//! [`Worker`](crate::Worker) save what they hold as records, and are restored from them. Restoring has no
//! outputs: nobody is notified of clients that have not moved.
//!
//! - The records are structs of their own. A change of the live types does not change the format.
//! - What follows from other records is derived: the subscribers of a channel from the subscriptions of the
//!   connections, for example.
//! - Apps are named by their ids, because settings may change in between. Records of apps that no longer
//!   exist are skipped.
//! - The node's time goes on, so times need no conversion: see [`SavedNode::time_at`].
//!
//! A field that is added to a record needs `#[serde(default)]`, and unknown fields are ignored. If that is
//! not enough, [`VERSION`] changes, and the release goes on reading the version before.

mod channel;
mod connection;
mod error;
mod format;
mod node;
mod time;
mod version;

pub use channel::{SavedChannel, SavedEvent, SavedHistory, SavedHistoryEvent, SavedMember};
pub use connection::{
    SavedConnection, SavedKeepalive, SavedRate, SavedSubscription, SavedUser, SavedWorker,
};
pub use error::SnapshotError;
pub use format::{SnapshotReader, SnapshotWriter};
pub use node::{NodeRecord, SavedNode, SavedRecoveries};
pub use time::SavedTime;
pub use version::{READABLE, VERSION};
