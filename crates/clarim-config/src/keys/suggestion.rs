//! Suggestions for unknown names: misspelled ones, and those of former versions.

use super::table::{self, ALL, Key};

/// A setting of a former version.
struct Replaced {
    name: &'static str,
    toml: &'static str,
    by: &'static Key,
}

const REPLACED: [Replaced; 3] = [
    Replaced {
        name: "APP_MAX_CHANNEL_NAME_LENGTH",
        toml: "max_channel_name_length",
        by: &table::APP_MAX_NAME_LENGTH,
    },
    Replaced {
        name: "APP_MAX_EVENT_NAME_LENGTH",
        toml: "max_event_name_length",
        by: &table::APP_MAX_NAME_LENGTH,
    },
    Replaced {
        name: "APP_MAX_CHANNELS_PER_EVENT",
        toml: "max_channels_per_event",
        by: &table::APP_MAX_EVENTS_PER_BATCH,
    },
];

/// The setting that replaces `name`, a name without prefix or in the TOML file.
pub(crate) fn replacement(name: &str) -> Option<&'static Key> {
    REPLACED.iter().find(|old| old.name == name || old.toml == name).map(|old| old.by)
}

/// The problem of a setting that `by` replaces.
pub(crate) fn replaced(prefix: &str, by: &str) -> String {
    format!("no longer exists; set {prefix}{by} instead")
}

/// The one of `names` that is probably meant by `name`.
pub(crate) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|known| (strsim::osa_distance(name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance * 2 <= name.len().max(4))
        .map(|(_, known)| known)
}

/// The setting that `name` (without prefix) is a misspelling of: so similar that it can hardly be another
/// variable. Numbered names such as `APP_KEY_2` are other variables, because people number their own apps.
pub(crate) fn typo_of(name: &str) -> Option<&'static Key> {
    if name.contains(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let near = if name.len() < 8 { 1 } else { 2 };
    ALL.iter().copied().find(|key| strsim::osa_distance(name, key.name) <= near)
}

/// The problem of an unknown name: "is not …; did you mean …?"
pub(crate) fn unknown(what: &str, prefix: &str, meant: Option<&str>) -> String {
    match meant {
        Some(meant) => format!("is not {what}; did you mean {prefix}{meant}?"),
        None => format!("is not {what}; `clarim config --help` lists all settings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspellings_are_distinguished_from_other_variables() {
        for (typed, meant) in [("APP_KEYS", "APP_KEY"), ("SERVER_PROT", "SERVER_PORT")] {
            assert_eq!(typo_of(typed).map(|key| key.name), Some(meant));
        }
        for own in ["APP_KEY_2", "BACKUP_APP_KEY", "DATABASE_URL", "APP_NAME_PREFIX"] {
            assert_eq!(typo_of(own).map(|key| key.name), None, "{own}");
        }
    }
}
