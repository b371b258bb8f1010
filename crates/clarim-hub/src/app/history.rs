//! Rules for the history of channels, by patterns of their names.

use std::time::Duration;

use wildmatch::WildMatchPattern;

/// The channels whose events are kept, and how long. The first matching rule of an app counts.
///
/// ```
/// use std::time::Duration;
///
/// use clarim_hub::app::HistoryRule;
///
/// let mut rule = HistoryRule::new("private-orders.*");
/// rule.messages = 500;
/// rule.ttl = Duration::from_secs(600);
/// assert!(rule.matches("private-orders.7"));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HistoryRule {
    pattern: WildMatchPattern<'*', '\0'>,
    /// Maximum number of events that a channel keeps.
    pub messages: usize,
    /// Time for which events are kept.
    pub ttl: Duration,
    /// Maximum size of the events that a channel keeps, in bytes.
    pub bytes: usize,
    /// Number of past events that a new subscriber gets. 0: none.
    pub rewind: usize,
    /// Time for which members stay on a presence channel after their connection has broken.
    pub presence_grace: Duration,
    /// Whether client events are kept, too.
    pub client_events: bool,
}

impl HistoryRule {
    /// Makes a rule with defaults for the channels whose names match `pattern`, in which `*` matches any
    /// number of characters.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self {
            pattern: WildMatchPattern::new(pattern),
            messages: 100,
            ttl: Duration::from_secs(120),
            bytes: 1 << 20,
            rewind: 0,
            presence_grace: Duration::ZERO,
            client_events: false,
        }
    }

    /// Whether the rule applies to a channel of this name.
    #[must_use]
    pub fn matches(&self, channel: &str) -> bool {
        self.pattern.matches(channel)
    }
}
