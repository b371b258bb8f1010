//! The time of the entries in a file.

use std::time::{Duration, Instant, SystemTime};

/// The time of day since 1970, which never goes back: not while the process runs, because only the first
/// reading comes from the system, and not from one process to the next, because it goes on behind what the
/// file has.
#[derive(Debug)]
pub(super) struct Clock {
    began: Instant,
    began_at: Duration,
}

impl Clock {
    /// A clock that goes on behind `last`, and the time by which the system's clock is behind it.
    pub(super) fn after(last: Duration, system: Duration) -> (Self, Duration) {
        let clock = Self { began: Instant::now(), began_at: system.max(last) };
        (clock, last.saturating_sub(system))
    }

    pub(super) fn now(&self) -> Duration {
        self.began_at + self.began.elapsed()
    }
}

/// The system's time of day.
pub(super) fn time_of_day() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
