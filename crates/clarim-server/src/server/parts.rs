//! The composition of a server's parts, and the start of its threads.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use clarim_cluster::{NodeId, Trace};
use clarim_hub::app::App;
use clarim_hub::{Apps, BusCommand, DeliveryAck, Node, NodeBus, NodeConfig};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver};
use tokio::sync::oneshot;

use super::apps::{ServedApps, with_hooks};
use super::consumers::{ConsumerThreads, Consumers};
use super::handover::{HandoverControl, Restoration, Restored};
use super::routes::Routes;
use super::threads::{Threads, runtime};
use super::upkeep::Upkeep;
use super::worker::WorkerInputs;
use super::{HttpService, Server, StartError};
use crate::clock::since_1970;
use crate::cluster::{
    Cluster, ClusterHost, ClusterTask, HISTORY_PREFIX, HistoryFile, MAX_BACKLOG, new_node_id,
};
use crate::config::{FOR_HTTP, Scaling, ServerConfig};
use crate::http::{Http, IdempotencyKeys, Sessions};
use crate::net::{Certificate, Listeners, Passage, TlsAcceptor, passage, platform::open_files};
use crate::runtime::{
    Acceptor, AddressLimits, Capacity, CapacityLimits, Inboxes, NewConnection, ServerCounters,
    Sink, WorkerQuery,
};
use crate::sync::{
    BacklogReceiver, BacklogSender, PauseHandle, Phase, ShutdownHandle, ShutdownSignal, backlog,
};

/// Maximum number of queries that wait for one worker.
const MAX_QUERIES: usize = 64;

/// A composed server without its threads.
pub(super) struct Parts {
    routes: Routes,
    shutdown: ShutdownHandle,
    connections: Vec<UnboundedReceiver<NewConnection>>,
    queries: Vec<Receiver<WorkerQuery>>,
    consumer_threads: ConsumerThreads,
    pause: PauseHandle,
    restored: Option<Restored>,
    cluster: Option<ClusterTask<Sink>>,
    /// Dropped by the webhooks once they do not need the cluster any more.
    cluster_user: Option<oneshot::Sender<()>>,
}

/// The part of a node in a cluster, before the node exists.
struct ClusterSetup {
    id: NodeId,
    scaling: Scaling,
    /// On a single node: the file of its histories, which is the bus.
    file: Option<HistoryFile>,
    /// Whether the node that is handed over was on the same bus.
    is_same: bool,
    sender: BacklogSender<BusCommand>,
    commands: BacklogReceiver<BusCommand>,
}

/// The part of a node in a cluster, or in a file of histories. Empty on a node without both.
#[derive(Default)]
struct ClusterParts {
    /// The handle to a cluster.
    cluster: Option<Cluster>,
    /// The handle to the thread that keeps histories.
    logs: Option<Cluster>,
    task: Option<ClusterTask<Sink>>,
    user: Option<oneshot::Sender<()>>,
}

impl ClusterSetup {
    /// `predecessor`: the node that is handed over.
    fn of(
        config: &ServerConfig,
        predecessor: Option<&Restoration>,
    ) -> Result<Option<Self>, StartError> {
        let is_same = predecessor.is_some_and(|predecessor| {
            predecessor.node.node_id.is_some() && predecessor.history_path == config.history_path
        });
        let (scaling, file) = match (&config.scaling, &config.history_path) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => return Err(StartError::HistoryStores),
            (Some(scaling), None) => (scaling.clone(), None),
            (None, Some(path)) => {
                // The node has gone on without the file.
                let lacks_events = predecessor.is_some() && !is_same;
                let file = HistoryFile::open(path, lacks_events)
                    .map_err(|source| StartError::HistoryFile { source })?;
                (Scaling::new(file.bus()).prefix(HISTORY_PREFIX), Some(file))
            }
        };
        let (sender, commands) = backlog(MAX_BACKLOG);
        let id = predecessor.filter(|_| is_same).and_then(|predecessor| predecessor.node.node_id);
        let id = id.map_or_else(new_node_id, Ok).map_err(StartError::system)?;
        Ok(Some(Self { id, scaling, file, is_same, sender, commands }))
    }

    fn bus(&self) -> NodeBus {
        match self.file {
            Some(_) => NodeBus::Logs(self.id),
            None => NodeBus::Cluster(self.id),
        }
    }

    fn parts(
        self,
        node: &Arc<Node<Sink>>,
        started: Instant,
        shutdown: ShutdownSignal,
    ) -> ClusterParts {
        let Self { id, scaling, file, commands, .. } = self;
        let (logs, channels) = Cluster::new(&scaling, id, started);
        let (user, users) = oneshot::channel();
        let node = node.clone();
        let is_clustered = file.is_none();
        let task = ClusterTask {
            scaling,
            file,
            id,
            node,
            channels,
            saved: None,
            commands,
            started,
            shutdown,
            users,
        };
        ClusterParts {
            cluster: is_clustered.then(|| logs.clone()),
            logs: Some(logs),
            task: Some(task),
            user: is_clustered.then_some(user),
        }
    }
}

