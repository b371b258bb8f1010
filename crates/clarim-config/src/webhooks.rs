//! The settings of an app's webhooks.

use std::collections::BTreeMap;

use clarim_server::config::Webhook;
use hyper::Uri;
use serde::Deserialize;
use serde_json::Value;
use serde_json::error::Category;

use super::keys;
use super::reader::Reader;

/// Those that are told if nothing else is said; of the others there may be very many.
const DEFAULT_EVENTS: [&str; 5] =
    ["channel_occupied", "channel_vacated", "member_added", "member_removed", "cache_miss"];

/// A table, as it is typed.
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

    fn into_webhook(self) -> Result<Webhook, String> {
        let Self { url, events, channels, headers } = self;
        let url: Uri = url
            .parse()
            .ok()
            .filter(|url: &Uri| matches!(url.scheme_str(), Some("http" | "https")))
            .filter(|url| url.host().is_some())
            .ok_or("has something that is no URL; expected http:// or https:// with a host")?;
        let events = events.unwrap_or_else(|| DEFAULT_EVENTS.map(str::to_owned).to_vec());
        for event in &events {
            if !Webhook::EVENTS.contains(&event.as_str()) {
                let meant = keys::nearest(event, Webhook::EVENTS).map_or_else(
                    || format!("there are {}", Webhook::EVENTS.join(", ")),
                    |meant| format!("did you mean {meant}?"),
                );
                return Err(format!("{event:?} is no event; {meant}"));
            }
        }
        let header = |(name, value): (String, String)| {
            // The value may be a secret, and is not told.
            let wrong = || format!("{name:?} is no header, or its value is none");
            Ok((name.parse().map_err(|_| wrong())?, value.parse().map_err(|_| wrong())?))
        };
        let headers = headers.into_iter().map(header).collect::<Result<Vec<_>, String>>()?;
        let webhook = Webhook::new(url).events(events).channels(channels);
        let add = |webhook: Webhook, (name, value)| webhook.header(name, value);
        Ok(headers.into_iter().fold(webhook, add))
    }
}

/// What is typed: URLs with commas between them, or JSON.
fn tables(text: &str) -> Result<Vec<Table>, String> {
    if !text.trim_start().starts_with('[') {
        let urls = text.split(',').map(str::trim).filter(|url| !url.is_empty());
        return Ok(urls.map(|url| Table::of_url(url.to_owned())).collect());
    }
    let items: Vec<Value> = serde_json::from_str(text).map_err(|error| match error.classify() {
        // What is typed may be a secret, so only where it is wrong is told.
        Category::Data => "is no array".to_owned(),
        _ => format!("is no JSON, in line {} column {}", error.line(), error.column()),
    })?;
    let table = |item| match item {
        Value::String(url) => Ok(Table::of_url(url)),
        table => serde_json::from_value(table).map_err(|error| error.to_string()),
    };
    items.into_iter().map(table).collect()
}

pub(crate) fn read(reader: &mut Reader<'_>) -> Vec<Webhook> {
    let Some(text) = reader.text(&keys::APP_WEBHOOKS) else { return Vec::new() };
    let webhooks = tables(&text)
        .and_then(|tables| tables.into_iter().map(Table::into_webhook).collect::<Result<_, _>>());
    webhooks.unwrap_or_else(|what: String| {
        reader.wrong(&keys::APP_WEBHOOKS, what);
        Vec::new()
    })
}

/// The URLs of what was typed, without what may be a secret.
pub(crate) fn shown_all(text: &str) -> String {
    let urls =
        tables(text).unwrap_or_default().into_iter().filter_map(|table| table.url.parse().ok());
    urls.map(|url| Webhook::new(url).redacted_url()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhooks(text: &str) -> Result<Vec<Webhook>, String> {
        tables(text)?.into_iter().map(Table::into_webhook).collect()
    }

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
        assert_eq!(shown_all(table), "https://a.example/, https://b.example/");
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not() {
        for (text, told) in [
            ("nonsense", "no URL"),
            ("[", "is no JSON, in line 1 column 1"),
            (r#"[{"events":[]}]"#, "missing field `url`"),
            (r#"[{"url":"http://a","event":[]}]"#, "unknown field `event`"),
            (r#"[{"url":"http://a","events":["member_ad"]}]"#, "did you mean member_added?"),
            (r#"[{"url":"http://a","headers":{"a b":"hush"}}]"#, "\"a b\" is no header"),
            ("[7]", "expected struct Table"),
        ] {
            let error = webhooks(text).unwrap_err();
            assert!(error.contains(told) && !error.contains("hush"), "{text}: {error}");
        }
    }
}
