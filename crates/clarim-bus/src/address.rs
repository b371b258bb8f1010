//! Where a bus is, out of one URL.

use std::fmt;

use bytes::Bytes;

use crate::line::Line;
use crate::{Bus, Event, MemoryBus, MemoryConnection, Ticket};

/// Where a bus is, and how to get in. Its `Debug` shows no password.
#[derive(Clone)]
pub struct Address(Kind);

#[derive(Clone)]
enum Kind {
    Memory(MemoryBus),
    #[cfg(feature = "redis")]
    Redis(crate::redis::Servers),
    #[cfg(feature = "nats")]
    Nats(crate::nats::Servers),
}

/// A connection to a bus of any kind.
#[derive(Debug)]
pub struct Connection(Either);

#[derive(Debug)]
enum Either {
    Memory(MemoryConnection),
    Line(Line),
}

impl From<MemoryBus> for Address {
    fn from(bus: MemoryBus) -> Self {
        Self(Kind::Memory(bus))
    }
}

impl Address {
    /// Reads a URL: `redis://user:password@host:6379/0` and `rediss://` with TLS,
    /// `redis-sentinel://:password@host:26379,host:26379/master` (`rediss-sentinel://`),
    /// `redis-cluster://host:6379,host:6379` (`rediss-cluster://`), and
    /// `nats://user:password@host:4222,host:4222`, or `tls://` for NATS with TLS.
    ///
    /// The password of Sentinels that have one of their own is in `?sentinel_password=`, and their master's
    /// database in `?db=`. NATS takes a token in place of user and password, and `?credentials=FILE`.
    ///
    /// # Errors
    /// Says what is wrong with it, and what would be right; never shows a password.
    ///
    /// ```
    /// use clarim_bus::Address;
    ///
    /// assert!(Address::parse("redis-cluster://a:6379,b:6379").is_ok());
    /// let error = Address::parse("http://localhost").unwrap_err();
    /// assert!(error.to_string().starts_with("http:// is no kind of bus"));
    /// ```
    pub fn parse(url: &str) -> Result<Self, InvalidAddress> {
        let parts = Parts::of(url)?;
        match parts.scheme {
            #[cfg(feature = "redis")]
            "redis" | "rediss" | "redis-cluster" | "rediss-cluster" | "redis-sentinel"
            | "rediss-sentinel" => parts.redis().map(|servers| Self(Kind::Redis(servers))),
            #[cfg(feature = "nats")]
            "nats" | "tls" => parts.nats().map(|servers| Self(Kind::Nats(servers))),
            other => Err(InvalidAddress(format!(
                "{other}:// is no kind of bus; there are redis://, rediss://, redis-cluster://, redis-sentinel://, nats:// and tls://"
            ))),
        }
    }

    /// A connection to it, which is sought at once, on the runtime that this is called in.
    ///
    /// # Panics
    /// Outside of a tokio runtime, unless the bus is in this process.
    #[must_use]
    pub fn connect(&self) -> Connection {
        Connection(match &self.0 {
            Kind::Memory(bus) => Either::Memory(bus.connect()),
            #[cfg(feature = "redis")]
            Kind::Redis(servers) => Either::Line(crate::keeper::keep(servers.clone())),
            #[cfg(feature = "nats")]
            Kind::Nats(servers) => Either::Line(crate::keeper::keep(servers.clone())),
        })
    }

    /// The subjects that somebody listens to and that fit `pattern`, where `*` stands for anything; each
    /// once. `None`: the bus does not tell.
    ///
    /// # Errors
    /// Why the bus could not be asked.
    pub async fn listened(&self, pattern: &str) -> Result<Option<Vec<String>>, String> {
        #[cfg(feature = "redis")]
        if let Kind::Redis(servers) = &self.0 {
            return servers.listened(pattern).await.map(Some);
        }
        let _ = pattern;
        Ok(None)
    }

    /// What kind of bus it is, for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.0 {
            Kind::Memory(_) => "memory",
            #[cfg(feature = "redis")]
            Kind::Redis(crate::redis::Servers::One(_)) => "redis",
            #[cfg(feature = "redis")]
            Kind::Redis(crate::redis::Servers::Watched(_)) => "redis-sentinel",
            #[cfg(feature = "redis")]
            Kind::Redis(crate::redis::Servers::Cluster(_)) => "redis-cluster",
            #[cfg(feature = "nats")]
            Kind::Nats(_) => "nats",
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.kind())
    }
}

/// Why a URL is no address of a bus.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAddress(String);

fn wrong(what: impl fmt::Display) -> InvalidAddress {
    InvalidAddress(what.to_string())
}

