//! Webhooks of an app.

use std::collections::BTreeMap;

use clarim_server::config::Webhook;
use hyper::Uri;
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::reader::Reader;
use crate::keys;

/// The default events. The others may be very frequent.
const DEFAULT_EVENTS: [&str; 5] =
    ["channel_occupied", "channel_vacated", "member_added", "member_removed", "cache_miss"];

/// A table as it was typed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    url: String,
    events: Option<Vec<String>>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl Table {
    fn of_url(url: String) -> Self {
        Self { url, events: None, channels: Vec::new(), headers: BTreeMap::new() }
    }

    fn into_webhook(self) -> Result<Webhook, WebhookProblem> {
        let Self { url, events, channels, headers } = self;
        let url: Uri = url
            .parse()
            .ok()
            .filter(|url: &Uri| matches!(url.scheme_str(), Some("http" | "https")))
            .filter(|url| url.host().is_some())
            .ok_or(WebhookProblem::Url)?;
        let events = events.unwrap_or_else(|| DEFAULT_EVENTS.map(str::to_owned).to_vec());
        if let Some(unknown) = events.iter().find(|it| !Webhook::EVENTS.contains(&it.as_str())) {
            return Err(WebhookProblem::Event(unknown.clone()));
        }
        let header = |(name, value): (String, String)| match (name.parse(), value.parse()) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(WebhookProblem::Header(name)),
        };
        let headers = headers.into_iter().map(header).collect::<Result<Vec<_>, _>>()?;
        let webhook = Webhook::new(url).events(events).channels(channels);
        let add = |webhook: Webhook, (name, value)| webhook.header(name, value);
        Ok(headers.into_iter().fold(webhook, add))
    }
}

/// A problem of the setting. Values of headers are not shown, because they may be secret.
#[derive(Debug, thiserror::Error)]
enum WebhookProblem {
    #[error("contains something that is not a URL; expected http:// or https:// with a host")]
    Url,
    #[error("{:?} is not a webhook event; {}", .0, known(.0))]
    Event(String),
    #[error("{0:?} is not the name of a header, or its value is not a valid one")]
    Header(String),
    #[error("is not an array of URLs and tables")]
    Array,
    #[error("is not JSON (line {line}, column {column})")]
    Json { line: usize, column: usize },
    #[error("{0}")]
    Table(#[source] serde_json::Error),
}

fn known(event: &str) -> String {
    keys::nearest(event, Webhook::EVENTS).map_or_else(
        || format!("expected {}", Webhook::EVENTS.join(", ")),
        |meant| format!("did you mean {meant}?"),
    )
}

/// Comma-separated URLs, or JSON.
fn tables(text: &str) -> Result<Vec<Table>, WebhookProblem> {
    if !text.trim_start().starts_with('[') {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        return Ok(urls.map(|url| Table::of_url(url.to_owned())).collect());
    }
    let items: Vec<Value> = serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => WebhookProblem::Array,
        // The error's own text may quote a secret.
        _ => WebhookProblem::Json { line: error.line(), column: error.column() },
    })?;
    let table = |item| match item {
        Value::String(url) => Ok(Table::of_url(url)),
        table => serde_json::from_value(table).map_err(WebhookProblem::Table),
    };
    items.into_iter().map(table).collect()
}

fn webhooks(text: &str) -> Result<Vec<Webhook>, WebhookProblem> {
    tables(text)?.into_iter().map(Table::into_webhook).collect()
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Webhook> {
    let Some(text) = reader.text(&keys::APP_WEBHOOKS) else { return Vec::new() };
    webhooks(&text).unwrap_or_else(|problem| {
        reader.wrong(&keys::APP_WEBHOOKS, problem);
        Vec::new()
    })
}

/// The URLs of the setting, without parts that may be secret.
pub(crate) fn redacted_urls(text: &str) -> String {
    let urls =
        tables(text).unwrap_or_default().into_iter().filter_map(|table| table.url.parse().ok());
    urls.map(|url| Webhook::new(url).redacted_url()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_tables_are_read() {
        let urls = webhooks("https://a.example/x, http://b.example").unwrap();
        assert_eq!(urls.len(), 2);
        assert_eq!(urls[1].events, DEFAULT_EVENTS);
        let table = r#"["https://a.example", {"url":"https://b.example","events":["client_event"],
            "channels":["private-"],"headers":{"Authorization":"Bearer hush"}}]"#;
        let [_, hook] = &webhooks(table).unwrap()[..] else { panic!() };
        assert!(hook.wants("client_event", "private-x") && !hook.wants("client_event", "news"));
        assert_eq!(hook.headers[0].0, "authorization");
        assert_eq!(redacted_urls(table), "https://a.example/, https://b.example/");
    }

    #[test]
    fn problems_are_named_without_secrets() {
        for (text, told) in [
            ("nonsense", "not a URL"),
            ("[", "is not JSON (line 1, column 1)"),
            (r#"[{"events":[]}]"#, "missing field `url`"),
            (r#"[{"url":"http://a","event":[]}]"#, "unknown field `event`"),
            (r#"[{"url":"http://a","events":["member_ad"]}]"#, "did you mean member_added?"),
            (
                r#"[{"url":"http://a","headers":{"a b":"hush"}}]"#,
                "\"a b\" is not the name of a header",
            ),
            ("[7]", "expected struct Table"),
        ] {
            let error = webhooks(text).unwrap_err().to_string();
            assert!(error.contains(told) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
