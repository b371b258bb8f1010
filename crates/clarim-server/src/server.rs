//! The server as a whole: its threads, from start to drain.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clarim_hub::app::{App, Hooks};
use clarim_hub::{Apps, Node, WorkerId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::sync::oneshot;

use crate::accept::{Arrival, Doors};
use crate::clock::since_1970;
use crate::cluster::{self, Cluster, new_node_id, outgoing};
use crate::config::{ServerConfig, Webhook, hooks};
use crate::events::{Audience, Ended, Events};
use crate::http::{Http, HttpService, Sessions};
use crate::inbox::{Inboxes, Ways};
use crate::inspector::{Ask, Inspector};
use crate::listen::listen;
use crate::metrics::Metrics;
use crate::phase::{Follow, Lead, Phase};
use crate::publisher::Publisher;
use crate::pulse::{Liveness, Pulse};
use crate::tls::Certificate;
use crate::traces;
use crate::webhooks::{self, Webhooks};
use crate::worker::{self, Plan};

/// How long it is listened after the last client has been sent away, for it comes back at once. It is told
/// to come a second later, by when a successor should listen: so this must be well below a second.
const RETURN: Duration = Duration::from_millis(500);

/// Time between two sweeps of the channel directory.
const DIRECTORY_SWEEP: Duration = Duration::from_secs(1);

/// A running server. Dropping it leaves the server running; see [`stop`](Self::stop).
#[derive(Debug)]
pub struct Server {
    address: Option<SocketAddr>,
    http: HttpService,
    node: Arc<Node<Inboxes>>,
    apps: ServedApps,
    lead: Lead,
    metrics: Arc<Metrics>,
    cluster: Option<Cluster>,
    started: Instant,
    liveness: Liveness,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Server {
    /// Listens, and serves `apps` on threads of its own. `playground`: whether the built-in pages are
    /// served on which everybody may publish who is on this machine.
    ///
    /// # Errors
    /// When the address is taken or not this machine's, or a TLS file can't be used.
    ///
    /// ```no_run
    /// use clarim_hub::app::App;
    /// use clarim_server::{Server, config::ServerConfig};
    ///
    /// let settings = ServerConfig { port: 8080, ..ServerConfig::default() };
    /// let server = Server::start(settings, vec![App::new("1", "key", "secret")], false)?;
    /// println!("listening on {:?}", server.address());
    /// server.stop();
    /// server.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(settings: ServerConfig, apps: Vec<App>, playground: bool) -> io::Result<Self> {
        Self::bind(settings)?.start(apps, playground)
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
    /// let bound = Server::bind(ServerConfig { port: 0, ..ServerConfig::default() })?;
    /// println!("listening on {}", bound.address());
    /// let server = bound.start(vec![App::new("1", "key", "secret")], false)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn bind(config: ServerConfig) -> io::Result<BoundServer> {
        let (address, listeners) = listen(&config)?;
        Ok(BoundServer { config, address, listeners })
    }

    /// The same without a port: connections come by [`http_service`](Self::http_service) alone. Of the
    /// settings, host, port and TLS are for nothing then.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub fn without_port(settings: ServerConfig, apps: Vec<App>) -> io::Result<Self> {
        Self::start_on(Vec::new(), ServerConfig { tls: None, ..settings }, apps, false)
    }

    /// As [`start`](Self::start), where sockets are listening already, one for each worker or none.
    fn start_on(
        listeners: Vec<TcpListener>,
        settings: ServerConfig,
        apps: Vec<App>,
        playground: bool,
    ) -> io::Result<Self> {
        let certificate = settings.tls.clone().map(Certificate::load).transpose()?;
        let tls = certificate.as_ref().map(Certificate::config).transpose()?;
        let workers = settings.workers.get();
        let address = listeners.first().map(TcpListener::local_addr).transpose()?;
        let id = settings.scaling.is_some().then(new_node_id).transpose()?;
        let (outgoing, incoming) = id.map(outgoing::channel).unzip();
        let (webhooks, hooking) = webhooks::channel(&settings);
        let apps = with_hooks(apps, &settings.webhooks, settings.events);
        let traced = settings.traces.as_ref().map(|url| traces::start(url, id));
        let (traces, export) = traced.transpose()?.unzip();
        let ways = Ways {
            outgoing,
            webhooks: webhooks.clone(),
            audience: settings.events.then(Arc::default),
            traces: traces.map(Arc::new),
        };
        let inboxes = Inboxes::new(workers, settings.compression, ways);
        // A clock before 1970 is no worse than one that is wrong.
        let epoch = since_1970();
        let node = Arc::new(Node::new(Apps::new(apps), workers, epoch, inboxes));
        let (lead, phase) = Lead::new();
        let metrics = Arc::new(Metrics::new(workers));
        let (doors, arrivals) = Doors::new(workers);
        let (started, drain) = (Instant::now(), settings.drain);
        let (telling, told) = oneshot::channel();
        let (plan, cluster) = settings
            .scaling
            .clone()
            .zip(id)
            .zip(incoming)
            .map(|(named, incoming)| {
                let life = (started, phase.clone(), told);
                cluster::Plan::new(named, node.clone(), incoming, life)
            })
            .unzip();
        let token = settings.inspector_token.clone();
        let (inspector, asks) = Inspector::new(token, playground, workers);
        let settings = Arc::new(settings);
        let http = Http {
            node: node.clone(),
            settings,
            playground,
            started,
            phase,
            metrics: metrics.clone(),
            counters: metrics.outside(),
            cluster: cluster.clone(),
            sessions: Sessions::default(),
            doors: doors.clone(),
            webhooks: webhooks.counts.clone(),
            inspector: inspector.map(Arc::new),
        };
        let last_word = Arc::new(LastWord(node.post().audience.clone()));
        let mut start = Start {
            lead: lead.clone(),
            http: http.clone(),
            tls,
            doors,
            last_word,
            threads: Vec::new(),
        };
        // All are there before the first thread is; see the feature `descriptor-tables`.
        let keeper_runtime = runtime()?;
        let liveness = start.workers(listeners, arrivals.into_iter().zip(asks).collect())?;
        let keeper = Keeper { certificate, node: node.clone(), started, drain };
        let telling = id.map(|_| telling);
        start.others(Others { keeper, hooking, telling, plan, export }, keeper_runtime)?;
        let (http, threads) = (HttpService::new(http), start.threads);
        let apps = ServedApps { node: node.clone(), webhooks };
        Ok(Self { address, http, node, apps, lead, metrics, cluster, started, liveness, threads })
    }

    /// Where the server listens, if it has a port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Answers this server's requests in another HTTP server of this process.
    #[must_use]
    pub fn http_service(&self) -> HttpService {
        self.http.clone()
    }

    /// Publishes events from within this process.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        let cluster = self.cluster.clone();
        Publisher::new(self.node.clone(), self.started, self.metrics.outside(), cluster)
    }

    /// What changes the apps that are served. Cloning is cheap, and it may outlive this value.
    #[must_use]
    pub fn apps(&self) -> ServedApps {
        self.apps.clone()
    }

    /// What happens on the server from now on. Each call makes a stream of its own. `None`: the server was
    /// started without [`ServerConfig::events`].
    ///
    /// ```no_run
    /// use clarim_server::{App, Server, ServerEvent, config::ServerConfig};
    ///
    /// # async fn run() -> std::io::Result<()> {
    /// let settings = ServerConfig { events: true, ..ServerConfig::default() };
    /// let server = Server::start(settings, vec![App::new("1", "key", "secret")], false)?;
    /// let mut events = server.events().expect("they were asked for above");
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
        let audience = self.node.post().audience.as_ref()?;
        Some(audience.listen(self.node.clone()))
    }

    /// Open connections of an app.
    #[must_use]
    pub fn connections(&self, app_id: &str) -> u32 {
        let apps = self.node.apps();
        apps.find_by_id(app_id).map_or(0, |index| apps.connections(index))
    }

    /// Connections closed so far since they read too slowly: their outbox was full.
    #[must_use]
    pub fn slow_readers_closed(&self) -> u64 {
        self.metrics.closed(Ended::Slow)
    }

    /// Whether nothing is left of any connection or event: what a join created, the last leave removed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.node.is_empty()
    }

    /// Returns what checks that all workers are still running, for a watchdog.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.liveness.clone()
    }

    /// Begins to stop: clients are sent away over the drain time of the settings, with a code that makes
    /// them connect again at once; those who come here again are told to wait a second.
    pub fn stop(&self) {
        self.lead.advance(Phase::Draining);
    }

    /// What [`stop`](Self::stop) does, to be kept apart from the server.
    pub fn stopper(&self) -> impl Fn() + Send + 'static + use<> {
        let lead = self.lead.clone();
        move || lead.advance(Phase::Draining)
    }

    /// Waits until a stopped server has drained.
    ///
    /// # Errors
    /// What has ended one of its threads before that.
    ///
    /// # Panics
    /// If one of its threads did.
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
    address: SocketAddr,
    listeners: Vec<TcpListener>,
}

