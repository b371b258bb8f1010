//! `clarim send` and `clarim stats`: the signed HTTP API of a running server, this one or any other of the
//! protocol.

use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{ChannelKind, rest};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};

use super::remote::{Limits, Remote};
use super::{ApiFlags, AppFlags, CommandError};
use clarim_server::config::ServerConfig;

/// What one answer may take.
const LIMITS: Limits = Limits { time: Duration::from_secs(10), bytes: 64 << 20 };

/// `clarim send`: publishes one event; data that is no JSON is a text.
pub(super) fn send(
    flags: &ApiFlags,
    (channel, event, data): (&str, &str, &str),
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let data = match serde_json::from_str::<Value>(data) {
        Ok(_) => data.to_owned(),
        Err(_) => Value::from(data).to_string(),
    };
    let body = json!({ "name": event, "channel": channel, "data": data }).to_string();
    let server = Server::of(flags)?;
    server.ask(&server.remote()?, (Method::POST, "events"), &[], body)?;
    writeln!(out, "Sent {event} to {channel}.")?;
    Ok(())
}

/// `clarim stats`: how much there is.
pub(super) fn stats(
    flags: &ApiFlags,
    is_json: bool,
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let server = Server::of(flags)?;
    let remote = server.remote()?;
    let get = |what: &str, params: &[(&str, &str)]| {
        server.ask(&remote, (Method::GET, what), params, String::new())
    };
    let connections = server.get_if_told(&remote, "connections")?;
    let mut channels = get("channels", &[("info", "subscription_count")])?["channels"].take();
    let info = [("filter_by_prefix", ChannelKind::Presence.prefix()), ("info", "user_count")];
    let presence = get("channels", &info)?;
    for (name, facts) in presence["channels"].as_object().into_iter().flatten() {
        channels[name] = facts.clone();
    }
    let connections = connections.map(|mut answer| answer["connections"].take());
    if is_json {
        let all = json!({ "connections": connections, "channels": channels });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
    let connections = connections.map_or_else(|| "not told".to_owned(), |it| it.to_string());
    writeln!(out, "connections  {connections}")?;
    let channels = channels.as_object().cloned().unwrap_or_default();
    writeln!(out, "channels     {}", channels.len())?;
    let width = channels.keys().map(|name| name.chars().count()).max().unwrap_or(0);
    for (name, facts) in &channels {
        let count = |what: &str, word: &str| {
            let count = facts[what].as_u64()?;
            Some(format!("{count} {word}"))
        };
        let count =
            count("user_count", "users").or_else(|| count("subscription_count", "subscribers"));
        writeln!(out, "  {name:width$}  {}", count.unwrap_or_default())?;
    }
    Ok(())
}

/// Where the API is, and who asks.
pub(super) struct Server {
    pub(super) url: String,
    path: String,
    pub(super) key: AppKey,
}

impl Server {
    /// The one that was named, or that of the settings.
    pub(super) fn of(flags: &ApiFlags) -> Result<Self, CommandError> {
        let ApiFlags { url, app } = flags;
        let AppFlags { app_id, key, secret, .. } = app;
        if let (Some(url), Some(id), Some(key), Some(secret)) = (url, app_id, key, secret) {
            let url = url.trim_end_matches('/').to_owned();
            let (path, key) = (format!("/apps/{id}/"), AppKey::new(key.as_str(), secret));
            return Ok(Self { url, path, key });
        }
        let settings = app.settings()?;
        let app = app.app(&settings).ok_or_else(|| {
            let named = app_id.as_ref().map_or_else(String::new, |id| format!(" with the id {id}"));
            CommandError::Api(format!(
                "the settings have no app{named}; name one with --app-id, --key, --secret and --url"
            ))
        })?;
        let here = here(&settings.server);
        let url = url.as_ref().map_or(here, |url| url.trim_end_matches('/').to_owned());
        Ok(Self { url, path: format!("/apps/{}/", app.id), key: app.key.clone() })
    }

    fn remote(&self) -> Result<Remote, CommandError> {
        Remote::new(&self.url, LIMITS)
    }

    /// The answer to a signed request.
    fn ask(
        &self,
        remote: &Remote,
        what: (Method, &str),
        params: &[(&str, &str)],
        body: String,
    ) -> Result<Value, CommandError> {
        let (status, body) = self.exchange(remote, what, params, body)?;
        remote.accept(status, &body)
    }

    /// What only some servers tell: that is Reverb's, and not in the protocol.
    fn get_if_told(&self, remote: &Remote, what: &str) -> Result<Option<Value>, CommandError> {
        let (status, body) = self.exchange(remote, (Method::GET, what), &[], String::new())?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        remote.accept(status, &body).map(Some)
    }

    fn exchange(
        &self,
        remote: &Remote,
        (method, what): (Method, &str),
        params: &[(&str, &str)],
        body: String,
    ) -> Result<(StatusCode, Bytes), CommandError> {
        let path = format!("{}{what}", self.path);
        let now = now();
        let query = rest::sign(&self.key, method.as_str(), &path, params, body.as_bytes(), now);
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}?{query}", self.url))
            .header(CONTENT_TYPE, "application/json");
        remote.ask(request, body.into())
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}

/// Where a server with these settings is reached from its own machine.
pub(super) fn here(server: &ServerConfig) -> String {
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let host = match server.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{scheme}://{host}:{}{}", server.port, server.path)
}
