//! Ids of nodes.

use serde::{Deserialize, Serialize};

/// The id of a node from its start to its end: a random number. A node that restarts gets another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The id used by publishers that are not nodes.
    pub const OUTSIDE: Self = Self(0);
}

/// How a node has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Departure {
    /// It has stopped.
    Stopped,
    /// Its lease has ended. What is reported about it is taken back if it returns.
    Lost,
}