impl Parts {
    /// Composes a server.
    pub(super) fn compose(
        config: ServerConfig,
        apps: Vec<App>,
        playground: bool,
        restoration: Option<Restoration>,
    ) -> Result<Self, StartError> {
        let workers = config.workers.get();
        let started = restoration.as_ref().map_or_else(Instant::now, Restoration::started);
        let setup = ClusterSetup::of(&config, restoration.as_ref())?;
        let is_same_bus = setup.as_ref().is_some_and(|setup| setup.is_same);
        let bus = setup.as_ref().map(ClusterSetup::bus).unwrap_or_default();
        let (query_senders, queries) = (0..workers).map(|_| mpsc::channel(MAX_QUERIES)).unzip();
        // Traces name the nodes of a cluster.
        let id = setup.as_ref().filter(|setup| setup.file.is_none()).map(|setup| setup.id);
        let (consumers, consumer_threads) = Consumers::new(&config, id, playground, query_senders)?;
        let sink = Sink {
            inboxes: Inboxes::new(workers),
            observers: consumers.observers(),
            tracer: consumers.traces.tracer(),
            bus: setup.as_ref().map(|setup| setup.sender.clone()),
        };
        let apps = Apps::new(with_hooks(apps, &config.webhooks, config.events));
        let compression = config.compression;
        let node_config = NodeConfig {
            epoch: since_1970().saturating_sub(started.elapsed()),
            bus,
            compression,
            ..NodeConfig::new(workers)
        };
        let node = Arc::new(Node::new(apps, node_config, sink));
        let (shutdown, signal) = ShutdownHandle::new();
        let ClusterParts { cluster, logs, mut task, user: cluster_user } =
            setup.map(|setup| setup.parts(&node, started, signal.clone())).unwrap_or_default();
        let capacity = Arc::new(Capacity::new(capacity_limits(&config)));
        let (acceptor, connections) = Acceptor::new(workers, capacity);
        let server_counters = Arc::new(ServerCounters::new(workers));
        let keys = Arc::new(IdempotencyKeys::new(cluster.clone()));
        let (pause, pause_signal) = PauseHandle::new();
        let http = Http {
            node,
            config: Arc::new(config),
            started,
            shutdown: signal,
            counters: server_counters.outside(),
            server_counters,
            cluster,
            logs,
            sessions: Sessions::default(),
            body_budget: Arc::default(),
            keys,
            pause: pause_signal,
            metrics_guesses: Arc::default(),
            acceptor,
            origins: consumers.inspector.origins(),
        };
        let restored = restoration.map(|restoration| restoration.restore(&http)).transpose();
        let mut restored = restored.map_err(|source| StartError::Handover { source })?;
        if let (Some(task), Some(restored)) = (&mut task, &mut restored) {
            task.saved = restored.cluster.take().filter(|_| is_same_bus);
        }
        Ok(Self {
            routes: Routes { http, playground, consumers },
            shutdown,
            connections,
            queries,
            consumer_threads,
            pause,
            restored,
            cluster: task,
            cluster_user,
        })
    }