impl BoundServer {
    /// Returns the address the server listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `apps`, as [`Server::start`] does.
    ///
    /// # Errors
    /// If a TLS file can't be used, or the operating system refuses a thread.
    pub fn start(self, apps: Vec<App>, playground: bool) -> io::Result<Server> {
        Server::start_on(self.listeners, self.config, apps, playground)
    }
}

/// The apps of a running server, to be changed.
#[derive(Debug, Clone)]
pub struct ServedApps {
    node: Arc<Node<Inboxes>>,
    webhooks: Webhooks,
}

impl ServedApps {
    /// Serves these apps from now on, and tells these endpoints, by the app's id, what happens there. An app
    /// that was there before keeps its connections, whatever else of it has changed; those of one that is
    /// no longer there are closed with 4003 within a second.
    ///
    /// ```no_run
    /// use std::collections::HashMap;
    /// use clarim_server::{App, Server, config::ServerConfig};
    ///
    /// let first = App::new("1", "key", "secret");
    /// let server = Server::start(ServerConfig::default(), vec![first.clone()], false)?;
    /// let second = App::new("2", "another-key", "another-secret");
    /// server.apps().set(vec![first, second], HashMap::new());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set(&self, apps: Vec<App>, webhooks: HashMap<String, Vec<Webhook>>) {
        let is_heard = self.node.post().audience.is_some();
        self.node.apps().set(with_hooks(apps, &webhooks, is_heard));
        self.webhooks.set(webhooks);
    }
}

