//! `clarim send` and `clarim stats`: the signed HTTP API of a running server.

use std::io::Write;

use clarim_protocol::ChannelKind;
use serde_json::{Value, json};

use crate::error::CommandError;
use crate::flags::ApiFlags;
use crate::printable::{printable, printable_lines};
use crate::remote::{SignedApi, local_url};

/// Publishes one event. Data that is not JSON is sent as text.
pub(crate) fn send(
    flags: &ApiFlags,
    channel: &str,
    event: &str,
    data: &str,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let data = match serde_json::from_str::<Value>(data) {
        Ok(_) => data.to_owned(),
        Err(_) => Value::from(data).to_string(),
    };
    let body = json!({ "name": event, "channel": channel, "data": data }).to_string();
    let api = of_flags(flags)?;
    api.post(&api.connect()?, "events", body)?;
    writeln!(out, "Sent {} to {}.", printable(event), printable(channel))?;
    Ok(())
}

/// Prints the numbers of connections and subscribers.
pub(crate) fn stats(
    flags: &ApiFlags,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let api = of_flags(flags)?;
    let remote = api.connect()?;
    // This resource is Reverb's, and not part of Pusher's API.
    let connections = api.get_if_supported(&remote, "connections")?;
    let connections = connections.map(|mut answer| answer["connections"].take());
    let info = [("info", "subscription_count")];
    let mut channels = api.get(&remote, "channels", &info)?["channels"].take();
    let info = [("filter_by_prefix", ChannelKind::Presence.prefix()), ("info", "user_count")];
    let presence = api.get(&remote, "channels", &info)?;
    for (name, counts) in presence["channels"].as_object().into_iter().flatten() {
        channels[name] = counts.clone();
    }
    if is_json {
        let all = json!({ "connections": connections, "channels": channels });
        writeln!(out, "{}", printable_lines(&format!("{all:#}")))?;
        return Ok(());
    }
    let connections = connections.map_or_else(|| "unknown".to_owned(), |it| it.to_string());
    writeln!(out, "connections  {connections}")?;
    let channels = channels.as_object().cloned().unwrap_or_default();
    writeln!(out, "channels     {}", channels.len())?;
    let width = channels.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, counts) in &channels {
        let name = printable(name);
        let count = |field: &str, word: &str| {
            let count = counts[field].as_u64()?;
            let plural = if count == 1 { "" } else { "s" };
            Some(format!("{count} {word}{plural}"))
        };
        let count =
            count("user_count", "user").or_else(|| count("subscription_count", "subscriber"));
        writeln!(out, "  {name:width$}  {}", count.unwrap_or_default())?;
    }
    Ok(())
}

/// The API of the given server and app, or of those of the settings.
pub(super) fn of_flags(ApiFlags { url, app }: &ApiFlags) -> Result<SignedApi, CommandError> {
    if let Some(url) = url
        && let Ok(given) = app.credentials(None)
    {
        return Ok(SignedApi::new(url, &given.app_id, given.key));
    }
    let settings = app.settings()?;
    let app = app.credentials(Some(&settings))?;
    let url = url.clone().unwrap_or_else(|| local_url(&settings));
    Ok(SignedApi::new(&url, &app.app_id, app.key))
}
