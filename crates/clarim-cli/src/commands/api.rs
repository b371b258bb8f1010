//! `clarim send` and `clarim stats`: the signed HTTP API of a running server.

use std::io::Write;

use clarim_protocol::ChannelKind;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::doctor::echo_note;
use crate::error::CommandError;
use crate::flags::ApiFlags;
use crate::printable::{printable, printable_lines};
use crate::remote::{SignedApi, local_url};

/// An event to publish.
pub(crate) struct Outgoing<'a> {
    pub(crate) channel: &'a str,
    pub(crate) event: &'a str,
    /// JSON or text.
    pub(crate) data: &'a str,
    /// Whether the data is sent as it is.
    pub(crate) is_raw: bool,
}

impl Outgoing<'_> {
    /// The data to send. Text becomes a JSON string, because clients parse data as JSON.
    fn data(&self) -> Result<String, CommandError> {
        if self.is_raw {
            return Ok(self.data.to_owned());
        }
        let looks_like_json = self.data.trim_start().starts_with(['{', '[', '"']);
        match serde_json::from_str::<IgnoredAny>(self.data) {
            Ok(_) => Ok(self.data.to_owned()),
            Err(error) if looks_like_json => Err(CommandError::Data(error)),
            Err(_) => Ok(Value::from(self.data).to_string()),
        }
    }
}

/// Publishes one event, and says how many subscribers it has reached.
pub(crate) fn send(
    flags: &ApiFlags,
    outgoing: &Outgoing<'_>,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let Outgoing { channel, event, .. } = *outgoing;
    let data = outgoing.data()?;
    let is_presence = channel.starts_with(ChannelKind::Presence.prefix());
    let (info, unit) =
        if is_presence { ("user_count", "user") } else { ("subscription_count", "subscriber") };
    let mut body = json!({ "name": event, "channel": channel, "data": data, "info": info });
    let api = of_flags(flags)?;
    let remote = api.connect()?;
    let answer = match api.post(&remote, "events", body.to_string()) {
        // Some servers count subscribers only if that is enabled.
        Err(error) if error.is_refused() => {
            if let Some(body) = body.as_object_mut() {
                body.remove("info");
            }
            api.post(&remote, "events", body.to_string())
        }
        answer => answer,
    }?;
    let reached = match answer["channels"][channel][info].as_u64() {
        Some(0) => format!(", which has no {unit}s"),
        Some(1) => format!(": 1 {unit}"),
        Some(count) => format!(": {count} {unit}s"),
        None => String::new(),
    };
    writeln!(out, "Sent {} to {}{reached}.", printable(event), printable(channel))?;
    if let Some(note) = echo_note(event) {
        writeln!(out, "{}", printable(&note))?;
    }
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
