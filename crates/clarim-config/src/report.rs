//! Every setting with its value and source, for people.

use super::keys::{self, Key, Kind, Place};
use super::source::{Source, Values};
use super::webhooks;

/// One setting as it is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// "server", or the id of an app.
    pub group: String,
    /// Name without prefix.
    pub name: &'static str,
    /// The value; of a secret only that there is one.
    pub value: String,
    /// Where it was read.
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
        (Kind::Endpoints, text) => &webhooks::shown_all(text),
        (_, text) => text,
    };
    let source = value.map_or(&Source::Default, |value| &value.source).place();
    Row { group, name: key.name, value: value_shown.to_owned(), source }
}