    /// Starts the threads.
    pub(super) fn start(
        self,
        listeners: Option<Listeners>,
        certificate: Option<Arc<Certificate>>,
        tls: Option<&TlsAcceptor>,
    ) -> io::Result<Server> {
        let Self { routes, shutdown, connections, queries, consumer_threads, restored, .. } = self;
        let http = &routes.http;
        let node = http.node.clone();
        let subscribers = routes.consumers.subscribers.clone();
        let mut threads =
            Threads::new(shutdown.clone(), http.shutdown.clone(), subscribers.clone());
        // All runtimes are made before the first thread starts; see the feature `descriptor-tables`.
        let upkeep_runtime = runtime()?;
        let address = listeners.as_ref().map(|listeners| listeners.address);
        let listeners = listeners.map(|all| all.spread(http.config.workers)).transpose()?;
        let mut listeners = listeners.unwrap_or_default().into_iter();
        let Restored { workers: restored, webhooks: saved_webhooks, .. } =
            restored.unwrap_or_default();
        let mut restored = restored.into_iter();
        let mut requests = Vec::new();
        let Passage { entrance, exit } = passage()?;
        let entrance = Arc::new(entrance);
        let inputs = connections.into_iter().zip(queries).map(|(connections, queries)| {
            let (sender, receiver) = mpsc::unbounded_channel();
            requests.push(sender);
            WorkerInputs {
                listeners: listeners.next().unwrap_or_default(),
                connections,
                queries,
                requests: receiver,
                passage: entrance.clone(),
                restored: restored.next(),
            }
        });
        let inputs = inputs.collect();
        let liveness = threads.start_workers(&routes, inputs, tls)?;
        let handover = HandoverControl::new(self.pause, requests, exit, &routes);
        let upkeep = Upkeep::new(certificate, http, handover.sweeping.clone());
        threads.start_on(upkeep_runtime, "clarim-upkeep", Phase::Closed, |signal| {
            upkeep.run(signal)
        })?;
        if let Some(webhooks) = consumer_threads.webhooks {
            let node = node.clone();
            let cluster = self.cluster_user;
            threads.start("clarim-webhooks", Phase::Draining, |signal: ShutdownSignal| {
                webhooks.run(node, signal, cluster, saved_webhooks)
            })?;
        }
        if let Some(cluster) = self.cluster {
            threads.start("clarim-cluster", Phase::Draining, async move |_| {
                cluster.run().await;
                Ok(())
            })?;
        }
        if let Some(traces) = consumer_threads.traces {
            // The server serves on if the export of traces ends.
            threads.start("clarim-traces", Phase::Serving, |signal| traces.run(signal))?;
        }
        let has_events = subscribers.is_some();
        let webhooks = routes.consumers.webhooks.clone();
        Ok(Server {
            address,
            apps: ServedApps { node: node.clone(), webhooks, has_events },
            subscribers,
            node,
            shutdown,
            counters: http.server_counters.clone(),
            cluster: http.cluster.clone(),
            logs: http.logs.clone(),
            keys: http.keys.clone(),
            started: http.started,
            liveness,
            handover,
            threads: threads.into_started(),
            http: HttpService::new(routes),
        })
    }
}

fn capacity_limits(config: &ServerConfig) -> CapacityLimits {
    let clients = config.capacity(open_files());
    let addresses = AddressLimits {
        connections: config.max_connections_per_address,
        handshakes_per_second: config.max_handshakes_per_address,
    };
    CapacityLimits { clients, sockets: clients.saturating_add(FOR_HTTP), addresses }
}

impl ClusterHost for Sink {
    fn workers_have_room(&self) -> bool {
        self.inboxes.have_room()
    }

    fn start_delivery(&self, app: &str, channel: &str, trace: Trace) -> Option<DeliveryAck> {
        self.tracer.as_ref()?.start_delivery(app, channel, trace)
    }
}
