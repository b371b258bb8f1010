//! A bus with any backend.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::Backend;
use crate::connection::Connection;
use crate::error::BusError;
use crate::event::BusEvent;
use crate::log::{Log, LogSupport};
use crate::supervisor;
use crate::url::{InvalidBusUrl, Url};

/// A bus that nodes connect to, with any backend. Clones are the same bus; `Debug` shows no password.
#[derive(Clone)]
pub struct Bus(Arc<dyn AnyBackend>);

impl Bus {
    /// A bus with this backend.
    pub fn new(backend: impl Backend) -> Self {
        Self(Arc::new(backend))
    }

    /// Parses the URL of a built-in backend:
    ///
    /// | URL | feature | |
    /// |---|---|---|
    /// | `redis://user:password@host:6379/0` | `redis` | one Redis or Valkey server |
    /// | `redis-sentinel://:password@host:26379,host:26379/mymaster` | `redis` | Redis Sentinel |
    /// | `redis-cluster://host:6379,host:6379` | `redis` | a Redis Cluster, with sharded pub/sub |
    /// | `nats://user:password@host:4222,host:4222` | `nats` | NATS |
    ///
    /// TLS: `rediss://`, `rediss-sentinel://`, `rediss-cluster://`, and `nats+tls://` or `tls://` for NATS.
    /// Sentinels with a password of their own take it from `?sentinel_password=`, and the master's database
    /// from `?db=`. NATS accepts a token in place of user and password, or `?credentials=FILE`. With TLS,
    /// `?ca=FILE` names a PEM file of certificate authorities to trust in place of those of the system.
    ///
    /// # Errors
    /// What is wrong with the URL. The error contains no password.
    ///
    /// ```
    /// use clarim_bus::Bus;
    ///
    /// # #[cfg(feature = "redis")]
    /// assert_eq!(Bus::parse("redis-cluster://a:6379,b:6379").unwrap().kind(), "redis-cluster");
    /// let error = Bus::parse("http://localhost").unwrap_err();
    /// assert!(error.to_string().starts_with("unknown scheme http://"));
    /// ```
    pub fn parse(url: &str) -> Result<Self, InvalidBusUrl> {
        let url = Url::parse(url)?;
        match url.scheme {
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis-cluster" | "rediss-cluster" | "redis-sentinel"
            | "rediss-sentinel" => crate::redis::servers_from_url(&url).map(Self::new),
            #[cfg(not(feature = "redis"))]
            "redis" | "rediss" | "redis-cluster" | "rediss-cluster" | "redis-sentinel"
            | "rediss-sentinel" => Err(url.needs_feature("redis")),
            #[cfg(feature = "nats")]
            "nats" | "tls" => crate::nats::servers_from_url(&url).map(Self::new),
            #[cfg(not(feature = "nats"))]
            "nats" | "tls" => Err(url.needs_feature("nats")),
            scheme => Err(InvalidBusUrl::UnknownScheme { scheme: scheme.to_owned() }),
        }
    }

    /// Connects in the background, and keeps the connection up.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Arc::clone(&self.0).connect()
    }

    /// The backend's name, such as `redis-cluster`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.kind()
    }

    /// Lists the subjects that have subscribers and match `pattern`, in which `*` matches anything; each
    /// once. `None` if the backend has no such list.
    ///
    /// # Errors
    /// Why the server could not be asked.
    pub async fn subjects(&self, pattern: &str) -> Result<Option<Vec<String>>, BusError> {
        self.0.subjects(pattern).await
    }

    /// Checks whether the server keeps logs, by an empty entry in this one. Not for a log that is in use.
    ///
    /// # Errors
    /// Why the server could not be asked, or cannot take an entry at the moment.
    pub async fn check_logs(&self, log: &Log) -> Result<LogSupport, BusError> {
        let support = self.0.check_logs(log).await?;
        if matches!(support, LogSupport::Missing(_)) {
            return Ok(support);
        }
        let mut connection = self.connect();
        loop {
            match connection.next().await {
                BusEvent::Connected => connection.append(log, Bytes::new(), None, 0),
                BusEvent::Appended { .. } => return Ok(support),
                BusEvent::Refused { error: error @ BusError::LogsUnsupported(_), .. } => {
                    return Ok(LogSupport::Missing(error));
                }
                // Others pass, such as a full memory.
                BusEvent::Refused { error, .. } | BusEvent::Disconnected(error) => {
                    return Err(error);
                }
                _ => {}
            }
        }
    }
}

impl<B: Backend> From<B> for Bus {
    fn from(backend: B) -> Self {
        Self::new(backend)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bus({})", self.kind())
    }
}

/// A [`Backend`] whose type is erased.
trait AnyBackend: Send + Sync {
    fn kind(&self) -> &'static str;

    fn connect(self: Arc<Self>) -> Connection;

    fn subjects<'a>(&'a self, pattern: &'a str) -> Answer<'a, Option<Vec<String>>>;

    fn check_logs<'a>(&'a self, log: &'a Log) -> Answer<'a, LogSupport>;
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send + 'a>>;

impl<B: Backend> AnyBackend for B {
    fn kind(&self) -> &'static str {
        Backend::kind(self)
    }

    fn connect(self: Arc<Self>) -> Connection {
        supervisor::connect(self)
    }

    fn subjects<'a>(&'a self, pattern: &'a str) -> Answer<'a, Option<Vec<String>>> {
        Box::pin(Backend::subjects(self, pattern))
    }

    fn check_logs<'a>(&'a self, log: &'a Log) -> Answer<'a, LogSupport> {
        Box::pin(Backend::check_logs(self, log))
    }
}
