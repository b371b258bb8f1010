//! `clarim send` and `clarim stats`: the signed HTTP API of a running server, this one or any other of the
//! protocol.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clarim_protocol::auth::AppKey;
use clarim_protocol::{ChannelKind, rest};
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::{ApiFlags, AppFlags, CommandError};
use crate::client::{Reach, cause, client};
use crate::settings::ServerSettings;

/// Time for one request.
const PATIENCE: Duration = Duration::from_secs(10);

/// As much of an answer is read.
const MAX_ANSWER: usize = 64 << 20;

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
    Server::of(flags)?.ask(&Method::POST, "events", &[], &body)?;
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
    let connections = server.ask(&Method::GET, "connections", &[], "")?;
    let info = [("info", "subscription_count")];
    let mut channels = server.ask(&Method::GET, "channels", &info, "")?["channels"].take();
    let info = [("filter_by_prefix", ChannelKind::Presence.prefix()), ("info", "user_count")];
    let presence = server.ask(&Method::GET, "channels", &info, "")?;
    for (name, facts) in presence["channels"].as_object().into_iter().flatten() {
        channels[name] = facts.clone();
    }
    let connections = &connections["connections"];
    if is_json {
        let all = json!({ "connections": connections, "channels": channels });
        writeln!(out, "{all:#}")?;
        return Ok(());
    }
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

    fn ask(
        &self,
        method: &Method,
        what: &str,
        params: &[(&str, &str)],
        body: &str,
    ) -> Result<Value, CommandError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Within the runtime, whose clock it needs.
        let asking = async {
            tokio::time::timeout(PATIENCE, self.request(method, what, params, body)).await
        };
        runtime
            .block_on(asking)
            .unwrap_or_else(|_| Err(self.failed(format!("no answer within {PATIENCE:?}"))))
    }

    async fn request(
        &self,
        method: &Method,
        what: &str,
        params: &[(&str, &str)],
        body: &str,
    ) -> Result<Value, CommandError> {
        let path = format!("{}{what}", self.path);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let query =
            rest::sign(&self.key, method.as_str(), &path, params, body.as_bytes(), now.as_secs());
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}?{query}", self.url))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| self.failed(error))?;
        let client = client(self.url.starts_with("https:"), PATIENCE, Reach::Anywhere)?;
        let answer = client.request(request).await.map_err(|error| self.failed(cause(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.failed(error))?.to_bytes();
        if !status.is_success() {
            let sentence = String::from_utf8_lossy(&body);
            return Err(self.failed(format!("it answered {status}: {}", sentence.trim())));
        }
        serde_json::from_slice(&body).map_err(|error| self.failed(error))
    }

    fn failed(&self, why: impl std::fmt::Display) -> CommandError {
        CommandError::Api(format!("{}: {why}", self.url))
    }
}

/// Where a server with these settings is reached from its own machine.
pub(super) fn here(server: &ServerSettings) -> String {
    let scheme = if server.tls.is_some() { "https" } else { "http" };
    let host = match server.host.as_str() {
        "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    format!("{scheme}://{host}:{}{}", server.port, server.path)
}
