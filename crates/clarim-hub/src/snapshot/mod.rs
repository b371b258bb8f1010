//! Snapshots: everything that a node holds, as values that outlive the process.
//!
//! A program hands its clients over to its successor with a snapshot. [`Node`](crate::Node),
//! [`Worker`](crate::Worker), [`Cluster`](crate::cluster::Cluster) and [`Debounce`](crate::Debounce) save
//! what they hold as records, and are restored from them. Restoring has no outputs: nobody is notified of
//! clients that have not moved.
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
mod cluster;
mod connection;
mod delay;
mod error;
mod format;
mod node;
mod page;
mod version;

pub use channel::{SavedChannel, SavedEvent, SavedHistory, SavedHistoryEvent, SavedMember};
pub use clarim_cluster::snapshot::{
    SavedClusterChannel, SavedMembership, SavedPeer, SavedPeerState, SavedTime,
};
pub use cluster::{SavedCluster, SavedHandOver, SavedLogGap, SavedLoss};
pub use connection::{
    SavedConnection, SavedKeepalive, SavedPending, SavedRate, SavedSince, SavedSubscription,
    SavedUser, SavedWorker,
};
pub use delay::{SavedDelay, SavedDelayKind};
pub use error::SnapshotError;
pub use format::{Records, SnapshotReader, SnapshotWriter};
pub use node::{NodeRecord, SavedNode, SavedRecoveries};
pub use page::{
    SavedLive, SavedPage, SavedPageLink, SavedPageRole, SavedPages, SavedPosition, SavedRequest,
    SavedTwins,
};
pub use version::{READABLE, VERSION};
