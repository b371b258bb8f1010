//! Times in records.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A node's time, or a span of time, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SavedTime(u64);

impl SavedTime {
    /// Returns the time.
    #[must_use]
    pub const fn get(self) -> Duration {
        Duration::from_micros(self.0)
    }
}

impl From<Duration> for SavedTime {
    fn from(time: Duration) -> Self {
        Self(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
    }
}
