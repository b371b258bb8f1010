//! An app in a row of a database.

use std::fmt;

use clarim_server::App;
use clarim_server::config::{ServerConfig, Webhook};
use serde_json::Value as Json;

use super::reader::Reader;
use super::{app, webhooks};
use crate::keys::{self, Key, Place};
use crate::problem::{ConfigError, Problem};
use crate::source::Source;
use crate::sources::Item;
use crate::typed::Values;

/// A row of the table `clarim_apps`. Its `Debug` output contains no secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AppRow {
    /// Id of the app.
    pub id: String,
    /// Public key.
    pub key: String,
    /// Secret that its backend signs with.
    pub secret: String,
    /// JSON object with the settings that the app would have in the TOML file.
    pub settings: String,
}

impl fmt::Debug for AppRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppRow").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An app and its webhooks.
#[derive(Debug, Clone, PartialEq)]
pub struct AppConfig {
    /// The app.
    pub app: App,
    /// Its webhook endpoints.
    pub webhooks: Vec<Webhook>,
}

/// Returns the app of a row. Its limits are checked against those of `server`.
///
/// # Errors
/// With every problem of the row.
pub fn read_row(row: &AppRow, server: &ServerConfig) -> Result<AppConfig, ConfigError> {
    let source = |column: &str| Source::Row { app: row.id.clone(), key: column.to_owned() };
    let mut values = Values::default();
    let mut problems = Vec::new();
    for (key, text) in COLUMNS.iter().zip([&row.id, &row.key, &row.secret]) {
        values.add(key, text, source(key.toml));
    }
    match serde_json::from_str(&row.settings) {
        Ok(Json::Object(settings)) => {
            for (name, value) in &settings {
                let source = source(name);
                if COLUMNS.iter().any(|key| key.toml == name) {
                    let what = "is a separate column; remove it from the column settings";
                    problems.push(Problem::new(source, what));
                    continue;
                }
                let item = item(keys::find_toml(Place::App, name), value);
                if let Err(problem) = item.add_to(&mut values, source, Place::App, name) {
                    problems.push(problem);
                }
            }
        }
        Ok(_) => problems.push(Problem::new(source("settings"), NO_OBJECT)),
        // The error's own text may quote a secret.
        Err(error) => {
            let line = error.line();
            let column = error.column();
            let what = format_args!("is not JSON (line {line}, column {column}); {NO_OBJECT}");
            problems.push(Problem::new(source("settings"), what));
        }
    }
    app::add_defaults(&mut values, server);
    // Only values of Reverb's variables lead to warnings.
    let mut warnings = Vec::new();
    let reader = &mut Reader { values: &values, problems: &mut problems, warnings: &mut warnings };
    let webhooks = webhooks::read(reader);
    let app = app::read(reader, &source(""), server);
    match app {
        Some(app) if problems.is_empty() => Ok(AppConfig { app, webhooks }),
        _ => Err(ConfigError(problems)),
    }
}

const COLUMNS: [&Key; 3] = [&keys::APP_ID, &keys::APP_KEY, &keys::APP_SECRET];
const NO_OBJECT: &str = r#"expected an object with the settings of an app in the TOML file, as in {"max_connections": 100}"#;

fn item(key: Option<&Key>, value: &Json) -> Item {
    let text_of = |value: &Json| match value {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) if !number.is_f64() => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    let text = match value {
        Json::Array(_) if key.is_some_and(|key| key.kind.has_tables()) => Some(value.to_string()),
        Json::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(Json::as_str).collect();
            items.map(|items| items.join(","))
        }
        value => text_of(value),
    };
    let type_name = match value {
        Json::Null => "null",
        Json::Bool(_) => "boolean",
        Json::Number(number) if number.is_f64() => "float",
        Json::Number(_) => "integer",
        Json::String(_) => "string",
        Json::Array(_) => "array",
        Json::Object(_) => "object",
    };
    Item { text, is_array: value.is_array(), type_name }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(settings: &str) -> Result<AppConfig, ConfigError> {
        let text = str::to_owned;
        let row = AppRow {
            id: text("7"),
            key: text("k"),
            secret: text("hush"),
            settings: text(settings),
        };
        let read = read_row(&row, &ServerConfig::default());
        read.inspect_err(|error| assert!(!error.to_string().contains("hush"), "{error}"))
    }

    #[test]
    fn a_row_has_the_settings_of_an_app_in_the_file() {
        let found = read(
            r#"{"max_connections": 9, "allowed_origins": ["a.example", "b.example"], "ping_interval": "5",
                "subscription_count": true, "accept_client_events_from": "all",
                "webhooks": [{"url": "https://a.example", "events": ["member_added"]}],
                "history": [{"pattern": "private-*", "messages": 9}, "news:1:60s"]}"#,
        )
        .unwrap();
        let app = &found.app;
        assert_eq!((app.id.as_str(), app.key.key()), ("7", "k"));
        assert_eq!(app.limits.connections, Some(9));
        assert_eq!(app.ping_interval, Duration::from_secs(5));
        assert!(app.subscription_count);
        assert_eq!(found.webhooks[0].events, ["member_added"]);
        assert_eq!(app.history.iter().map(|rule| rule.messages).collect::<Vec<_>>(), [9, 1]);
        let text = read(r#"{"history": "private-*:9:120s, news:1:60s"}"#).unwrap();
        assert_eq!(text.app.history, app.history);
        assert_eq!(read("{}").unwrap().app, App::new("7", "k", "hush"));
    }

    #[test]
    fn problems_read_like_those_of_the_file() {
        for (settings, told) in [
            (
                r#"{"max_connections": 0}"#,
                r#"max_connections of app "7" in clarim_apps: 0 is out of range; expected a whole number of connections, at least 1"#,
            ),
            (r#"{"max_conections": 1}"#, "is not a setting; did you mean max_connections?"),
            (r#"{"max_connections": 1.5}"#, "has the type float; expected a whole number"),
            (r#"{"max_connections": null}"#, "has the type null"),
            (r#"{"allowed_origins": []}"#, "allows no page to connect"),
            (r#"{"secret": "hush"}"#, "is a separate column"),
            (r#"{"webhooks": ["nonsense"]}"#, "is not a URL"),
            (
                r#"{"history": [{"pattern": "*", "messages": 0}]}"#,
                r#"history of app "7" in clarim_apps: the rule "*": messages 0 is not from 1 to"#,
            ),
            (
                r#"{"max_channels_per_event": 7}"#,
                "no longer exists; set max_events_per_batch instead",
            ),
            (r#"["hush"]"#, "expected an object"),
            (r#"{"hush"}"#, "settings of app \"7\" in clarim_apps: is not JSON (line 1, column 8)"),
        ] {
            let error = read(settings).unwrap_err().to_string();
            assert!(error.contains(told), "{settings}: {error}");
        }
        let row = AppRow { id: "7".to_owned(), settings: "{}".to_owned(), ..AppRow::default() };
        let error = read_row(&row, &ServerConfig::default()).unwrap_err().to_string();
        assert!(error.contains("app \"7\" in clarim_apps: key and secret are missing"), "{error}");
    }
}
