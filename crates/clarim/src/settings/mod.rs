//! Settings of the application's side of broadcasting.

#[cfg(test)]
mod tests;

use std::time::Duration;

use clarim_protocol::auth::AppKey;

use crate::encryption::MasterKey;
use crate::error::Error;
use crate::jobs::connection::QueueConnection;
use crate::variables::Variables;

/// The way in which events leave the application: the values of `BROADCAST_CONNECTION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Connection {
    /// `reverb`, `pusher`: to a server of the protocol, over HTTP.
    Http,
    /// `embedded`: to a server in this process. Needs the feature `embedded`.
    Embedded,
    /// `redis`, `nats`: to the bus of a cluster. Needs the feature `bus`.
    Bus,
    /// `log`: into the application's log only.
    Log,
    /// `null`: nowhere.
    Null,
}

/// Settings of the application's side of broadcasting.
///
/// ```
/// use clarim::Settings;
///
/// let settings = Settings::http("100001", "key", "secret").port(6001);
/// assert_eq!(settings.host, "127.0.0.1");
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The way in which events leave the application.
    pub connection: Connection,
    /// The queue's connection.
    pub queue: QueueConnection,
    /// The app's id on the server.
    pub app_id: String,
    /// The app's key and secret, which sign events and authorizations.
    pub app_key: Option<AppKey>,
    /// The server's host.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// Whether to use TLS to the server.
    pub https: bool,
    /// Prefix of the server's paths: empty, or like `/x`.
    pub path: String,
    /// The bus of a cluster, for [`Connection::Bus`].
    #[cfg(feature = "bus")]
    pub bus: Option<crate::publisher::bus::BusSettings>,
    /// The master key of encrypted channels.
    pub master_key: Option<MasterKey>,
    /// Namespace of event names. Echo's option `namespace` must be the same.
    pub namespace: String,
    /// Maximum size of an event's data, in bytes. The server has its own limit, which should not be smaller.
    pub max_data_bytes: usize,
    /// Timeout for connecting to the server.
    pub connect_timeout: Duration,
    /// Timeout for one publication, all attempts included.
    pub timeout: Duration,
}

impl Default for Settings {
    /// Settings that publish nowhere, without an app.
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
    /// Settings for a server on this machine, at its default port.
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

    /// Settings for the bus of a cluster.
    #[cfg(feature = "bus")]
    pub fn bus(bus: crate::publisher::bus::BusSettings, app_id: impl Into<String>) -> Self {
        Self {
            connection: Connection::Bus,
            app_id: app_id.into(),
            bus: Some(bus),
            ..Self::default()
        }
    }

    /// Sets the queue's connection.
    #[must_use]
    pub fn queue(self, queue: QueueConnection) -> Self {
        Self { queue, ..self }
    }

    /// Sets the app's key and secret.
    #[must_use]
    pub fn app_key(self, key: AppKey) -> Self {
        Self { app_key: Some(key), ..self }
    }

    /// Sets the server's host.
    #[must_use]
    pub fn host(self, host: impl Into<String>) -> Self {
        Self { host: host.into(), ..self }
    }

    /// Sets the server's port.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// Sets whether to use TLS to the server.
    #[must_use]
    pub fn https(self, https: bool) -> Self {
        Self { https, ..self }
    }

    /// Sets the prefix of the server's paths, like `/x`.
    #[must_use]
    pub fn path(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    /// Sets the master key of encrypted channels.
    #[must_use]
    pub fn master_key(self, key: MasterKey) -> Self {
        Self { master_key: Some(key), ..self }
    }

    /// Sets the namespace of event names.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Sets the maximum size of an event's data, in bytes.
    #[must_use]
    pub fn max_data_bytes(self, bytes: usize) -> Self {
        Self { max_data_bytes: bytes, ..self }
    }

    /// Sets the timeout for connecting to the server.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self { connect_timeout: timeout, ..self }
    }

