//! The rate limit of a connection's messages.

use std::time::Duration;

use crate::app::RateLimit;

/// Messages counted in the current window of a [`RateLimit`].
#[derive(Debug)]
pub(crate) struct RateWindow {
    began: Duration,
    messages: u32,
}

impl RateWindow {
    pub(crate) fn new(now: Duration) -> Self {
        Self { began: now, messages: 0 }
    }

    /// Counts a message. Returns whether it is within the limit.
    pub(crate) fn count(&mut self, limit: RateLimit, now: Duration) -> bool {
        if now >= self.began + limit.decay {
            *self = Self::new(now);
        }
        self.messages = self.messages.saturating_add(1);
        self.messages <= limit.max_attempts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_per_window() {
        let limit = RateLimit { max_attempts: 2, decay: Duration::from_secs(10), terminate: false };
        let mut window = RateWindow::new(Duration::from_secs(5));
        let mut count = |at| window.count(limit, Duration::from_secs(at));
        assert_eq!(
            [count(5), count(6), count(14), count(15), count(15)],
            [true, true, false, true, true]
        );
        assert!(!count(15));
    }
}