/// Apps of which the hub notices what their webhooks want to know; all there is, if it `is_heard`.
fn with_hooks(
    apps: Vec<App>,
    webhooks: &HashMap<String, Vec<Webhook>>,
    is_heard: bool,
) -> Vec<App> {
    let fit = |app: App| {
        let hooks = webhooks.get(&app.id).map_or(app.hooks, |all| hooks(all));
        App { hooks: if is_heard { Hooks::ALL } else { hooks }, ..app }
    };
    apps.into_iter().map(fit).collect()
}

/// The thread that belongs to no worker: it looks after what the workers share.
struct Keeper {
    certificate: Option<Arc<Certificate>>,
    node: Arc<Node<Inboxes>>,
    started: Instant,
    drain: Duration,
}

impl Keeper {
    async fn run(self, mut phase: Follow) -> io::Result<()> {
        if let Some(certificate) = self.certificate {
            tokio::task::spawn_local(certificate.watch());
        }
        let sweep = async {
            loop {
                tokio::time::sleep(DIRECTORY_SWEEP).await;
                self.node.sweep(self.started.elapsed());
            }
        };
        let node = &self.node;
        let everybody_gone = async {
            phase.reached(Phase::Draining).await;
            let mut somebody_at = None;
            let patience = Instant::now() + self.drain + RETURN;
            while Instant::now() < patience {
                if node.apps().total_connections() > 0 {
                    somebody_at = Some(Instant::now());
                }
                if somebody_at.is_none_or(|at| at.elapsed() > RETURN) {
                    break;
                }
                tokio::time::sleep(RETURN / 20).await;
            }
        };
        tokio::select! {
            () = sweep => {}
            () = everybody_gone => {}
        }
        Ok(())
    }
}

