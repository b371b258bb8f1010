//! A report of all settings, with values and sources.

use crate::keys::{self, Key, Kind, Place};
use crate::source::Source;
use crate::typed::Values;
use crate::values::{history, webhooks};

/// A setting with its current value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// "server", or "app" and its id.
    pub group: String,
    /// Its name, without prefix.
    pub name: &'static str,
    /// Its value, which is not shown for secrets.
    pub value: String,
    /// Its source.
    pub source: String,
}

pub(crate) fn rows(server: &Values, apps: &[(Source, Values)]) -> Vec<Row> {
    let mut rows: Vec<_> =
        keys::of(Place::Server).map(|key| row("server".to_owned(), key, server)).collect();
    for (_, app) in apps {
        let group = format!("app {}", app.text(&keys::APP_ID).unwrap_or_default());
        rows.extend(keys::of(Place::App).map(|key| row(group.clone(), key, app)));
    }
    rows
}

fn row(group: String, key: &'static Key, values: &Values) -> Row {
    let value = values.get(key);
    let text = value.map_or(key.default, |value| value.text.trim());
    let value_shown = match (key.kind, text) {
        (_, "") => "-",
        (Kind::Secret, _) => "(set, not shown)",
        (Kind::Endpoints, text) => &webhooks::redacted_urls(text),
        (Kind::Rules, text) => &history::shown(text),
        (_, text) => text,
    };
    let source = value.map_or(&Source::Default, |value| &value.source).place();
    Row { group, name: key.name, value: value_shown.to_owned(), source }
}
