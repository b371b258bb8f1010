//! The URL of a bus.

use std::io;

/// Why a URL is not the address of a bus. No message contains a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBusUrl {
    /// The text has no scheme.
    #[error("not a URL; expected for example redis://host:6379")]
    NotAUrl,
    /// The scheme belongs to no backend.
    #[error(
        "unknown scheme {scheme}://; expected redis://, rediss://, redis-cluster://, redis-sentinel://, \
         nats:// or nats+tls://"
    )]
    UnknownScheme {
        /// The scheme.
        scheme: String,
    },
    /// The scheme's backend was not compiled in.
    #[error("{scheme}:// needs the feature `{feature}` of the crate clarim-bus")]
    MissingFeature {
        /// The scheme.
        scheme: String,
        /// The Cargo feature to enable.
        feature: &'static str,
    },
    /// The URL names no host.
    #[error("missing host; expected for example {scheme}://host")]
    MissingHost {
        /// The scheme.
        scheme: String,
    },
    /// The URL of a single server names several hosts.
    #[error(
        "several hosts; use {scheme}-cluster:// for a Redis Cluster or {scheme}-sentinel:// for Sentinels"
    )]
    SeveralHosts {
        /// `redis` or `rediss`.
        scheme: String,
    },
    /// The URL of Sentinels does not say which master they watch.
    #[error("missing master name; expected for example {scheme}-sentinel://host:26379/mymaster")]
    MissingMaster {
        /// `redis` or `rediss`.
        scheme: String,
    },
    /// Host, port, user or database are not what Redis accepts.
    #[error("not a Redis address; expected for example {scheme}://user:password@host:6379/0")]
    InvalidRedis {
        /// `redis` or `rediss`.
        scheme: String,
    },
    /// What follows a Sentinel's last colon is not a port.
    #[error("invalid port in {host}; expected for example host:26379")]
    InvalidPort {
        /// The Sentinel's host and port.
        host: String,
        /// Why the port was refused.
        source: std::num::ParseIntError,
    },
    /// Host or port are not what NATS accepts.
    #[error("{host} is not a host with a port; expected for example localhost:4222")]
    InvalidNats {
        /// The host and port.
        host: String,
        /// Why they were refused.
        source: io::Error,
    },
    /// The file of NATS credentials cannot be read.
    #[error("cannot read the credentials file {path}: {source}")]
    UnreadableCredentials {
        /// Path to the file.
        path: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The file of a private certificate authority cannot be read.
    #[error("cannot read the certificate authority {path}: {source}")]
    UnreadableAuthority {
        /// Path to the file.
        path: String,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// The file of a private certificate authority contains no certificate.
    #[error("{path} contains no valid certificate; expected PEM: -----BEGIN CERTIFICATE-----")]
    InvalidAuthority {
        /// Path to the file.
        path: String,
    },
    /// A certificate authority is given for a connection without TLS.
    #[error("?ca= needs TLS, but {scheme}:// has none; use rediss:// or tls://")]
    AuthorityWithoutTls {
        /// The scheme.
        scheme: String,
    },
}

impl InvalidBusUrl {
    /// The error's stable code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAUrl => "bus_url_not_a_url",
            Self::UnknownScheme { .. } => "bus_url_unknown_scheme",
            Self::MissingFeature { .. } => "bus_url_missing_feature",
            Self::MissingHost { .. } => "bus_url_missing_host",
            Self::SeveralHosts { .. } => "bus_url_several_hosts",
            Self::MissingMaster { .. } => "bus_url_missing_master",
            Self::InvalidRedis { .. } => "bus_url_invalid_redis",
            Self::InvalidPort { .. } => "bus_url_invalid_port",
            Self::InvalidNats { .. } => "bus_url_invalid_nats",
            Self::UnreadableCredentials { .. } => "bus_url_unreadable_credentials",
            Self::UnreadableAuthority { .. } => "bus_url_unreadable_authority",
            Self::InvalidAuthority { .. } => "bus_url_invalid_authority",
            Self::AuthorityWithoutTls { .. } => "bus_url_authority_without_tls",
        }
    }
}

/// A private certificate authority, which is trusted in place of those of the system.
#[cfg_attr(
    not(all(feature = "redis", feature = "nats")),
    allow(dead_code, reason = "not every backend reads every part")
)]
pub(crate) struct Authority {
    pub(crate) path: String,
    pub(crate) pem: Vec<u8>,
}

/// A URL with one or more hosts. The usual URL parsers accept only one.
#[cfg_attr(
    not(all(feature = "redis", feature = "nats")),
    allow(dead_code, reason = "not every backend reads every part")
)]
pub(crate) struct Url<'a> {
    pub(crate) scheme: &'a str,
    /// What stands before the `@`, percent-encoded.
    pub(crate) login: &'a str,
    pub(crate) hosts: Vec<&'a str>,
    pub(crate) path: &'a str,
    query: Vec<(&'a str, String)>,
}

impl<'a> Url<'a> {
    pub(crate) fn parse(url: &'a str) -> Result<Self, InvalidBusUrl> {
        let (scheme, rest) = url.split_once("://").ok_or(InvalidBusUrl::NotAUrl)?;
        // NATS itself calls it tls://, which other programs take for Redis.
        let scheme = if scheme == "nats+tls" { "tls" } else { scheme };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).filter(|h| !h.is_empty()).collect();
        if hosts.is_empty() {
            return Err(InvalidBusUrl::MissingHost { scheme: scheme.to_owned() });
        }
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = query.map(|(name, value)| (name, decode(value))).collect();
        Ok(Self { scheme, login, hosts, path, query })
    }

    /// The certificate authority that the parameter `ca` names.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(crate) fn authority(&self) -> Result<Option<Authority>, InvalidBusUrl> {
        let Some(path) = self.parameter("ca").map(str::to_owned) else { return Ok(None) };
        if !self.is_tls() {
            return Err(InvalidBusUrl::AuthorityWithoutTls { scheme: self.scheme.to_owned() });
        }
        match std::fs::read(&path) {
            Err(source) => Err(InvalidBusUrl::UnreadableAuthority { path, source }),
            Ok(pem) if String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") => {
                Ok(Some(Authority { path, pem }))
            }
            Ok(_) => Err(InvalidBusUrl::InvalidAuthority { path }),
        }
    }

    /// Whether the scheme stands for a connection with TLS.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(crate) fn is_tls(&self) -> bool {
        self.scheme.starts_with("rediss") || self.scheme == "tls"
    }

    #[cfg(not(all(feature = "redis", feature = "nats")))]
    pub(crate) fn needs_feature(&self, feature: &'static str) -> InvalidBusUrl {
        InvalidBusUrl::MissingFeature { scheme: self.scheme.to_owned(), feature }
    }

    /// The value of a query parameter, decoded.
    #[cfg(any(feature = "redis", feature = "nats"))]
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// The text of a percent-encoded part.
pub(crate) fn decode(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}
