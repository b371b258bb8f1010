//! Patterns of channel names.

use std::fmt;

use clarim_protocol::{ChannelKind, ChannelName};
use regex_lite::Regex;

use crate::channel::MAX_NAME_BYTES;
use crate::error::problems::ChannelsProblem;

/// A channel's name without its prefix, in which a placeholder `{name}` matches `[^.]+`.
#[derive(Debug)]
pub(crate) struct Pattern {
    kind: ChannelKind,
    text: String,
    regex: Regex,
    /// A name that the pattern matches, with [`PLACEHOLDER`] for each placeholder.
    sample: String,
    placeholders: usize,
}

/// A character that no pattern and no channel name contains.
const PLACEHOLDER: char = '*';

impl Pattern {
    pub(crate) fn parse(kind: ChannelKind, text: &str) -> Result<Self, ChannelsProblem> {
        let pattern = || text.to_owned();
        let mut regex = String::from("^");
        let mut sample = String::new();
        let mut rest = text;
        let mut placeholders = 0;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, behind) = after
                .split_once('}')
                .ok_or_else(|| ChannelsProblem::UnclosedBrace { pattern: pattern() })?;
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                return Err(ChannelsProblem::InvalidPlaceholder { pattern: pattern() });
            }
            if literal.is_empty() && placeholders > 0 {
                return Err(ChannelsProblem::AdjacentPlaceholders { pattern: pattern() });
            }
            regex.push_str(&regex_lite::escape(literal));
            regex.push_str("([^.]+)");
            sample.push_str(literal);
            sample.push(PLACEHOLDER);
            rest = behind;
            placeholders += 1;
        }
        regex.push_str(&regex_lite::escape(rest));
        regex.push('$');
        sample.push_str(rest);
        check_name(kind, text, &sample.replace(PLACEHOLDER, "0"))?;
        let regex = Regex::new(&regex).expect("it consists of escaped literals and groups");
        Ok(Self { kind, text: text.to_owned(), regex, sample, placeholders })
    }

    /// Number of placeholders.
    pub(crate) fn placeholders(&self) -> usize {
        self.placeholders
    }

    /// The values of the placeholders, if the pattern matches.
    pub(crate) fn values(&self, topic: &str) -> Option<Vec<String>> {
        let found = self.regex.captures(topic)?;
        Some(found.iter().skip(1).flatten().map(|value| value.as_str().to_owned()).collect())
    }

    /// Whether the pattern matches all names that `other` matches. The other's sample has a character that
    /// only placeholders match, so matching the sample is enough.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.regex.is_match(&other.sample)
    }
}

fn check_name(kind: ChannelKind, text: &str, sample: &str) -> Result<(), ChannelsProblem> {
    let full = format!("{}{sample}", kind.prefix());
    let name = ChannelName::parse(&full, MAX_NAME_BYTES)
        .map_err(|source| ChannelsProblem::InvalidName { pattern: text.to_owned(), source })?;
    if name.kind() == kind && name.topic() == sample && !starts_with_prefix(sample) {
        return Ok(());
    }
    Err(ChannelsProblem::Prefixed { pattern: text.to_owned() })
}

fn starts_with_prefix(sample: &str) -> bool {
    ChannelName::parse(sample, MAX_NAME_BYTES)
        .is_ok_and(|name| !name.kind().prefix().is_empty() || name.is_cache())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.kind.prefix(), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(ChannelKind::Private, text).unwrap()
    }

    #[test]
    fn placeholders_match_anything_but_a_dot_and_patterns_match_whole_names() {
        for (text, name, expected) in [
            ("orders.{order}", "orders.7", Some(vec!["7"])),
            ("orders.{order}", "orders.7.items", None),
            ("orders.{order}", "orders.", None),
            ("orders.{order}", "my-orders.7", None),
            ("{a}.{b}", "x.y", Some(vec!["x", "y"])),
            ("App.Models.User.{id}", "App.Models.User.7", Some(vec!["7"])),
            ("App.Models.User.{id}", "App-Models-User-7", None),
            ("from-{a}-to-{b}", "from-x-to-y", Some(vec!["x", "y"])),
            ("news", "news", Some(vec![])),
        ] {
            let found = pattern(text).values(name);
            assert_eq!(
                found,
                expected.map(|values| values.into_iter().map(str::to_owned).collect()),
                "{text} {name}"
            );
        }
    }

    #[test]
    fn a_pattern_covers_another_when_it_matches_all_of_it() {
        for (wide, narrow, covers) in [
            ("orders.{id}", "orders.{order}", true),
            ("orders.{id}", "orders.new", true),
            ("orders.new", "orders.{id}", false),
            ("{a}.{b}", "orders.{id}", true),
            ("orders.{id}", "orders.{id}.items", false),
            ("x-{a}", "x-{a}-{b}", true),
            ("x-{a}-{b}", "x-{a}", false),
            ("a", "b", false),
        ] {
            assert_eq!(pattern(wide).covers(&pattern(narrow)), covers, "{wide} {narrow}");
        }
    }

    #[test]
    fn a_pattern_that_no_channel_matches_is_an_error() {
        for (text, what) in [
            ("orders.{order", "a { has no }"),
            ("orders.{}", "a placeholder is a name in braces"),
            ("{a}{b}", "text between"),
            ("orders:{a}", "a channel name consists of"),
            ("orders.a}", "a channel name consists of"),
            ("private-orders", "without prefix"),
            ("encrypted-orders", "without prefix"),
            ("cache-orders", "without prefix"),
        ] {
            let problem = Pattern::parse(ChannelKind::Private, text).unwrap_err().to_string();
            assert!(problem.contains(what), "{problem}");
        }
    }
}
