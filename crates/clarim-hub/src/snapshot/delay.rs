//! The record of a delayed webhook.

use clarim_cluster::snapshot::SavedTime;
use serde::{Deserialize, Serialize};

/// An event that the debounce of webhooks holds back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SavedDelay {
    /// The id of its app.
    pub app: String,
    pub(crate) channel: String,
    /// A user of the channel; `None` for its subscribers as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    pub(crate) kind: SavedDelayKind,
    /// The time that is left.
    pub(crate) due_in: SavedTime,
}

/// The kind of a delayed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SavedDelayKind {
    /// A join.
    Join,
    /// A leave.
    Leave,
    /// The leave of an occupant of an earlier run.
    EarlierLeave,
}
