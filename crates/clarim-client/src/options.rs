//! Where the server is, and how the client behaves.

use std::sync::Arc;
use std::time::Duration;

use crate::machine::Timing;
use crate::{Authorizer, Error};

/// What a client is made with.
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
    /// For the app with this key, on a server on this machine at its default port.
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

    /// The server's host and port.
    #[must_use]
    pub fn host(self, host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port, ..self }
    }

    /// Whether the server speaks TLS, which is checked by the system's certificates.
    #[must_use]
    pub fn tls(self, tls: bool) -> Self {
        Self { tls, ..self }
    }

    /// Prefix of the server's paths, as `REVERB_SERVER_PATH` has it.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        let path = path.trim_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Self { path, ..self }
    }

    /// What stands before the names of events that begin with neither dot nor backslash: `App\Events` if
    /// nothing is said, as in Echo.
    #[must_use]
    pub fn namespace(self, namespace: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), ..self }
    }

    /// Who is asked for signatures. Without one only public channels can be heard.
    #[must_use]
    pub fn authorizer(self, authorizer: impl Authorizer) -> Self {
        Self { authorizer: Some(Arc::new(authorizer)), ..self }
    }

    /// How long it may take, 10 s if nothing is said.
    #[must_use]
    pub fn authorization_timeout(self, time: Duration) -> Self {
        Self { authorization_timeout: time, ..self }
    }

    /// How many updates a channel keeps for a handle that does not read them, 1024 if nothing is said. What
    /// is beyond is [told as missed](crate::Update::Missed).
    #[must_use]
    pub fn buffer(self, updates: usize) -> Self {
        Self { buffer: updates.max(1), ..self }
    }

    /// Silence after which the server is asked for a sign of life (120 s if nothing is said; the server may
    /// say a shorter one), and how long it has for that (30 s).
    #[must_use]
    pub fn activity_timeout(mut self, silence: Duration, pong: Duration) -> Self {
        self.timing.activity = silence;
        self.timing.pong = pong;
        self
    }

    /// The first pause before another attempt (1 s if nothing is said) and the longest (30 s). In between it
    /// doubles; chance takes up to a half off.
    #[must_use]
    pub fn reconnect_after(mut self, first: Duration, longest: Duration) -> Self {
        self.timing.pause = (first, longest.max(first));
        self
    }

    /// The address that is connected to.
    pub(crate) fn url(&self) -> Result<hyper::Uri, Error> {
        let scheme = if self.tls { "wss" } else { "ws" };
        let Self { host, port, path, key, .. } = self;
        let host = match host.contains(':') && !host.starts_with('[') {
            true => format!("[{host}]"),
            false => host.clone(),
        };
        let version = env!("CARGO_PKG_VERSION");
        let query = format!("protocol=7&client=clarim-client&version={version}");
        let url = format!("{scheme}://{host}:{port}{path}/app/{key}?{query}");
        url.parse().map_err(|_| {
            let what = "expected a name or an IP address alone, without scheme, port or path";
            Error::Options(format!("{:?} is no host ({what}), or {key:?} no key", self.host))
        })
    }
}