/// What is needed to start the workers.
struct Start {
    lead: Lead,
    http: Http,
    tls: Option<Arc<rustls::ServerConfig>>,
    doors: Arc<Doors>,
    last_word: Arc<LastWord>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// Kept by each thread: after the last of them there is nothing to tell any more.
struct LastWord(Option<Arc<Audience>>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(audience) = &self.0 {
            audience.close();
        }
    }
}

/// What runs on threads that are no worker's.
struct Others {
    keeper: Keeper,
    hooking: webhooks::Plan,
    /// Dropped by the webhooks when they need the cluster no more.
    telling: Option<oneshot::Sender<()>>,
    plan: Option<cluster::Plan>,
    export: Option<traces::Export>,
}

/// What comes to a worker from others: connections, and questions.
type Asked = (UnboundedReceiver<Arrival>, Receiver<Ask>);

impl Start {
    /// Starts a worker for each of `asked`.
    fn workers(&mut self, listeners: Vec<TcpListener>, asked: Vec<Asked>) -> io::Result<Liveness> {
        let runtimes = asked.iter().map(|_| runtime()).collect::<io::Result<Vec<_>>>()?;
        let (pulses, liveness) = Liveness::of_workers(asked.len());
        let workers = (0..).map(WorkerId).zip(runtimes).zip(pulses);
        let mut listeners = listeners.into_iter();
        for (worker, asked) in workers.zip(asked) {
            self.worker(worker, listeners.next(), asked)?;
        }
        Ok(liveness)
    }

    fn others(&mut self, others: Others, keeper_runtime: Runtime) -> io::Result<()> {
        let Others { keeper, hooking, telling, plan, export } = others;
        let node = keeper.node.clone();
        let keep = async move |phase| keeper.run(phase).await;
        self.thread("clarim-keeper", keeper_runtime, Phase::Closed, keep)?;
        let hook = async move |phase| hooking.run(node, phase, telling).await;
        self.thread("clarim-webhooks", runtime()?, Phase::Draining, hook)?;
        if let Some(plan) = plan {
            self.thread("clarim-cluster", runtime()?, Phase::Draining, |_| plan.run())?;
        }
        if let Some(export) = export {
            // Nobody has to leave for want of traces.
            self.thread("clarim-traces", runtime()?, Phase::Serving, |phase| export.run(phase))?;
        }
        Ok(())
    }

    fn worker(
        &mut self,
        ((id, runtime), pulse): ((WorkerId, Runtime), Pulse),
        listener: Option<TcpListener>,
        (arrivals, asks): Asked,
    ) -> io::Result<()> {
        let plan = Plan {
            id,
            http: Http { counters: self.http.metrics.of(id), ..self.http.clone() },
            listener,
            doors: self.doors.clone(),
            arrivals,
            asks,
            tls: self.tls.clone(),
            pulse,
        };
        self.thread(&format!("clarim-{}", id.0), runtime, Phase::Draining, |_| worker::run(plan))
    }

    /// Runs a future on a thread of its own, where it is made: it need not be able to leave it. However it
    /// ends, the server is in the phase `then` after it: without some threads it must not go on.
    fn thread<F: Future<Output = io::Result<()>>>(
        &mut self,
        name: &str,
        runtime: Runtime,
        then: Phase,
        make: impl FnOnce(Follow) -> F + Send + 'static,
    ) -> io::Result<()> {
        let (end, phase) = (self.lead.at_end(then), self.http.phase.clone());
        let last_word = self.last_word.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let (_end, _last_word) = (end, last_word);
            tokio::task::LocalSet::new().block_on(&runtime, make(phase))
        })?;
        self.threads.push(thread);
        Ok(())
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}
