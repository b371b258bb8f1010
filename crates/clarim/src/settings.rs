//! Where events go, and how the application is known there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::auth::AppKey;

use crate::queue::Storage;
use crate::{Error, MasterKey};

/// How events leave the application: the values of `BROADCAST_CONNECTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// `reverb`, `pusher`: to a server of the protocol, over HTTP.
    Http,
    /// `embedded`: to a server in this process. Needs the feature `embedded`.
    Embedded,
    /// `redis`, `nats`: straight onto the bus between the nodes of a cluster. Needs the feature `bus`.
    Bus,
    /// `log`: into the log of the application, and nowhere else.
    Log,
    /// `null`: nowhere.
    Null,
}

/// Where queued broadcasts wait: the values of `QUEUE_CONNECTION`. The URLs may have passwords in them, and
/// are not shown.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueConnection {
    /// `memory`: in this process, which runs them.
    #[default]
    Memory,
    /// `sqlite`: in the file of this URL. Needs the feature `sqlite`.
    #[cfg(feature = "sqlite")]
    Sqlite(String),
    /// `postgres`: in the database of this URL. Needs the feature `postgres`.
    #[cfg(feature = "postgres")]
    Postgres(String),
    /// `redis`: in the server of this URL. Needs the feature `redis`.
    #[cfg(feature = "redis")]
    Redis(String),
}

impl QueueConnection {
    /// What keeps the jobs, if anything does. Nothing is connected before it is used.
    #[must_use]
    pub fn storage(&self) -> Option<Arc<dyn Storage>> {
        match self {
            Self::Memory => None,
            #[cfg(feature = "sqlite")]
            Self::Sqlite(url) => Some(Arc::new(crate::queue::SqlStorage::sqlite(url))),
            #[cfg(feature = "postgres")]
            Self::Postgres(url) => Some(Arc::new(crate::queue::SqlStorage::postgres(url))),
            #[cfg(feature = "redis")]
            Self::Redis(url) => Some(Arc::new(crate::queue::RedisStorage::new(url))),
        }
    }

    fn read(variables: &Variables<'_>) -> Result<Self, Error> {
        let Some((name, typed)) = variables.find("QUEUE_CONNECTION") else {
            return Ok(Self::Memory);
        };
        match typed.as_str() {
            "memory" => Ok(Self::Memory),
            #[cfg(feature = "sqlite")]
            "sqlite" => {
                let default = Some("sqlite:queue.sqlite");
                variables.url(&["DATABASE_URL", "DB_URL"], &["sqlite:"], default).map(Self::Sqlite)
            }
            #[cfg(feature = "postgres")]
            "postgres" | "pgsql" => variables
                .url(&["DATABASE_URL", "DB_URL"], &["postgres:", "postgresql:"], None)
                .map(Self::Postgres),
            #[cfg(feature = "redis")]
            "redis" => {
                let default = Some("redis://127.0.0.1:6379");
                variables.url(&["REDIS_URL"], &["redis:", "rediss:"], default).map(Self::Redis)
            }
            known if ["sqlite", "postgres", "pgsql", "redis"].contains(&known) => {
                let feature = if known == "pgsql" { "postgres" } else { known };
                let what = format!("{known} needs the feature `{feature}` of the crate clarim");
                Err(Error::Setting { name, what })
            }
            other => {
                let what =
                    format!("{other:?} is unknown; expected memory, sqlite, postgres or redis");
                Err(Error::Setting { name, what })
            }
        }
    }
}

impl fmt::Debug for QueueConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "Memory",
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => "Sqlite",
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => "Postgres",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "Redis",
        })
    }
}

/// What the application's end of broadcasting has to know.
///
/// ```
/// use clarim::Settings;
///
/// let settings = Settings { port: 6001, ..Settings::http("100001", "key", "secret") };
/// assert_eq!(settings.host, "127.0.0.1");
/// ```
#[derive(Debug, Clone)]
pub struct Settings {
    /// How events leave the application.
    pub connection: Connection,
    /// Where queued ones wait.
    pub queue: QueueConnection,
    /// The app's id at the server.
    pub app_id: String,
    /// The app's key and secret, with which events and authorizations are signed.
    pub app_key: Option<AppKey>,
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Whether the server is asked with TLS.
    pub https: bool,
    /// Prefix of the server's paths: "" or "/x".
    pub path: String,
    /// The bus of a cluster, for [`Connection::Bus`].
    #[cfg(feature = "bus")]
    pub bus: Option<crate::publisher::BusSettings>,
    /// For encrypted channels.
    pub master_key: Option<MasterKey>,
    /// What stands before the names of events; the front end's Echo must be told the same.
    pub namespace: String,
    /// Largest data of an event, in bytes. The server has a limit of its own, which should not be smaller.
    pub max_data_bytes: usize,
    /// Time in which a connection to the server must be there.
    pub connect_timeout: Duration,
    /// Time for one publication in all.
    pub timeout: Duration,
}

