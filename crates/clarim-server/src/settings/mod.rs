//! What the settings mean.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

/// Certificate and key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// Settings of the server as a whole.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0: any.
    pub port: u16,
    /// Prefix of all paths: "" or "/x".
    pub path: String,
    /// Bytes of an HTTP request body.
    pub max_request_bytes: usize,
    /// Serve TLS.
    pub tls: Option<Tls>,
    /// Threads.
    pub workers: NonZeroU16,
    /// Time over which clients are sent away at the end.
    pub drain: Duration,
    /// Unsent bytes of a connection.
    pub outbox_bytes: usize,
    /// Time for a handshake, or for a request's body.
    pub handshake_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            path: String::new(),
            max_request_bytes: 100_000,
            tls: None,
            workers: NonZeroU16::MIN,
            drain: Duration::from_secs(5),
            outbox_bytes: 1 << 20,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}
