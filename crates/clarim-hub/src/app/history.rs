//! Rules for the history of channels, by patterns of their names.

use std::time::Duration;

use clarim_protocol::{ChannelKind, ChannelName};
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
/// assert_eq!(rule.problem(200), None);
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
    /// Maximum of [`messages`](Self#structfield.messages).
    pub const MAX_MESSAGES: usize = 100_000;
    /// Maximum of [`ttl`](Self#structfield.ttl): seven days.
    pub const MAX_TTL: Duration = Duration::from_secs(7 * 86_400);
    /// Maximum of [`bytes`](Self#structfield.bytes): 4 MiB, as much as a shard keeps for an app.
    pub const MAX_BYTES: usize = 4 << 20;
    /// Maximum of [`presence_grace`](Self#structfield.presence_grace): one hour.
    pub const MAX_PRESENCE_GRACE: Duration = Duration::from_secs(3_600);

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

    /// Returns the pattern. Consecutive `*` are one.
    #[must_use]
    pub fn pattern(&self) -> String {
        self.pattern.pattern()
    }

    /// Whether every channel that matches `later` matches this rule, too. Then a later rule is never used.
    #[must_use]
    pub fn hides(&self, later: &Self) -> bool {
        // No literal character of a pattern is `*`, so only a `*` here matches a `*` there.
        self.pattern.matches(&later.pattern())
    }

    /// Returns why the rule can't be used, as the rest of a sentence. Channel names have at most
    /// `max_name_bytes`.
    #[must_use]
    pub fn problem(&self, max_name_bytes: usize) -> Option<String> {
        let Self { messages, ttl, bytes, rewind, presence_grace, .. } = self;
        let range = |name: &str, value: &usize, max: usize| {
            (!(1..=max).contains(value)).then(|| format!("{name} {value} is not from 1 to {max}"))
        };
        if let Some(problem) = self.pattern_problem(max_name_bytes) {
            return Some(problem);
        }
        range("messages", messages, Self::MAX_MESSAGES)
            .or_else(|| range("bytes", bytes, Self::MAX_BYTES))
            .or_else(|| {
                (ttl.is_zero() || *ttl > Self::MAX_TTL)
                    .then(|| format!("ttl {ttl:?} is not a time of up to 7 days"))
            })
            .or_else(|| {
                (rewind > messages).then(|| {
                    format!("rewind {rewind} exceeds the {messages} messages that a channel keeps")
                })
            })
            .or_else(|| {
                (*presence_grace > Self::MAX_PRESENCE_GRACE)
                    .then(|| format!("presence_grace {presence_grace:?} is longer than an hour"))
            })
            .or_else(|| {
                let is_unused = !presence_grace.is_zero() && !self.may_match(ChannelKind::Presence);
                is_unused.then(|| {
                    "presence_grace is set, but the pattern matches no presence channel".to_owned()
                })
            })
    }

    fn pattern_problem(&self, max_name_bytes: usize) -> Option<String> {
        let pattern = self.pattern();
        if pattern.is_empty() {
            return Some("the pattern is empty; * matches every channel".to_owned());
        }
        if self.literal_start() != pattern && self.may_match(ChannelKind::User) {
            return None;
        }
        // The shortest name that matches.
        let shortest = if pattern == "*" { "a".to_owned() } else { pattern.replace('*', "") };
        let error = ChannelName::parse(&shortest, max_name_bytes).err()?;
        Some(format!("the pattern matches no channel: {error}"))
    }

    /// Whether the pattern may match channels of this kind, by the prefix of their names.
    fn may_match(&self, kind: ChannelKind) -> bool {
        let start = self.literal_start();
        let is_open = start.len() < self.pattern().len();
        start.starts_with(kind.prefix()) || (is_open && kind.prefix().starts_with(&start))
    }

    /// The pattern up to its first `*`.
    fn literal_start(&self) -> String {
        self.pattern.pattern_chars().iter().take_while(|c| **c != '*').collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_matches_no_channel_has_a_problem() {
        for pattern in [
            "*",
            "private-*",
            "presence-room.*.x",
            "news",
            "a,b;c@d=e",
            "#*",
            "#server-to-user-*",
            "#server-to-user-*:7",
            "#server-to-user-7",
        ] {
            assert_eq!(HistoryRule::new(pattern).problem(200), None, "{pattern}");
        }
        for (pattern, told) in [
            ("", "is empty"),
            ("private *", "matches no channel"),
            ("orders/*", "matches no channel"),
            ("#news*", "matches no channel"),
            ("#server-to-user-", "matches no channel"),
            (&"x".repeat(201), "matches no channel"),
        ] {
            let problem = HistoryRule::new(pattern).problem(200).unwrap_or_default();
            assert!(problem.contains(told), "{pattern}: {problem}");
        }
    }

    #[test]
    fn values_out_of_range_have_a_problem() {
        let problem = |pattern: &str, change: fn(&mut HistoryRule)| {
            let mut rule = HistoryRule::new(pattern);
            change(&mut rule);
            rule.problem(200).unwrap_or_default()
        };
        for (change, told) in [
            ((|rule| rule.messages = 0) as fn(&mut HistoryRule), "messages 0 is not from 1 to"),
            (|rule| rule.messages = 100_001, "messages 100001 is not from 1 to 100000"),
            (|rule| rule.bytes = 0, "bytes 0 is not from 1 to"),
            (|rule| rule.bytes = (4 << 20) + 1, "bytes 4194305 is not from 1 to 4194304"),
            (|rule| rule.ttl = Duration::ZERO, "ttl 0ns is not a time of up to 7 days"),
            (|rule| rule.ttl = HistoryRule::MAX_TTL + Duration::from_secs(1), "up to 7 days"),
            (|rule| rule.rewind = 101, "rewind 101 exceeds the 100 messages"),
            (|rule| rule.presence_grace = Duration::from_secs(3_601), "longer than an hour"),
        ] {
            let problem = problem("*", change);
            assert!(problem.contains(told), "{told}: {problem}");
        }
        let grace: fn(&mut HistoryRule) = |rule| rule.presence_grace = Duration::from_secs(15);
        assert!(problem("private-*", grace).contains("no presence channel"));
        assert!(problem("pre", grace).contains("no presence channel"));
        for pattern in ["*", "pre*", "presence-room.*", "presence-x"] {
            assert_eq!(problem(pattern, grace), "", "{pattern}");
        }
    }

    #[test]
    fn a_rule_hides_those_that_match_fewer_channels() {
        let hides =
            |first: &str, later: &str| HistoryRule::new(first).hides(&HistoryRule::new(later));
        for (first, later) in [("*", "a*"), ("private-*", "private-orders.*"), ("a*c", "a*b*c")] {
            assert!(hides(first, later), "{first} {later}");
            assert!(!hides(later, first), "{later} {first}");
        }
        assert!(hides("news", "news"));
        assert!(!hides("private-*", "presence-*"));
    }
}