    /// Sets the timeout for one publication, all attempts included.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Reads the environment. Load a `.env` file into it first, for example with the crate `dotenvy`.
    ///
    /// | variable | meaning | default |
    /// |---|---|---|
    /// | `BROADCAST_CONNECTION` | `reverb`, `pusher`, `embedded`, `redis`, `nats`, `log`, `null` | below |
    /// | `REVERB_APP_ID`, `REVERB_APP_KEY`, `REVERB_APP_SECRET` | the app | required |
    /// | `REVERB_HOST` | the server's host | `127.0.0.1` |
    /// | `REVERB_PORT` | the server's port | 8080; with https 443 |
    /// | `REVERB_SCHEME` | `http` or `https` | `http` |
    /// | `REVERB_SERVER_PATH` | prefix of the server's paths | none |
    /// | `CLARIM_SCALING_URL`, or `REDIS_URL` | with `redis`, `nats`: the nodes' bus | as below |
    /// | `REVERB_SCALING_CHANNEL` | with `redis`, `nats`: prefix of names on the bus | `reverb` |
    /// | `PUSHER_ENCRYPTION_MASTER_KEY_BASE64` | master key of encrypted channels | none |
    /// | `QUEUE_CONNECTION` | the queue: `memory`, `sqlite`, `postgres`, `redis` | `memory` |
    /// | `DATABASE_URL`, or `DB_URL` | for `sqlite`: a file | `sqlite:queue.sqlite` |
    /// | | for `postgres`: `postgres://user:password@host/database` | required |
    /// | `REDIS_URL` | for `redis`: `redis://:password@host:port/database` | the parts below |
    /// | `REDIS_HOST`, `_PORT`, `_SCHEME`, `_USERNAME`, `_PASSWORD`, `_DB` | its parts | `127.0.0.1`, … |
    ///
    /// The default of `BROADCAST_CONNECTION` is `reverb` if `REVERB_APP_KEY` is set, and otherwise `log`.
    /// `CLARIM_…` takes precedence over `REVERB_…`. `CLARIM_QUEUE_CONNECTION`, `CLARIM_DATABASE_URL` and
    /// `CLARIM_REDIS_URL` take precedence over the variables of another queue in the same application. With
    /// `pusher` the server's variables begin with `PUSHER_`, and the default host is that of
    /// `PUSHER_APP_CLUSTER` at Pusher, with https.
    ///
    /// # Errors
    /// Returns [`Error::Setting`] with the variable's name and the expected value.
    pub fn from_env() -> Result<Self, Error> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Reads variables like [`from_env`](Self::from_env), from any source.
    ///
    /// # Errors
    /// Returns [`Error::Setting`] with the variable's name and the expected value.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let variables = |prefixes| Variables { get: &get, prefixes };
        let reverb = variables(&["CLARIM_", "REVERB_"]);
        let master_key = master_key(&variables(&["PUSHER_"]))?;
        let (name, value) = variables(&[""]).find("BROADCAST_CONNECTION").unwrap_or_else(|| {
            let known = reverb.find("APP_KEY").is_some();
            ("BROADCAST_CONNECTION".to_owned(), if known { "reverb" } else { "log" }.to_owned())
        });
        let settings = match value.as_str() {
            "reverb" => over_http(&reverb, Self::default())?,
            "pusher" => {
                let pusher = variables(&["PUSHER_"]);
                let cluster = pusher.text("APP_CLUSTER").unwrap_or_else(|| "mt1".to_owned());
                over_http(&pusher, pusher_cluster(&cluster))?
            }
            "redis" | "nats" => over_bus(&reverb, &name)?,
            "embedded" => Self { connection: Connection::Embedded, ..Self::default() },
            "log" => without_server(&reverb, Connection::Log),
            "null" => without_server(&reverb, Connection::Null),
            other => {
                let problem = format!(
                    "{other:?} is unknown; expected reverb, pusher, embedded, redis, nats, log or null"
                );
                return Err(Error::setting(name, problem));
            }
        };
        let queue = QueueConnection::read(&variables(&["CLARIM_", ""]))?;
        Ok(Self { master_key, queue, ..settings })
    }

    /// The app's key, for signing.
    pub(crate) fn signing_key(&self) -> Result<&AppKey, Error> {
        self.app_key.as_ref().ok_or_else(|| {
            Error::setting("REVERB_APP_KEY", "set the app's key and secret; nothing can be signed")
        })
    }
}

fn pusher_cluster(cluster: &str) -> Settings {
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
    // The value is a secret and must not be shown.
    let problem = "is not 32 bytes in base64; create a key with: openssl rand -base64 32";
    MasterKey::from_base64(&text).map(Some).ok_or_else(|| Error::setting(name, problem))
}

fn over_http(variables: &Variables<'_>, default: Settings) -> Result<Settings, Error> {
    let key = AppKey::new(variables.required("APP_KEY")?, variables.required("APP_SECRET")?);
    let https = match variables.find("SCHEME") {
        None => default.https,
        Some((_, scheme)) if scheme == "https" => true,
        Some((_, scheme)) if scheme == "http" => false,
        Some((name, scheme)) => {
            let problem = format!("{scheme:?} is unknown; expected http or https");
            return Err(Error::setting(name, problem));
        }
    };
    let port = match variables.find("PORT") {
        Some((name, port)) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
            let problem = format!("{port:?} is not a port; expected a number from 1 to 65535");
            Error::setting(name, problem)
        })?,
        None if https => 443,
        None => 8080,
    };
    let path = variables.text("SERVER_PATH").unwrap_or_default();
    let path = path.trim_matches('/');
    Ok(Settings {
        connection: Connection::Http,
        app_id: variables.required("APP_ID")?,
        app_key: Some(key),
        host: variables.text("HOST").unwrap_or_else(|| default.host.clone()),
        port,
        https,
        path: if path.is_empty() { String::new() } else { format!("/{path}") },
        ..default
    })
}

#[cfg(feature = "bus")]
fn over_bus(variables: &Variables<'_>, _connection: &str) -> Result<Settings, Error> {
    let shared = Variables { get: variables.get, prefixes: &["CLARIM_", ""] };
    let (name, url) = match variables.find("SCALING_URL") {
        Some(typed) => typed,
        None => crate::redis_url::read(&shared)?,
    };
    let address =
        clarim_bus::Bus::parse(&url).map_err(|error| Error::setting(name, error.to_string()))?;
    let prefix = variables.text("SCALING_CHANNEL").unwrap_or_else(|| "reverb".to_owned());
    Ok(Settings {
        bus: Some(crate::publisher::bus::BusSettings::new(address, prefix)),
        app_id: variables.required("APP_ID")?,
        ..without_server(variables, Connection::Bus)
    })
}

#[cfg(not(feature = "bus"))]
fn over_bus(_: &Variables<'_>, connection: &str) -> Result<Settings, Error> {
    Err(Error::setting(connection, "redis and nats need the feature `bus` of the crate clarim"))
}

/// Settings without a server. The app is read if it is set, since authorizations are signed with it.
fn without_server(variables: &Variables<'_>, connection: Connection) -> Settings {
    let key = variables.text("APP_KEY").zip(variables.text("APP_SECRET"));
    Settings {
        connection,
        app_id: variables.text("APP_ID").unwrap_or_default(),
        app_key: key.map(|(key, secret)| AppKey::new(key, secret)),
        ..Settings::default()
    }
}
