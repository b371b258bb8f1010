//! The server as a whole: composes its parts, and starts and stops its threads.

mod apps;
mod consumers;
mod error;
mod handover;
mod http_service;
mod parts;
#[cfg_attr(feature = "autobahn", path = "echo.rs")]
mod pusher;
mod routes;
mod threads;
mod upkeep;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use clarim_bus::LogSupport;
use clarim_hub::Node;
use clarim_hub::app::App;

use crate::cluster::{self, Cluster};
use crate::config::ServerConfig;
use crate::events::{EventSubscribers, Events};
use crate::http::{IdempotencyKeys, Publisher};
use crate::net::{Certificate, Listeners};
use crate::runtime::{Ended, Liveness, ServerCounters, Sink};
use crate::sync::{Phase, ShutdownHandle};
pub use apps::ServedApps;
use consumers::check_features;
pub use error::StartError;
pub use handover::{Handover, HandoverError, HandoverHandle, Inherited};
use handover::{HandoverControl, Restoration};
pub use http_service::HttpService;
use parts::Parts;
use threads::Thread;

/// A running server. Dropping it leaves the server running; see [`stop`](Self::stop).
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    http: HttpService,
    node: Arc<Node<Sink>>,
    apps: ServedApps,
    subscribers: Option<Arc<EventSubscribers>>,
    shutdown: ShutdownHandle,
    counters: Arc<ServerCounters>,
    cluster: Option<Cluster>,
    logs: Option<Cluster>,
    keys: Arc<IdempotencyKeys>,
    started: Instant,
    liveness: Liveness,
    handover: HandoverControl,
    threads: Vec<Thread>,
}

