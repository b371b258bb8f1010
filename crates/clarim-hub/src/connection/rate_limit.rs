//! The rate limit of a connection's messages.

use std::time::Duration;

use crate::app::RateLimit;
use crate::snapshot::SavedRate;

/// A message and the rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    Within,
    /// The message is over the limit. The client gets an error for the first one in each window: to reply to
    /// each would cost as much as the messages that the limit keeps away.
    Over {
        is_first: bool,
    },
}

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

    /// Returns what a snapshot keeps of it.
    pub(crate) fn save(&self) -> SavedRate {
        SavedRate { began: self.began.into(), messages: self.messages }
    }

    pub(crate) fn restored(saved: SavedRate) -> Self {
        Self { began: saved.began.get(), messages: saved.messages }
    }

    /// Counts a message.
    pub(crate) fn count(&mut self, limit: RateLimit, now: Duration) -> Rate {
        if now >= self.began + limit.decay {
            *self = Self::new(now);
        }
        let before = self.messages;
        self.messages = before.saturating_add(1);
        if before < limit.max_attempts {
            Rate::Within
        } else {
            Rate::Over { is_first: before == limit.max_attempts }
        }
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
        let first = Rate::Over { is_first: true };
        let later = Rate::Over { is_first: false };
        assert_eq!(
            [5, 6, 14, 14, 15, 15, 15].map(&mut count),
            [Rate::Within, Rate::Within, first, later, Rate::Within, Rate::Within, first]
        );
    }
}
