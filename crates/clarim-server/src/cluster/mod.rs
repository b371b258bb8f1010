//! The server among others: its bus, and what is asked of all nodes at once.

mod drive;
pub(crate) mod outgoing;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clarim_hub::Node;
use clarim_hub::cluster::{ClusterState, Gathered};
use clarim_protocol::cluster::{NodeId, Query};
use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Scaling;
use crate::inbox::Inboxes;
use crate::metrics::Counter;
use crate::phase::Follow;
pub(crate) use outgoing::{Incoming, Outgoing};

/// What the rest of the server knows of the cluster. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct Cluster {
    questions: mpsc::UnboundedSender<Asked>,
    state: watch::Receiver<ClusterState>,
    /// This node's name, and those of the others.
    pub(crate) id: NodeId,
    nodes: watch::Receiver<Vec<NodeId>>,
    pub(crate) traffic: Arc<Traffic>,
    /// Whether an event that reaches this node's clients alone counts as not published.
    pub(crate) is_strict: bool,
    started: Instant,
}

/// A question to all nodes.
struct Asked {
    app: String,
    question: Query<'static>,
    answer: oneshot::Sender<Gathered>,
}

/// What goes over the bus.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages_in: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) messages_out: Counter,
    pub(crate) bytes_out: Counter,
    /// How often the bus was lost.
    pub(crate) losses: Counter,
}

/// A name for this node that no other has.
pub(crate) fn new_node_id() -> io::Result<NodeId> {
    // 0 is nobody.
    Ok(NodeId(getrandom::u64().map_err(io::Error::other)?.max(1)))
}

/// What the cluster's thread runs: made here, run there.
pub(crate) struct Plan {
    pub(crate) scaling: Scaling,
    pub(crate) id: NodeId,
    pub(crate) node: Arc<Node<Inboxes>>,
    pub(crate) incoming: Incoming,
    pub(crate) started: Instant,
    pub(crate) phase: Follow,
    /// Ends when the webhooks need the cluster no more.
    pub(crate) told: oneshot::Receiver<()>,
    questions: mpsc::UnboundedReceiver<Asked>,
    state: watch::Sender<ClusterState>,
    nodes: watch::Sender<Vec<NodeId>>,
    traffic: Arc<Traffic>,
}

impl Plan {
    pub(crate) fn new(
        (scaling, id): (Scaling, NodeId),
        node: Arc<Node<Inboxes>>,
        incoming: Incoming,
        (started, phase, told): (Instant, Follow, oneshot::Receiver<()>),
    ) -> (Self, Cluster) {
        let (asks, questions) = mpsc::unbounded_channel();
        let (state, follow) = watch::channel(ClusterState::default());
        let (nodes, follow_nodes) = watch::channel(Vec::new());
        let (is_strict, traffic) = (scaling.is_strict, Arc::<Traffic>::default());
        let cluster = Cluster {
            questions: asks,
            state: follow,
            id,
            nodes: follow_nodes,
            traffic: traffic.clone(),
            is_strict,
            started,
        };
        let plan = Self {
            scaling,
            id,
            node,
            incoming,
            started,
            phase,
            told,
            questions,
            state,
            nodes,
            traffic,
        };
        (plan, cluster)
    }

    /// Connects to the bus, and takes part until the server has closed.
    pub(crate) async fn run(self) -> io::Result<()> {
        drive::run(self).await;
        Ok(())
    }
}

impl Cluster {
    pub(crate) fn state(&self) -> ClusterState {
        *self.state.borrow()
    }

    /// The other nodes, by their names.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        self.nodes.borrow().clone()
    }

    /// For how long the bus has been lost; `None`: it is there.
    pub(crate) fn away_for(&self) -> Option<Duration> {
        let state = self.state();
        (!state.is_up).then(|| self.started.elapsed().saturating_sub(state.since))
    }

    /// Asks all other nodes; what has come by the deadline is the answer.
    pub(crate) async fn ask(&self, app: &str, question: Query<'static>) -> Gathered {
        let (answer, answered) = oneshot::channel();
        // Where nobody answers, the cluster's thread has ended.
        let _ = self.questions.send(Asked { app: app.to_owned(), question, answer });
        answered.await.unwrap_or(Gathered { is_partial: true, ..Gathered::default() })
    }
}