impl Server {
    /// Listens, and serves `apps` on threads of its own. `playground`: whether to serve the built-in pages of
    /// development mode, on which everybody on this machine can publish.
    ///
    /// # Errors
    /// If the address is in use or not available on this machine, or a TLS file can't be used.
    ///
    /// ```no_run
    /// use clarim_server::config::ServerConfig;
    /// use clarim_server::{App, Server};
    ///
    /// let config = ServerConfig::default().port(8080);
    /// let server = Server::start(config, vec![App::new("1", "key", "secret")], false)?;
    /// println!("listening on {:?}", server.address());
    /// server.stop();
    /// server.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start(
        config: ServerConfig,
        apps: Vec<App>,
        playground: bool,
    ) -> Result<Self, StartError> {
        Self::bind(config)?.start(apps, playground)
    }

    /// Listens without serving yet, so that the address can be shown before the first client connects.
    ///
    /// # Errors
    /// If the address is in use or not available on this machine.
    ///
    /// ```no_run
    /// use clarim_server::config::ServerConfig;
    /// use clarim_server::{App, Server};
    ///
    /// let bound = Server::bind(ServerConfig::default().port(0))?;
    /// println!("listening on {}", bound.address());
    /// let server = bound.start(vec![App::new("1", "key", "secret")], false)?;
    /// # Ok::<(), clarim_server::StartError>(())
    /// ```
    pub fn bind(config: ServerConfig) -> Result<BoundServer, StartError> {
        let listeners = Listeners::bind(&config.host, config.port, config.workers)
            .map_err(|source| StartError::Listen { source })?;
        Ok(BoundServer { config, listeners, restoration: None })
    }

    /// Listens on a socket that another program has opened, such as the socket of a systemd unit. Clients
    /// that connect while no server runs wait in its queue, so a restart refuses nobody.
    ///
    /// # Errors
    /// If it is not a listening socket.
    pub fn bind_to(config: ServerConfig, socket: TcpListener) -> Result<BoundServer, StartError> {
        let listeners =
            Listeners::inherited(vec![socket]).map_err(|source| StartError::Listen { source })?;
        let config = ServerConfig { restarts_in_place: true, ..config };
        Ok(BoundServer { config, listeners, restoration: None })
    }

    /// Serves `apps` without a port. Connections come by [`http_service`](Self::http_service) alone, and
    /// host, port and TLS of the configuration are ignored.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn without_port(config: ServerConfig, apps: Vec<App>) -> Result<Self, StartError> {
        let config = ServerConfig { tls: None, ..config };
        Self::start_on(None, config, apps, false, None)
    }

    fn start_on(
        listeners: Option<Listeners>,
        config: ServerConfig,
        apps: Vec<App>,
        playground: bool,
        restoration: Option<Restoration>,
    ) -> Result<Self, StartError> {
        check_features(&config)?;
        let certificate = config.tls.clone().map(|tls| Certificate::load(tls.cert, tls.key));
        let certificate = certificate.transpose().map_err(|source| StartError::Tls { source })?;
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose();
        let tls = tls.map_err(|source| StartError::Tls { source })?;
        Parts::compose(config, apps, playground, restoration)?
            .start(listeners, certificate, tls.as_ref())
            .map_err(StartError::system)
    }

    /// The address the server listens on, if it has a port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Whether the server is a node of a cluster, so that its events reach the clients of other nodes.
    #[must_use]
    pub fn is_clustered(&self) -> bool {
        self.cluster.is_some()
    }

    /// Returns a service that answers this server's requests in another HTTP server of this process.
    #[must_use]
    pub fn http_service(&self) -> HttpService {
        self.http.clone()
    }

    /// Returns a publisher for events from within this process.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher {
            node: self.node.clone(),
            started: self.started,
            counters: self.counters.outside(),
            logs: self.logs.clone(),
            cluster: self.cluster.clone(),
            keys: self.keys.clone(),
        }
    }

    /// Returns a handle that changes the apps. It may outlive this value.
    #[must_use]
    pub fn apps(&self) -> ServedApps {
        self.apps.clone()
    }

    /// Returns a stream of the server's events from now on. Each call makes its own stream. `None` if the
    /// server was started without [`ServerConfig::events`].
    ///
    /// ```no_run
    /// use clarim_server::{App, Server, ServerEvent, config::ServerConfig};
    ///
    /// # async fn run() -> Result<(), clarim_server::StartError> {
    /// let config = ServerConfig::default().events(true);
    /// let server = Server::start(config, vec![App::new("1", "key", "secret")], false)?;
    /// let mut events = server.events().expect("events are enabled above");
    /// while let Some(event) = events.next().await {
    ///     match event {
    ///         ServerEvent::Subscribed { channel, user: Some(user), .. } => {
    ///             println!("{user} is on {}", channel.as_str());
    ///         }
    ///         ServerEvent::ClientEvent { channel, event, data, .. } => {
    ///             println!("{event} on {}: {data}", channel.as_str());
    ///         }
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self) -> Option<Events> {
        Some(self.subscribers.as_ref()?.subscribe(self.node.clone()))
    }

    /// Number of open connections of an app.
    #[must_use]
    pub fn connections(&self, app_id: &str) -> u32 {
        let apps = self.node.apps();
        apps.find_by_id(app_id).map_or(0, |index| apps.connections(index))
    }

    /// Number of connections closed so far since their clients read too slowly.
    #[must_use]
    pub fn slow_readers_closed(&self) -> u64 {
        self.counters.closed(Ended::Slow)
    }

    /// Whether the server holds no state of any connection or event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }

    /// Returns a check that all workers are still running, for a watchdog.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Begins the shutdown. Clients are disconnected over the configured drain time, with a code that makes
    /// them reconnect at once. Clients that reconnect to this server get a code that makes them wait a
    /// second.
    pub fn stop(&self) {
        self.shutdown.advance(Phase::Draining);
    }

    /// Returns a function that does the same as [`stop`](Self::stop).
    pub fn stopper(&self) -> impl Fn() + Send + 'static + use<> {
        let shutdown = self.shutdown.clone();
        move || shutdown.advance(Phase::Draining)
    }

    /// Returns a future that is ready when a stopped server has disconnected its clients. It may outlive this
    /// value.
    pub fn drained(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut signal = self.shutdown.signal();
        async move { signal.reached(Phase::Closed).await }
    }

    /// Returns a handle that hands this server over to a successor process. It may outlive this value.
    #[must_use]
    pub fn handover(&self) -> HandoverHandle {
        HandoverHandle(self.handover.clone())
    }

    /// Checks what [`start`](Self::start) needs of the configuration, without starting anything.
    ///
    /// # Errors
    /// If a TLS file can't be used, or the configuration needs a feature that is not built in.
    pub fn check(config: &ServerConfig) -> Result<(), StartError> {
        check_features(config)?;
        let certificate = config.tls.clone().map(|tls| Certificate::load(tls.cert, tls.key));
        let certificate = certificate.transpose().map_err(|source| StartError::Tls { source })?;
        let tls = certificate.as_ref().map(Certificate::acceptor).transpose();
        tls.map(drop).map_err(|source| StartError::Tls { source })
    }

    /// Asks the bus of a cluster whether it keeps the histories of these apps. `None` if they have no
    /// history rule, if there is no cluster, or if the bus does not reply within two seconds.
    ///
    /// A server on a bus that keeps none starts, but refuses events of channels with history.
    pub async fn history_support(config: &ServerConfig, apps: &[App]) -> Option<LogSupport> {
        let scaling = config.scaling.as_ref()?;
        let rule = apps.iter().find_map(|app| app.history.first())?;
        cluster::history_support(scaling, rule).await
    }

    /// Waits until a stopped server has drained, and its threads have ended.
    ///
    /// # Errors
    /// The error that ended one of its threads early.
    ///
    /// # Panics
    /// If one of its threads has panicked.
    pub fn wait(self) -> io::Result<()> {
        for thread in self.threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(())
    }
}

/// A server that listens and does not serve yet. The kernel queues the connections that clients open.
#[derive(Debug)]
pub struct BoundServer {
    config: ServerConfig,
    listeners: Listeners,
    restoration: Option<Restoration>,
}

impl BoundServer {
    /// The address the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listeners.address
    }

    /// Serves `apps`, as [`Server::start`] does.
    ///
    /// # Errors
    /// If a TLS file can't be used, the configuration needs a feature that is not built in, or the operating
    /// system refuses a thread.
    pub fn start(self, apps: Vec<App>, playground: bool) -> Result<Server, StartError> {
        let Self { config, listeners, restoration } = self;
        Server::start_on(Some(listeners), config, apps, playground, restoration)
    }

    /// When the predecessor stopped, if this server goes on for one.
    #[must_use]
    pub fn paused_since(&self) -> Option<SystemTime> {
        Some(self.restoration.as_ref()?.paused_since())
    }
}
