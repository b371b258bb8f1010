//! Versions of the format.

use std::ops::RangeInclusive;

/// The version of the snapshots that this release writes.
pub const VERSION: u16 = 1;

/// The versions that this release reads: its own, and the one before.
pub const READABLE: RangeInclusive<u16> = VERSION..=VERSION;