impl Default for Settings {
    /// Nowhere, and nothing known.
    fn default() -> Self {
        Self {
            connection: Connection::Null,
            queue: QueueConnection::Memory,
            app_id: String::new(),
            app_key: None,
            host: "127.0.0.1".to_owned(),
            port: 8080,
            https: false,
            path: String::new(),
            #[cfg(feature = "bus")]
            bus: None,
            master_key: None,
            namespace: "App\\Events".to_owned(),
            max_data_bytes: 100_000,
            connect_timeout: Duration::from_secs(3),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// To a server on this machine, at its default port.
    pub fn http(
        app_id: impl Into<String>,
        key: impl Into<String>,
        secret: impl AsRef<str>,
    ) -> Self {
        Self {
            connection: Connection::Http,
            app_id: app_id.into(),
            app_key: Some(AppKey::new(key, secret)),
            ..Self::default()
        }
    }

    /// Reads the variables of the process; those of a `.env` file are to be put there first (the crate
    /// `dotenvy` does it).
    ///
    /// | variable | means | without it |
    /// |---|---|---|
    /// | `BROADCAST_CONNECTION` | `reverb`, `pusher`, `embedded`, `redis`, `nats`, `log`, `null` | below |
    /// | `REVERB_APP_ID`, `REVERB_APP_KEY`, `REVERB_APP_SECRET` | the app | an error |
    /// | `REVERB_HOST` | the server's host | `127.0.0.1` |
    /// | `REVERB_PORT` | its port | 8080; with https 443 |
    /// | `REVERB_SCHEME` | `http` or `https` | `http` |
    /// | `REVERB_SERVER_PATH` | prefix of its paths | none |
    /// | `CLARIM_SCALING_URL`, or `REDIS_URL` | with `redis`, `nats`: the nodes' bus | this machine's Redis |
    /// | `REVERB_SCALING_CHANNEL` | with these: what the nodes have there | `reverb` |
    /// | `PUSHER_ENCRYPTION_MASTER_KEY_BASE64` | for encrypted channels | they are an error |
    /// | `QUEUE_CONNECTION` | where queued events wait: `memory`, `sqlite`, `postgres`, `redis` | `memory` |
    /// | `DATABASE_URL`, or `DB_URL` | for `sqlite`: a file | `sqlite:queue.sqlite` |
    /// | | for `postgres`: `postgres://user:password@host/database` | an error |
    /// | `REDIS_URL` | for `redis`: `redis://:password@host:port/database` | `redis://127.0.0.1:6379` |
    ///
    /// Without `BROADCAST_CONNECTION` it is `reverb` when there is a `REVERB_APP_KEY`, otherwise `log`.
    /// `CLARIM_…` goes before `REVERB_…`, and `CLARIM_QUEUE_CONNECTION`, `CLARIM_DATABASE_URL`,
    /// `CLARIM_REDIS_URL` before those of an application that has another queue.
    /// With `pusher` all of the server's begin with `PUSHER_`; the host is then by default that of
    /// `PUSHER_APP_CLUSTER` at Pusher's, with https.
    ///
    /// # Errors
    /// With the name of the variable, and what would be right.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// The same from any source.
    ///
    /// # Errors
    /// With the name of the variable, and what would be right.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables = |prefixes| Variables { get: &get, prefixes };
        let reverb = variables(&["CLARIM_", "REVERB_"]);
        let master_key = master_key(&variables(&["PUSHER_"]))?;
        let (name, typed) = variables(&[""]).find("BROADCAST_CONNECTION").unwrap_or_else(|| {
            let known = reverb.find("APP_KEY").is_some();
            ("BROADCAST_CONNECTION".to_owned(), if known { "reverb" } else { "log" }.to_owned())
        });
        let settings = match typed.as_str() {
            "reverb" => reverb.http(&Self::default())?,
            "pusher" => {
                let pusher = variables(&["PUSHER_"]);
                pusher.http(&of_cluster(
                    &pusher.text("APP_CLUSTER").unwrap_or_else(|| "mt1".to_owned()),
                ))?
            }
            "redis" | "nats" => reverb.bus(&name)?,
            "embedded" => Self { connection: Connection::Embedded, ..Self::default() },
            "log" => reverb.quiet(Connection::Log),
            "null" => reverb.quiet(Connection::Null),
            other => {
                let what = format!(
                    "{other:?} is unknown; expected reverb, pusher, embedded, redis, nats, log or null"
                );
                return Err(Error::Setting { name, what });
            }
        };
        let queue = QueueConnection::read(&variables(&["CLARIM_", ""]))?;
        Ok(Self { master_key, queue, ..settings })
    }

    /// The app's key, which signs.
    pub(crate) fn key(&self) -> Result<&AppKey, Error> {
        self.app_key.as_ref().ok_or_else(|| Error::Setting {
            name: "REVERB_APP_KEY".to_owned(),
            what: "the app's key and secret are not set, and nothing can be signed".to_owned(),
        })
    }
}

fn of_cluster(cluster: &str) -> Settings {
    Settings {
        host: format!("api-{cluster}.pusher.com"),
        port: 443,
        https: true,
        max_data_bytes: 10_240,
        ..Settings::default()
    }
}

fn master_key(variables: &Variables<'_>) -> Result<Option<MasterKey>, Error> {
    let Some((name, text)) = variables.find("ENCRYPTION_MASTER_KEY_BASE64") else {
        return Ok(None);
    };
    // The value is a secret, and not told.
    let what = "is not 32 bytes in base64; make one with: openssl rand -base64 32".to_owned();
    MasterKey::from_base64(&text).map(Some).ok_or(Error::Setting { name, what })
}

/// Variables whose names begin with one of several prefixes, of which the first goes before the others.
struct Variables<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    prefixes: &'a [&'static str],
}

