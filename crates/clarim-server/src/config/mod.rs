//! The configuration of a server.
//!
//! Where the values come from is the program's affair: the crate `clarim-config` reads them from files and
//! environment variables.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;

mod capacity;
mod token;
mod webhook;

pub(crate) use capacity::FOR_HTTP;
pub use clarim_bus::Bus;
pub use clarim_hub::cluster::OnGap;
pub use token::Token;
pub use webhook::Webhook;
pub(crate) use webhook::hooks;

/// Configuration of a server as a whole. The configuration of one app is in [`App`](crate::App).
///
/// ```
/// use std::time::Duration;
/// use clarim_server::config::{ServerConfig, Tls};
///
/// let config = ServerConfig::default()
///     .port(443)
///     .tls(Tls::new("fullchain.pem", "privkey.pem"))
///     .drain(Duration::from_secs(30));
/// assert_eq!(config.port, 443);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 for any free port.
    pub port: u16,
    /// Prefix of all paths: "" or "/x".
    pub path: String,
    /// Maximum size of an HTTP request body, in bytes.
    pub max_request_bytes: usize,
    /// Certificate and key; `None` serves without TLS.
    pub tls: Option<Tls>,
    /// Number of worker threads.
    pub workers: NonZeroU16,
    /// Time over which clients are disconnected during a shutdown.
    pub drain: Duration,
    /// Whether the next process listens at the same address as soon as this one has ended, as under
    /// supervisord and systemd. On a single node, [`drain`](Self::drain) does not count then: all clients are
    /// disconnected just before the end, with a code that makes them reconnect a second later.
    pub restarts_in_place: bool,
    /// Size of a connection's send queue, in bytes, above which a client that reads nothing for 5 s is
    /// disconnected.
    pub outbox_bytes: usize,
    /// Maximum time that a message waits in the send queue of a client that reads too slowly. Then the client
    /// is disconnected.
    pub outbox_timeout: Duration,
    /// Timeout for a handshake, and for the body of a request.
    pub handshake_timeout: Duration,
    /// Maximum number of connections of one client address, WebSockets and fallback sessions together; `None`
    /// for no limit. The address is the peer's or, if the peer is a proxy in a private network, the last one
    /// in `X-Forwarded-For`.
    pub max_connections_per_address: Option<u32>,
    /// Maximum number of handshakes of one client address per second; `None` for no limit.
    pub max_handshakes_per_address: Option<u32>,
    /// Whether clients may connect by HTTP where WebSockets are blocked: `xhr_streaming` and `xhr_polling`.
    pub fallback: bool,
    /// Whether messages are compressed for clients that offer permessage-deflate.
    pub compression: bool,
    /// Bearer token for `/metrics`; `None` disables it.
    pub metrics_token: Option<Token>,
    /// Token for the inspector; `None` disables it, except on this machine in development mode.
    pub inspector_token: Option<Token>,
    /// The cluster this server belongs to; `None` for a single node.
    pub scaling: Option<Scaling>,
    /// The file that keeps the histories of channels, so that they survive a restart and a crash. Each server
    /// needs one of its own. It is created with its directory. `None` keeps them in memory or, in a cluster,
    /// on the bus.
    pub history_path: Option<PathBuf>,
    /// Webhook endpoints of each app, by the app's id. The [`App::hooks`](clarim_hub::app::App::hooks) of
    /// apps that have some are set to match.
    pub webhooks: HashMap<String, Vec<Webhook>>,
    /// Whether webhooks may be sent to private addresses.
    pub webhook_private_addresses: bool,
    /// Directory that keeps webhooks on disk, so that they survive a crash and an endpoint that is down for
    /// up to three days. Each server needs one of its own. `None` keeps webhooks in memory, and drops those
    /// that an endpoint does not accept within five minutes.
    pub webhook_dir: Option<PathBuf>,
    /// Whether [`Server::events`](crate::Server::events) reports what happens. Subscribing gets slightly more
    /// expensive. All nodes of a cluster need the same value. There it costs as much as webhooks for all apps
    /// do: another node also subscribes to a channel that only one node has, so that it can report who left
    /// when that node dies.
    pub events: bool,
    /// URL of the collector that traces are sent to, by OTLP over HTTP.
    pub traces: Option<Uri>,
    /// Returns how many log lines the program has dropped so far, for `/metrics`.
    pub dropped_log_lines: fn() -> u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            path: String::new(),
            // An event of 100,000 bytes, even of quotes, which JSON doubles, with the names of 100 channels.
            max_request_bytes: 240_000,
            tls: None,
            workers: NonZeroU16::MIN,
            drain: Duration::from_secs(5),
            restarts_in_place: false,
            outbox_bytes: 1 << 20,
            outbox_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(10),
            max_connections_per_address: None,
            max_handshakes_per_address: None,
            fallback: true,
            compression: false,
            metrics_token: None,
            inspector_token: None,
            scaling: None,
            history_path: None,
            webhooks: HashMap::new(),
            webhook_private_addresses: true,
            webhook_dir: None,
            events: false,
            traces: None,
            dropped_log_lines: || 0,
        }
    }
}

