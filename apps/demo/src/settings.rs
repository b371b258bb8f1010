//! What the environment says, and what is so without it: one process that needs nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clarim::Connection;

/// Variables, from wherever they are.
type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug)]
pub(crate) struct Settings {
    /// `ADDRESS`: where the web part listens.
    pub(crate) address: SocketAddr,
    /// `APP_URL`: how users reach it.
    pub(crate) url: String,
    /// `DATABASE_URL`: `sqlite:…` or `postgres://…`.
    pub(crate) database: String,
    /// `WEB_ROOT`: the built pages.
    pub(crate) web_root: PathBuf,
    /// `RUN`: what this process does.
    pub(crate) run: Parts,
    /// `BROADCAST_CONNECTION`, `REVERB_*`, `QUEUE_CONNECTION`, `REDIS_URL`.
    pub(crate) clarim: clarim::Settings,
    /// `VITE_REVERB_HOST`, `…_PORT`, `…_SCHEME`: the server as pages reach it. Nothing: where the page is
    /// from.
    pub(crate) realtime: Option<RealtimeAddress>,
    /// `METRICS_SECONDS`: how often the dashboard's metrics are measured.
    pub(crate) metrics_every: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) web: bool,
    pub(crate) worker: bool,
    pub(crate) scheduler: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RealtimeAddress {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) https: bool,
}

impl RealtimeAddress {
    /// For `connect-src` of the Content-Security-Policy.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.https { "wss" } else { "ws" };
        format!("{scheme}://{}:{}", self.host, self.port)
    }
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self> {
        Self::read(&|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
    }

    pub(crate) fn read(get: Get<'_>) -> Result<Self> {
        let text = |name, default: &str| get(name).unwrap_or_else(|| default.to_owned());
        let address = text("ADDRESS", "127.0.0.1:8000");
        let address: SocketAddr = address
            .parse()
            .with_context(|| format!("ADDRESS={address} is not like 127.0.0.1:8000"))?;
        let database = text("DATABASE_URL", "sqlite:demo.sqlite");
        let clarim = broadcasting(get, &database)?;
        let settings = Self {
            url: text("APP_URL", &format!("http://localhost:{}", address.port())),
            address,
            web_root: text("WEB_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist")).into(),
            run: parts(&text("RUN", "web,worker,scheduler"))?,
            realtime: realtime(get, &clarim)?,
            metrics_every: seconds("METRICS_SECONDS", &text("METRICS_SECONDS", "30"))?,
            clarim,
            database,
        };
        ensure!(
            settings.run.web || settings.clarim.connection != Connection::Embedded,
            "RUN without web needs a server elsewhere: set BROADCAST_CONNECTION=reverb and REVERB_*"
        );
        Ok(settings)
    }
}

/// As the application's library reads it, with other defaults.
fn broadcasting(get: Get<'_>, database: &str) -> Result<clarim::Settings> {
    let queue = if database.starts_with("sqlite:") { "sqlite" } else { "postgres" };
    let with_defaults = |name: &str| {
        let default = match name {
            "BROADCAST_CONNECTION" => "embedded",
            "QUEUE_CONNECTION" => queue,
            "DATABASE_URL" => database,
            _ => return get(name),
        };
        get(name).or_else(|| Some(default.to_owned()))
    };
    Ok(clarim::Settings::from_variables(with_defaults)?)
}

fn seconds(name: &str, text: &str) -> Result<Duration> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => bail!("{name}={text} is no number of seconds from 1 to 86400"),
    }
}

fn parts(text: &str) -> Result<Parts> {
    let mut parts = Parts { web: false, worker: false, scheduler: false };
    for name in text.split(',') {
        match name.trim() {
            "web" => parts.web = true,
            "worker" => parts.worker = true,
            "scheduler" => parts.scheduler = true,
            other => bail!("RUN={other} is unknown; expected some of web,worker,scheduler"),
        }
    }
    Ok(parts)
}

fn realtime(get: Get<'_>, clarim: &clarim::Settings) -> Result<Option<RealtimeAddress>> {
    if clarim.connection == Connection::Embedded {
        return Ok(None);
    }
    let port = match get("VITE_REVERB_PORT") {
        Some(port) => {
            port.parse().with_context(|| format!("VITE_REVERB_PORT={port} is no port"))?
        }
        None => clarim.port,
    };
    let https = get("VITE_REVERB_SCHEME").map_or(clarim.https, |scheme| scheme == "https");
    let host = get("VITE_REVERB_HOST").unwrap_or_else(|| clarim.host.clone());
    Ok(Some(RealtimeAddress { host, port, https }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Settings> {
        Settings::read(&|name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn without_anything_one_process_does_it_all() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.run, Parts { web: true, worker: true, scheduler: true });
        assert_eq!(settings.clarim.connection, Connection::Embedded);
        assert_eq!(format!("{:?}", settings.clarim.queue), "Sqlite");
        assert_eq!(settings.url, "http://localhost:8000");
        assert_eq!(settings.realtime, None, "pages connect to where they are from");
    }

    #[test]
    fn the_parts_are_split_by_the_environment() {
        let mut variables = vec![
            ("RUN", "worker"),
            ("DATABASE_URL", "postgres://u:p@db/app"),
            ("BROADCAST_CONNECTION", "reverb"),
            ("REVERB_APP_ID", "1"),
            ("REVERB_APP_KEY", "key"),
            ("REVERB_APP_SECRET", "secret"),
            ("REVERB_HOST", "clarim"),
            ("VITE_REVERB_HOST", "ws.example.com"),
            ("VITE_REVERB_PORT", "443"),
            ("VITE_REVERB_SCHEME", "https"),
        ];
        let settings = read(&variables).unwrap();
        assert_eq!(settings.run, Parts { web: false, worker: true, scheduler: false });
        assert_eq!(format!("{:?}", settings.clarim.queue), "Postgres");
        let realtime = settings.realtime.unwrap();
        assert_eq!(realtime.origin(), "wss://ws.example.com:443");
        variables.push(("QUEUE_CONNECTION", "redis"));
        assert_eq!(format!("{:?}", read(&variables).unwrap().clarim.queue), "Redis");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let problem = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert_eq!(problem(&[("ADDRESS", "8000")]), "ADDRESS=8000 is not like 127.0.0.1:8000");
        assert!(problem(&[("METRICS_SECONDS", "0")]).starts_with("METRICS_SECONDS=0 is no number"));
        assert!(problem(&[("RUN", "all")]).starts_with("RUN=all is unknown"));
        assert!(problem(&[("RUN", "worker")]).starts_with("RUN without web needs a server"));
    }
}