/// A URL with several hosts, which no parser of URLs takes.
struct Parts<'a> {
    scheme: &'a str,
    /// As it stands before the `@`, still encoded.
    login: &'a str,
    hosts: Vec<&'a str>,
    path: &'a str,
    query: Vec<(&'a str, String)>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Result<Self, InvalidAddress> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("is no URL; it would be like redis://host:6379"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).filter(|h| !h.is_empty()).collect();
        if hosts.is_empty() {
            return Err(wrong(format!("names no host; it would be like {scheme}://host")));
        }
        let query =
            query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| {
                (name, percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned())
            });
        Ok(Self { scheme, login, hosts, path, query: query.collect() })
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(feature = "redis")]
impl Parts<'_> {
    fn redis(&self) -> Result<crate::redis::Servers, InvalidAddress> {
        use crate::redis::{Servers, Watched, info};

        let is_tls = self.scheme.starts_with("rediss");
        let plain = if is_tls { "rediss" } else { "redis" };
        let login = if self.login.is_empty() { String::new() } else { format!("{}@", self.login) };
        let database = match (self.get("db"), self.scheme.ends_with("sentinel")) {
            (Some(database), _) => database,
            (None, true) => "",
            (None, false) => self.path,
        };
        // The library's own words may quote the URL.
        let unreadable = |_| {
            wrong(format!(
                "is no address of Redis; it would be like {plain}://user:password@host:6379/0"
            ))
        };
        let servers = self
            .hosts
            .iter()
            .map(|host| info(&format!("{plain}://{login}{host}/{database}")).map_err(unreadable));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        if self.scheme.ends_with("cluster") {
            return Ok(Servers::Cluster(servers.into()));
        }
        let first = servers.first().ok_or_else(|| wrong("names no host"))?;
        if !self.scheme.ends_with("sentinel") {
            if servers.len() > 1 {
                return Err(wrong(format!(
                    "names several hosts; for a cluster it would be {plain}-cluster://, for Sentinels {plain}-sentinel://"
                )));
            }
            return Ok(Servers::One(std::sync::Arc::new(first.clone())));
        }
        if self.path.is_empty() {
            return Err(wrong(format!(
                "does not say which master; it would be like {plain}-sentinel://host:26379/mymaster"
            )));
        }
        Ok(Servers::Watched(std::sync::Arc::new(Watched {
            sentinels: {
                let sentinels = self.hosts.iter().map(|host| sentinel(host, is_tls));
                sentinels.collect::<Result<_, _>>()?
            },
            master: self.path.to_owned(),
            login: first.redis_settings().clone(),
            sentinel_password: self.get("sentinel_password").map(str::to_owned),
            is_tls,
        })))
    }
}

#[cfg(feature = "redis")]
fn sentinel(host: &str, is_tls: bool) -> Result<redis::ConnectionAddr, InvalidAddress> {
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "26379"));
    let port = port.parse().map_err(|_| wrong(format!("{host} has no port number at its end")))?;
    let host = name.trim_matches(['[', ']']).to_owned();
    Ok(if is_tls {
        redis::ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        redis::ConnectionAddr::Tcp(host, port)
    })
}

#[cfg(feature = "nats")]
impl Parts<'_> {
    fn nats(&self) -> Result<crate::nats::Servers, InvalidAddress> {
        use crate::nats::{Login, Servers};

        let text = |part: &str| {
            percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
        };
        let login = match (self.get("credentials"), self.login.split_once(':')) {
            (Some(file), _) => {
                Login::Credentials(std::fs::read_to_string(file).map_err(|error| {
                    wrong(format!("the file {file} with the credentials cannot be read: {error}"))
                })?)
            }
            (None, Some((user, password))) => Login::Password(text(user), text(password)),
            (None, None) if !self.login.is_empty() => Login::Token(text(self.login)),
            (None, None) => Login::Nothing,
        };
        let addresses = self.hosts.iter().map(|host| {
            let address = format!("{}://{host}", self.scheme).parse();
            address
                .map_err(|_| wrong(format!("{host} is no host with a port, as in localhost:4222")))
        });
        let addresses = addresses.collect::<Result<_, _>>()?;
        Ok(Servers { addresses, login, is_tls: self.scheme == "tls" })
    }
}

impl Bus for Connection {
    fn subscribe(&mut self, subject: &str) {
        match &mut self.0 {
            Either::Memory(bus) => bus.subscribe(subject),
            Either::Line(bus) => bus.subscribe(subject),
        }
    }

    fn unsubscribe(&mut self, subject: &str) {
        match &mut self.0 {
            Either::Memory(bus) => bus.unsubscribe(subject),
            Either::Line(bus) => bus.unsubscribe(subject),
        }
    }

    fn publish(&mut self, subject: &str, message: Bytes, ticket: Ticket) {
        match &mut self.0 {
            Either::Memory(bus) => bus.publish(subject, message, ticket),
            Either::Line(bus) => bus.publish(subject, message, ticket),
        }
    }

    async fn next(&mut self) -> Event {
        match &mut self.0 {
            Either::Memory(bus) => bus.next().await,
            Either::Line(bus) => bus.next().await,
        }
    }
}
