//! Options of the client.

use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::rest::encode_segment;

use crate::authorizer::Authorizer;
use crate::error::Error;
use crate::machine::Timing;

/// Options of a client: the server's address, and how the client behaves.
///
/// ```
/// use clarim_client::{HttpAuthorizer, Options};
///
/// let options = Options::new("my-key")
///     .host("ws.example.com", 443)
///     .tls(true)
///     .authorizer(HttpAuthorizer::new("https://app.example.com/broadcasting/auth")?);
/// # Ok::<(), clarim_client::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) key: String,
    host: String,
    port: u16,
    tls: bool,
    path: String,
    pub(crate) namespace: String,
    pub(crate) authorizer: Option<Arc<dyn Authorizer>>,
    pub(crate) authorization_timeout: Duration,
    pub(crate) buffer: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) timing: Timing,
}

impl Options {
    /// Options for the app with this key, on a server on this machine at its default port.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            host: "127.0.0.1".to_owned(),
            port: 8080,
            tls: false,
            path: String::new(),
            namespace: "App\\Events".to_owned(),
            authorizer: None,
            authorization_timeout: Duration::from_secs(10),
            buffer: 1024,
            max_message_bytes: 16 << 20,
            timing: Timing::default(),
        }
    }

    /// Sets the server's host and port. Default: `127.0.0.1`, 8080.
    #[must_use]
    pub fn host(self, host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, ..self }
    }

    /// Sets whether to use TLS, with the system's CA certificates. Default: no.
    #[must_use]
    pub fn tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// Sets the prefix of the server's paths, like `REVERB_SERVER_PATH`.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        let path = path.trim_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Self { path, ..self }
    }

    /// Sets the namespace of event names that begin with neither a dot nor a backslash. Default:
    /// `App\Events`, as in Echo.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Sets the authorizer, which signs subscriptions. Without one, only public channels are accessible.
    #[must_use]
    pub fn authorizer(self, authorizer: impl Authorizer) -> Self {
        Self { authorizer: Some(Arc::new(authorizer)), ..self }
    }

    /// Sets the timeout for an authorization. Default: 10 s.
    #[must_use]
    pub fn authorization_timeout(self, time: Duration) -> Self {
        Self { authorization_timeout: time, ..self }
    }

    /// Sets the number of updates that a channel buffers for each handle. Further ones are lost, and reported
    /// as [`Update::Missed`](crate::Update::Missed). Default: 1024.
    #[must_use]
    pub fn buffer(self, updates: usize) -> Self {
        Self { buffer: updates.max(1), ..self }
    }

    /// Sets the time without messages after which the client pings the server (default: 120 s, the server may
    /// set a shorter one), and the timeout for the pong (default: 30 s).
    #[must_use]
    pub fn activity_timeout(mut self, silence: Duration, pong: Duration) -> Self {
        self.timing.activity = silence;
        self.timing.pong = pong;
        self
    }

    /// Sets the first delay before a reconnection (default: 1 s) and the longest (default: 30 s). The delay
    /// doubles with each attempt, and jitter shortens it by up to a half.
    #[must_use]
    pub fn reconnect_after(mut self, first: Duration, longest: Duration) -> Self {
        self.timing.first_delay = first;
        self.timing.longest_delay = longest.max(first);
        self
    }

    /// The URL of the connection.
    pub(crate) fn url(&self) -> Result<hyper::Uri, Error> {
        let scheme = if self.tls { "wss" } else { "ws" };
        let Self { host, port, path, key, .. } = self;
        let host = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let query = format!("protocol=7&client=clarim-client&version={version}");
        let segment = encode_segment(key);
        let url = format!("{scheme}://{host}:{port}{path}/app/{segment}?{query}");
        url.parse().map_err(|_| {
            let expected = "expected a name or an IP address, without scheme, port or path";
            Error::options(format!(
                "invalid host {:?} ({expected}), or invalid key {key:?}",
                self.host
            ))
        })
    }
}
