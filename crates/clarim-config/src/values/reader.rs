//! Conversion of single values, by the table of settings.

use std::time::Duration;

use crate::keys::{self, Key, Kind};
use crate::problem::Problem;
use crate::source::Source;
use crate::typed::Values;

/// A reader of values that collects problems. For a wrong value the caller gets the default and continues, so
/// that all problems are found at once.
pub(crate) struct Reader<'a> {
    pub(crate) values: &'a Values,
    pub(crate) problems: &'a mut Vec<Problem>,
    pub(crate) warnings: &'a mut Vec<String>,
}

/// Settings that decide nothing about who may connect, and that real `.env` files set to something else with
/// Reverb's prefix: Reverb ignores them.
const HARMLESS: [&Key; 6] =
    [&keys::HOST, &keys::PORT, &keys::SCHEME, &keys::LOG_LEVEL, &keys::LOG_FORMAT, &keys::DEBUG];

impl Reader<'_> {
    /// Adds a problem of the value of `key`.
    pub(crate) fn wrong(&mut self, key: &Key, what: impl std::fmt::Display) {
        let at = match self.values.get(key).map(|value| &value.source) {
            Some(Source::Default) | None => format!("CLARIM_{} (default)", key.name),
            Some(source) if source.is_reverb() && HARMLESS.contains(&key) => {
                return self.warnings.push(format!("{source}: {what}; ignored"));
            }
            Some(source) => source.to_string(),
        };
        self.problems.push(Problem::new(at, what));
    }

    /// The value or the default, if there is one.
    pub(crate) fn text(&self, key: &Key) -> Option<String> {
        let text = self.values.text(key).unwrap_or(key.default).trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(crate) fn optional_number(&mut self, key: &Key) -> Option<u64> {
        let text = self.text(key)?;
        let Kind::Number { min, max, .. } = key.kind else { return None };
        match text.parse() {
            Ok(number) if (min..=max).contains(&number) => Some(number),
            Ok(_) => {
                self.wrong(
                    key,
                    format_args!("{text} is out of range; expected {}", key.expected()),
                );
                None
            }
            Err(_) => {
                self.wrong(
                    key,
                    format_args!("{text:?} is not a number; expected {}", key.expected()),
                );
                None
            }
        }
    }

    fn number(&mut self, key: &Key) -> u64 {
        self.optional_number(key).or_else(|| key.default.parse().ok()).unwrap_or(1)
    }

    pub(crate) fn size(&mut self, key: &Key) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    pub(crate) fn count(&mut self, key: &Key) -> u32 {
        u32::try_from(self.number(key)).unwrap_or(u32::MAX)
    }

    pub(crate) fn seconds(&mut self, key: &Key) -> Duration {
        Duration::from_secs(self.number(key))
    }

    pub(crate) fn milliseconds(&mut self, key: &Key) -> Duration {
        Duration::from_millis(self.number(key))
    }

    /// The value of a small number, such as a port.
    pub(crate) fn small(&mut self, key: &Key) -> Option<u16> {
        self.optional_number(key).and_then(|number| u16::try_from(number).ok())
    }

    pub(crate) fn flag(&mut self, key: &Key) -> bool {
        let text = self.text(key).unwrap_or_default().to_ascii_lowercase();
        match text.as_str() {
            "true" | "(true)" | "1" | "on" | "yes" => true,
            "false" | "(false)" | "0" | "off" | "no" => false,
            _ => {
                self.wrong(
                    key,
                    format_args!("{text:?} is not a boolean; expected {}", key.expected()),
                );
                false
            }
        }
    }

    /// The value that belongs to the word.
    pub(crate) fn choice<T: Copy + Default>(&mut self, key: &Key, words: &[(&str, T)]) -> T {
        let Some(text) = self.text(key) else { return T::default() };
        let text = text.to_ascii_lowercase();
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return *meaning;
        }
        self.wrong(key, format_args!("{text:?} is unknown; expected {}", key.expected()));
        T::default()
    }

    /// The items of a list, which must not be empty.
    pub(crate) fn list(&mut self, key: &Key) -> Vec<String> {
        let text = self.text(key).unwrap_or_default();
        // A list in JSON is what other programs write into a variable.
        let mut items: Vec<String> = serde_json::from_str(&text)
            .unwrap_or_else(|_| text.split(',').map(str::to_owned).collect());
        items.iter_mut().for_each(|item| *item = item.trim().to_owned());
        items.retain(|item| !item.is_empty());
        if items.is_empty() {
            self.wrong(key, format_args!("has no items; expected {}", key.expected()));
        }
        items
    }

    /// A host name or an IP address, without scheme, port and path.
    pub(crate) fn host(&mut self, key: &Key) -> Option<String> {
        let text = self.text(key)?;
        let host = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
        let is_address = host.parse::<std::net::IpAddr>().is_ok();
        let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if is_address || is_name {
            return Some(host.to_owned());
        }
        self.wrong(
            key,
            format_args!("{text:?} is not a host; expected a host name or an IP address without scheme, port or path"),
        );
        None
    }
}
