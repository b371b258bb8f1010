//! Settings from environment variables. The defaults need no other service.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clarim::Connection;

use crate::seed::{Language, Seed};

/// Drain time of the embedded server.
pub(crate) const DRAIN: Duration = Duration::from_secs(2);

/// Returns the value of a variable.
type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug)]
pub(crate) struct Settings {
    /// `ADDRESS`: address that the web part listens on.
    pub(crate) address: SocketAddr,
    /// `APP_URL`: URL of the application for users.
    pub(crate) url: String,
    /// `DATABASE_URL`: `sqlite:…` or `postgres://…`.
    pub(crate) database: String,
    /// `WEB_ROOT`: path to the built pages.
    pub(crate) web_root: PathBuf,
    /// `RUN`: parts that this process runs.
    pub(crate) run: Parts,
    /// `BROADCAST_CONNECTION`, `REVERB_*`, `QUEUE_CONNECTION`, `REDIS_URL`.
    pub(crate) clarim: clarim::Settings,
    /// `VITE_REVERB_HOST`, `…_PORT`, `…_SCHEME`: address of the Clarim server for pages. `None`: the page's
    /// own address.
    pub(crate) realtime: Option<RealtimeAddress>,
    /// `SEED`: content of a new database.
    pub(crate) seed: Seed,
    /// `METRICS_SECONDS`: interval of the dashboard's metrics.
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
    /// The origin for `connect-src` of the Content-Security-Policy.
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
        let address: SocketAddr = address.parse().with_context(|| {
            format!("invalid ADDRESS={address}; expected for example 127.0.0.1:8000")
        })?;
        let database = text("DATABASE_URL", "sqlite:demo.sqlite");
        let clarim = broadcasting(get, &database)?;
        let settings = Self {
            url: text("APP_URL", &format!("http://localhost:{}", address.port())),
            address,
            web_root: text("WEB_ROOT", concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist")).into(),
            run: parts(&text("RUN", "web,worker,scheduler"))?,
            realtime: realtime(get, &clarim)?,
            seed: seed(get)?,
            metrics_every: seconds("METRICS_SECONDS", &text("METRICS_SECONDS", "30"))?,
            clarim,
            database,
        };
        ensure!(
            settings.run.web || settings.clarim.connection != Connection::Embedded,
            "RUN without web needs another Clarim server: set BROADCAST_CONNECTION=reverb and REVERB_*"
        );
        Ok(settings)
    }
}

/// The settings of the Clarim library, with other defaults.
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

/// Without `SEED`, the content is in the language of the system.
fn seed(get: Get<'_>) -> Result<Seed> {
    let of_system = || ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().find_map(get);
    match get("SEED").as_deref() {
        Some("empty") => Ok(Seed::Empty),
        Some("en") => Ok(Seed::Content(Language::English)),
        Some("pt-BR") => Ok(Seed::Content(Language::Portuguese)),
        Some(other) => bail!("invalid SEED={other}; expected en, pt-BR or empty"),
        None if of_system().is_some_and(|language| language.starts_with("pt")) => {
            Ok(Seed::Content(Language::Portuguese))
        }
        None => Ok(Seed::Content(Language::English)),
    }
}

fn seconds(name: &str, text: &str) -> Result<Duration> {
    match text.parse() {
        Ok(seconds @ 1..=86_400) => Ok(Duration::from_secs(seconds)),
        _ => bail!("invalid {name}={text}; expected seconds from 1 to 86400"),
    }
}

fn parts(text: &str) -> Result<Parts> {
    let mut parts = Parts { web: false, worker: false, scheduler: false };
    for name in text.split(',') {
        match name.trim() {
            "web" => parts.web = true,
            "worker" => parts.worker = true,
            "scheduler" => parts.scheduler = true,
            other => bail!(
                "unknown part {other} in RUN; expected web, worker or scheduler, separated by commas"
            ),
        }
    }
    Ok(parts)
}

fn realtime(get: Get<'_>, clarim: &clarim::Settings) -> Result<Option<RealtimeAddress>> {
    if clarim.connection == Connection::Embedded {
        return Ok(None);
    }
    let port = match get("VITE_REVERB_PORT") {
        Some(port) => port
            .parse()
            .with_context(|| format!("invalid VITE_REVERB_PORT={port}; expected 1 to 65535"))?,
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
    fn by_default_one_process_runs_every_part() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.run, Parts { web: true, worker: true, scheduler: true });
        assert_eq!(settings.clarim.connection, Connection::Embedded);
        assert_eq!(format!("{:?}", settings.clarim.queue), "Sqlite");
        assert_eq!(settings.url, "http://localhost:8000");
        assert_eq!(settings.realtime, None, "pages connect to their own address");
        assert_eq!(settings.seed, Seed::Content(Language::English));
        let settings = read(&[("LANG", "pt_BR.UTF-8")]).unwrap();
        assert_eq!(settings.seed, Seed::Content(Language::Portuguese));
    }

    #[test]
    fn variables_split_the_parts() {
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
    fn errors_name_the_variable() {
        let problem = |variables: &[(&str, &str)]| read(variables).unwrap_err().to_string();
        assert!(problem(&[("ADDRESS", "8000")]).starts_with("invalid ADDRESS=8000; expected"));
        assert!(problem(&[("METRICS_SECONDS", "0")]).starts_with("invalid METRICS_SECONDS=0;"));
        assert!(problem(&[("SEED", "fr")]).starts_with("invalid SEED=fr; expected en"));
        assert!(problem(&[("RUN", "all")]).starts_with("unknown part all in RUN;"));
        assert!(problem(&[("RUN", "worker")]).starts_with("RUN without web needs another"));
    }
}
