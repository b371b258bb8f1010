//! Protocol versions between nodes.
//!
//! Rules for a change of the protocol, so that nodes of two releases can form one cluster:
//!
//! - A new field goes to the end of a message. Older nodes ignore it; newer nodes use a default where it is
//!   missing.
//! - A new kind of message goes to the end of [`ClusterMessage`](crate::ClusterMessage). Older nodes skip it.
//! - A message that older nodes would misunderstand, or that contains a new variant of a nested enum, carries
//!   the new version. Older nodes skip it.
//! - A node uses the additions of a version only when all nodes speak that version: see
//!   [`Membership::version`](crate::Membership::version).

use serde::{Deserialize, Serialize};

/// A version of the protocol between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u8);

/// The range of versions that a node speaks. Each heartbeat contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The oldest version that it understands.
    pub oldest: Version,
    /// The newest version that it understands.
    pub newest: Version,
}

impl Version {
    /// The first version of released nodes, whose heartbeats contain no versions.
    pub const FIRST: Self = Self(2);

    /// Adds [`VersionDigests`](crate::ClusterMessage::VersionDigests).
    pub const DIGESTS: Self = Self(3);

    /// Adds [`KeyClaims`](crate::ClusterMessage::KeyClaims) and
    /// [`HandingOver`](crate::ClusterMessage::HandingOver).
    pub const KEYS: Self = Self(4);

    /// Adds [`Backup`](crate::ClusterMessage::Backup).
    pub const BACKUPS: Self = Self(5);

    /// The newest version that this release speaks.
    pub const NEWEST: Self = Self::BACKUPS;
}

impl Default for Versions {
    fn default() -> Self {
        Self::UNSAID
    }
}

impl Versions {
    /// The versions that this release speaks.
    pub const OWN: Self = Self { oldest: Version::FIRST, newest: Version::NEWEST };

    /// The versions of a node whose heartbeats contain none.
    pub const UNSAID: Self = Self { oldest: Version::FIRST, newest: Version::FIRST };

    /// Whether there is a version that both nodes understand.
    #[must_use]
    pub fn are_compatible(self, other: Self) -> bool {
        self.oldest <= other.newest && other.oldest <= self.newest
    }
}
