//! Records of what a node knows about its cluster, for snapshots of the node.
//!
//! They are structs of their own: a change of the live types does not change the format. A field that is
//! added needs `#[serde(default)]`.

mod channel;
mod membership;
mod time;

pub use channel::{SavedClusterChannel, SavedPeerState, SavedShadow};
pub use membership::{SavedMembership, SavedPeer};
pub use time::SavedTime;