impl Variables<'_> {
    /// The name as it was typed, and the value. An empty one is none.
    fn find(&self, name: &str) -> Option<(String, String)> {
        self.prefixes.iter().find_map(|prefix| {
            let name = format!("{prefix}{name}");
            let value = (self.get)(&name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|(_, value)| value)
    }

    fn needed(&self, name: &str) -> Result<String, Error> {
        self.text(name).ok_or_else(|| Error::Setting {
            name: format!("{}{name}", self.prefixes.last().unwrap_or(&"")),
            what: "is missing; an app has an id, a key and a secret (`clarim app new` makes all three)"
                .to_owned(),
        })
    }

    /// The first that is there, which must begin with one of these schemes. Its value may be a secret, and
    /// is not told.
    #[cfg(any(feature = "sqlite", feature = "postgres", feature = "redis"))]
    fn url(
        &self,
        names: &[&'static str],
        schemes: &[&str],
        default: Option<&str>,
    ) -> Result<String, Error> {
        let found = names.iter().find_map(|name| self.find(name));
        let expected = schemes.join(" or ");
        match (found, default) {
            (Some((_, url)), _) if schemes.iter().any(|scheme| url.starts_with(scheme)) => Ok(url),
            (Some((name, _)), _) => {
                let what = format!("for this QUEUE_CONNECTION it must begin with {expected}");
                Err(Error::Setting { name, what })
            }
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Error::Setting {
                name: names.join(" or "),
                what: format!(
                    "is missing; this QUEUE_CONNECTION needs a URL that begins with {expected}"
                ),
            }),
        }
    }

    fn http(&self, default: &Settings) -> Result<Settings, Error> {
        let key = AppKey::new(self.needed("APP_KEY")?, self.needed("APP_SECRET")?);
        let https = match self.find("SCHEME") {
            None => default.https,
            Some((_, scheme)) if scheme == "https" => true,
            Some((_, scheme)) if scheme == "http" => false,
            Some((name, scheme)) => {
                let what = format!("{scheme:?} is unknown; expected http or https");
                return Err(Error::Setting { name, what });
            }
        };
        let port = match self.find("PORT") {
            Some((name, port)) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
                let what = format!("{port:?} is no port; expected a number from 1 to 65535");
                Error::Setting { name, what }
            })?,
            None if https => 443,
            None => 8080,
        };
        let path = self.text("SERVER_PATH").unwrap_or_default();
        let path = path.trim_matches('/');
        Ok(Settings {
            connection: Connection::Http,
            app_id: self.needed("APP_ID")?,
            app_key: Some(key),
            host: self.text("HOST").unwrap_or_else(|| default.host.clone()),
            port,
            https,
            path: if path.is_empty() { String::new() } else { format!("/{path}") },
            ..default.clone()
        })
    }

    /// Past the nodes' HTTP API, over the bus that they share.
    #[cfg(feature = "bus")]
    fn bus(&self, _connection: &str) -> Result<Settings, Error> {
        let shared = Variables { get: self.get, prefixes: &["CLARIM_", ""] };
        let (name, url) = self
            .find("SCALING_URL")
            .or_else(|| shared.find("REDIS_URL"))
            .unwrap_or_else(|| ("REDIS_URL".to_owned(), "redis://127.0.0.1:6379".to_owned()));
        let address = clarim_bus::Bus::parse(&url)
            .map_err(|error| Error::Setting { name, what: error.to_string() })?;
        let prefix = self.text("SCALING_CHANNEL").unwrap_or_else(|| "reverb".to_owned());
        Ok(Settings {
            bus: Some(crate::publisher::BusSettings { address, prefix }),
            app_id: self.needed("APP_ID")?,
            ..self.quiet(Connection::Bus)
        })
    }

    #[cfg(not(feature = "bus"))]
    fn bus(&self, connection: &str) -> Result<Settings, Error> {
        let what = "redis and nats need the feature `bus` of the crate clarim".to_owned();
        Err(Error::Setting { name: connection.to_owned(), what })
    }

    /// Nothing is sent, but what is needed to authorize is taken along where it is there.
    fn quiet(&self, connection: Connection) -> Settings {
        let key = self.text("APP_KEY").zip(self.text("APP_SECRET"));
        Settings {
            connection,
            app_id: self.text("APP_ID").unwrap_or_default(),
            app_key: key.map(|(key, secret)| AppKey::new(key, secret)),
            ..Settings::default()
        }
    }
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("prefixes", &self.prefixes).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