impl ServerConfig {
    /// Number of clients that a process with this limit of open files can have. Some files are reserved for
    /// the API, probes and the process itself. Clients above it are refused with 4100.
    #[must_use]
    pub fn capacity(&self, open_files: u64) -> u64 {
        capacity::clients(open_files, self.workers)
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty),* $(,)?) => {
        impl ServerConfig {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self#structfield.", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name.into();
                    self
                }
            )*
        }
    };
}

setters! {
    host: impl Into<String>,
    port: u16,
    path: impl Into<String>,
    max_request_bytes: usize,
    tls: impl Into<Option<Tls>>,
    workers: NonZeroU16,
    drain: Duration,
    restarts_in_place: bool,
    outbox_bytes: usize,
    outbox_timeout: Duration,
    handshake_timeout: Duration,
    max_connections_per_address: impl Into<Option<u32>>,
    max_handshakes_per_address: impl Into<Option<u32>>,
    fallback: bool,
    compression: bool,
    metrics_token: impl Into<Option<Token>>,
    inspector_token: impl Into<Option<Token>>,
    scaling: impl Into<Option<Scaling>>,
    history_path: impl Into<Option<PathBuf>>,
    webhooks: HashMap<String, Vec<Webhook>>,
    webhook_private_addresses: bool,
    webhook_dir: impl Into<Option<PathBuf>>,
    events: bool,
    traces: impl Into<Option<Uri>>,
    dropped_log_lines: fn() -> u64,
}

/// Paths of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// Path to the PEM certificate chain.
    pub cert: PathBuf,
    /// Path to the PEM private key.
    pub key: PathBuf,
}

impl Tls {
    /// The PEM files at these paths.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self { cert: cert.into(), key: key.into() }
    }
}

/// How a node takes part in a cluster.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Scaling {
    /// Address of the bus between the nodes.
    pub bus: Bus,
    /// Prefix of all subjects on the bus. Nodes with the same prefix form a cluster.
    pub prefix: String,
    /// Time without a heartbeat after which a node is considered dead and its members are removed.
    pub lease: Duration,
    /// Timeout for replies from other nodes.
    pub deadline: Duration,
    /// Whether publishing is refused while the bus is down.
    pub is_strict: bool,
    /// Whether every node delivers the events of a channel in the order of the bus. If not, a node's own
    /// clients get its events one round trip to the bus earlier.
    pub is_ordered: bool,
    /// What happens to the clients of a node that was without the bus and may have missed events.
    pub on_gap: OnGap,
}

impl Scaling {
    /// A cluster on this bus, with the default of every other setting.
    #[must_use]
    pub fn new(bus: Bus) -> Self {
        Self {
            bus,
            prefix: "reverb".to_owned(),
            lease: Duration::from_secs(10),
            deadline: Duration::from_secs(1),
            is_strict: false,
            is_ordered: true,
            on_gap: OnGap::default(),
        }
    }

    /// Sets [`prefix`](Self#structfield.prefix).
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets [`lease`](Self#structfield.lease).
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Sets [`deadline`](Self#structfield.deadline).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets [`is_strict`](Self#structfield.is_strict).
    #[must_use]
    pub fn strict(mut self, is_strict: bool) -> Self {
        self.is_strict = is_strict;
        self
    }

    /// Sets [`is_ordered`](Self#structfield.is_ordered).
    #[must_use]
    pub fn ordered(mut self, is_ordered: bool) -> Self {
        self.is_ordered = is_ordered;
        self
    }

    /// Sets [`on_gap`](Self#structfield.on_gap).
    #[must_use]
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.on_gap = on_gap;
        self
    }
}
