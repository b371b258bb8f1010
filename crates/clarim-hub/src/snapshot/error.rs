//! The errors of snapshots.

use std::io;

use super::version::READABLE;

/// Why a snapshot cannot be read or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The snapshot cannot be read.
    #[error("the snapshot cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The input is something else.
    #[error("the input is not a snapshot of Clarim")]
    NotASnapshot,
    /// The release does not read this version.
    #[error(
        "the snapshot of {program} has version {version}; this release reads versions {} to {}",
        READABLE.start(),
        READABLE.end()
    )]
    Version {
        /// The version of the snapshot.
        version: u16,
        /// The version of the program that wrote it.
        program: String,
    },
    /// The end is missing.
    #[error("the snapshot is incomplete: its end is missing")]
    Truncated,
    /// A record cannot be decoded.
    #[error("a record of the snapshot is malformed: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
    /// A record contradicts itself or others.
    #[error("a record of the snapshot is invalid: {0}")]
    Invalid(String),
}

impl SnapshotError {
    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid(what.into())
    }

    /// Returns a stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "snapshot_unreadable",
            Self::NotASnapshot => "snapshot_foreign",
            Self::Version { .. } => "snapshot_version",
            Self::Truncated => "snapshot_truncated",
            Self::Malformed(_) => "snapshot_malformed",
            Self::Invalid(_) => "snapshot_invalid",
        }
    }
}
