//! This server's part in a cluster: its connection to the bus, and queries to all nodes. A single node whose
//! histories are in a file is a cluster of one, for the channels with history.

mod driver;
mod handover;
#[cfg_attr(not(feature = "durable-history"), path = "no_history_file.rs")]
mod history_file;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clarim_bus::LogSupport;
use clarim_cluster::{Gathered, KeyClaim, KeyHash, KeyOutcome, NodeId, Query, Trace};
use clarim_hub::DeliveryAck;
use clarim_hub::app::HistoryRule;
use clarim_hub::cluster::ClusterState;
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Scaling;
use crate::sync::Counter;
use driver::log_of;
pub(crate) use driver::{ClusterTask, SavedClusterState};
use handover::HandOverRequest;
pub(crate) use handover::{ClusterAtRest, ClusterHandover, SavedTraffic};
pub(crate) use history_file::HistoryFile;

/// Timeout of [`history_support`].
const ASKING: Duration = Duration::from_secs(2);

/// Whether the bus keeps the events of channels with this rule. `None`: it does not reply.
pub(crate) async fn history_support(scaling: &Scaling, rule: &HistoryRule) -> Option<LogSupport> {
    let log = log_of(&format!("{}:check", scaling.prefix), rule);
    tokio::time::timeout(ASKING, scaling.bus.check_logs(&log)).await.ok()?.ok()
}

/// Prefix of the logs in a file of histories.
pub(crate) const HISTORY_PREFIX: &str = "clarim";

/// The parts of the server that a cluster's thread uses.
pub(crate) trait ClusterHost {
    /// Whether the workers' inboxes can take more messages from the bus.
    fn workers_have_room(&self) -> bool;

    /// Starts the span of a traced event that came over the bus. The workers hold the returned value until
    /// they have delivered the event.
    fn start_delivery(&self, app: &str, channel: &str, trace: Trace) -> Option<DeliveryAck>;
}

/// Maximum size of the backlog for the bus, in bytes. Publishers wait while it is exceeded.
pub(crate) const MAX_BACKLOG: usize = 64 << 20;

/// A handle to the cluster. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    requests: mpsc::UnboundedSender<ClusterRequest>,
    state: watch::Receiver<ClusterState>,
    /// The id of this node.
    pub(crate) id: NodeId,
    nodes: watch::Receiver<Vec<NodeId>>,
    pub(crate) handover: ClusterHandover,
    pub(crate) traffic: Arc<BusTraffic>,
    /// Whether publishing fails if an event reaches this node's clients alone.
    pub(crate) is_strict: bool,
    started: Instant,
}

/// The task's ends of the channels in a [`Cluster`].
#[derive(Debug)]
pub(crate) struct ClusterChannels {
    requests: mpsc::UnboundedReceiver<ClusterRequest>,
    hand_overs: mpsc::UnboundedReceiver<HandOverRequest>,
    state: watch::Sender<ClusterState>,
    nodes: watch::Sender<Vec<NodeId>>,
    traffic: Arc<BusTraffic>,
}

/// A request to the cluster's thread.
#[derive(Debug)]
enum ClusterRequest {
    Query(ClusterQuery),
    /// See [`Cluster::claim`].
    Claim {
        claims: Vec<KeyClaim>,
        reply: oneshot::Sender<Vec<KeyOutcome>>,
    },
    /// See [`Cluster::end_claim`].
    EndClaim {
        key: KeyHash,
        answer: Option<Bytes>,
    },
}

/// A query to all other nodes.
#[derive(Debug)]
struct ClusterQuery {
    app: String,
    query: Query<'static>,
    reply: oneshot::Sender<Gathered>,
}

/// Counters of the bus.
#[derive(Debug, Default)]
pub(crate) struct BusTraffic {
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) messages_out: Counter,
    pub(crate) bytes_out: Counter,
    /// Lost connections.
    pub(crate) losses: Counter,
}

/// Makes a random id for this node.
pub(crate) fn new_node_id() -> io::Result<NodeId> {
    // 0 is no node's id.
    Ok(NodeId(getrandom::u64().map_err(io::Error::other)?.max(1)))
}

impl Cluster {
    /// Makes the handle, and the channels for the [`ClusterTask`].
    pub(crate) fn new(scaling: &Scaling, id: NodeId, started: Instant) -> (Self, ClusterChannels) {
        let (requests, request_receiver) = mpsc::unbounded_channel();
        let (state_sender, state) = watch::channel(ClusterState::default());
        let (nodes_sender, nodes) = watch::channel(Vec::new());
        let (handover, hand_overs) = ClusterHandover::new();
        let traffic = Arc::<BusTraffic>::default();
        let channels = ClusterChannels {
            requests: request_receiver,
            hand_overs,
            state: state_sender,
            nodes: nodes_sender,
            traffic: traffic.clone(),
        };
        let is_strict = scaling.is_strict;
        (Self { requests, state, id, nodes, handover, traffic, is_strict, started }, channels)
    }

    pub(crate) fn state(&self) -> ClusterState {
        *self.state.borrow()
    }

    /// The ids of the other nodes.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.nodes.borrow().clone()
    }

    /// Waits until the node has joined the cluster, at most `SCALING_TIMEOUT` after its start. Before that,
    /// it does not know the members and subscribers on the other nodes.
    pub(crate) async fn joined(&self) {
        let mut state = self.state.clone();
        // An error means that the cluster's thread has ended: there is nothing to wait for.
        let _ = state.wait_for(|state| state.is_joined).await;
    }

    /// The time since the connection to the bus was lost; `None` while it is up.
    pub(crate) fn down_for(&self) -> Option<Duration> {
        let state = self.state();
        (!state.is_up).then(|| self.started.elapsed().saturating_sub(state.since))
    }

    /// Claims idempotency keys on all nodes.
    pub(crate) async fn claim(&self, claims: Vec<KeyClaim>) -> Vec<KeyOutcome> {
        let count = claims.len();
        let (reply, replied) = oneshot::channel();
        // Without a reply, the cluster's thread has ended.
        let _ = self.requests.send(ClusterRequest::Claim { claims, reply });
        replied.await.unwrap_or_else(|_| vec![KeyOutcome::First; count])
    }

    /// Ends the claim of a key. `answer` is what repeats get; `None` if nothing was published.
    pub(crate) fn end_claim(&self, key: KeyHash, answer: Option<Bytes>) {
        let _ = self.requests.send(ClusterRequest::EndClaim { key, answer });
    }

    /// Queries all other nodes. Replies that arrive before the timeout are in the result.
    pub(crate) async fn query(&self, app: &str, query: Query<'static>) -> Gathered {
        let (reply, replied) = oneshot::channel();
        // Without a reply, the cluster's thread has ended.
        let query = ClusterQuery { app: app.to_owned(), query, reply };
        let _ = self.requests.send(ClusterRequest::Query(query));
        replied.await.unwrap_or(Gathered { is_partial: true, ..Gathered::default() })
    }
}
