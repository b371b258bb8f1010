//! Patterns of channel names.

use std::fmt;

use clarim_protocol::{ChannelKind, ChannelName};
use regex_lite::Regex;

use crate::channel::MAX_NAME_BYTES;

/// A channel's name without its prefix, in which `{name}` stands for `[^.]+`.
#[derive(Debug)]
pub(crate) struct Pattern {
    kind: ChannelKind,
    text: String,
    regex: Regex,
    /// A name that the pattern matches, with what no other name has in place of each parameter.
    sample: String,
    parameters: usize,
}

/// In no pattern and in no channel name.
const ANYTHING: char = '*';

impl Pattern {
    pub(crate) fn parse(kind: ChannelKind, text: &str) -> Result<Self, String> {
        let complain = |what: &str| format!("{text:?}: {what}");
        let (mut regex, mut sample) = (String::from("^"), String::new());
        let (mut rest, mut parameters) = (text, 0);
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or_else(|| complain("a { has no }"))?;
            if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                return Err(complain("a parameter is a name in braces, like {order}"));
            }
            if literal.is_empty() && parameters > 0 {
                return Err(complain("two parameters need something between them"));
            }
            regex.push_str(&regex_lite::escape(literal));
            regex.push_str("([^.]+)");
            sample.push_str(literal);
            sample.push(ANYTHING);
            (rest, parameters) = (behind, parameters + 1);
        }
        regex.push_str(&regex_lite::escape(rest));
        regex.push('$');
        sample.push_str(rest);
        check_name(kind, &sample.replace(ANYTHING, "0")).map_err(|what| complain(&what))?;
        let regex = Regex::new(&regex).map_err(|error| complain(&error.to_string()))?;
        Ok(Self { kind, text: text.to_owned(), regex, sample, parameters })
    }

    /// How many placeholders it has.
    pub(crate) fn parameters(&self) -> usize {
        self.parameters
    }

    /// The values of the placeholders, if it matches.
    pub(crate) fn values(&self, topic: &str) -> Option<Vec<String>> {
        let found = self.regex.captures(topic)?;
        Some(found.iter().skip(1).flatten().map(|value| value.as_str().to_owned()).collect())
    }

    /// Whether it matches everything that `other` does: it does when it matches what `other` matches with
    /// something in each placeholder that only a placeholder can match.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.regex.is_match(&other.sample)
    }
}

fn check_name(kind: ChannelKind, sample: &str) -> Result<(), String> {
    let full = format!("{}{sample}", kind.prefix());
    let name = ChannelName::parse(&full, MAX_NAME_BYTES).map_err(|error| error.to_string())?;
    if name.kind() == kind && name.topic() == sample && !starts_with_prefix(sample) {
        return Ok(());
    }
    Err("write the name without prefix; the method says what kind of channel it is".to_owned())
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
    fn placeholders_match_anything_but_a_dot_and_the_ends_are_fixed() {
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
    fn what_no_channel_could_match_is_refused() {
        for (text, what) in [
            ("orders.{order", "a { has no }"),
            ("orders.{}", "a parameter is a name in braces"),
            ("{a}{b}", "something between"),
            ("orders:{a}", "a channel name consists of"),
            ("orders.a}", "a channel name consists of"),
            ("private-orders", "without prefix"),
            ("encrypted-orders", "without prefix"),
            ("cache-orders", "without prefix"),
        ] {
            let problem = Pattern::parse(ChannelKind::Private, text).unwrap_err();
            assert!(problem.contains(what), "{problem}");
        }
    }
}
