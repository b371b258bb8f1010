//! Hand-overs of a node: requests to the cluster's thread, and its state.

use std::time::Duration;

use clarim_hub::snapshot::SavedCluster;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::BusTraffic;
use crate::sync::Counter;

/// Time for the bus to accept and return everything that this node has published.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

/// Time for a node that was handed over to connect to the bus. Until then, what it publishes waits.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A request to the cluster's thread.
#[derive(Debug)]
pub(super) enum HandOverRequest {
    /// Asks the other nodes to keep what they publish. The reply comes when they do: `false` if this node has
    /// not joined the cluster.
    Prepare(oneshot::Sender<bool>),
    /// Executes all commands, waits until nothing is on its way, and stops. There is no reply if the
    /// hand-over is no longer prepared.
    Rest(oneshot::Sender<ClusterAtRest>),
    /// Goes on as before.
    Resume,
}

/// The hand-over of this node, if one is under way.
#[derive(Debug, Default)]
pub(super) enum HandOverState {
    #[default]
    None,
    /// The other nodes are to keep what they publish.
    Preparing(oneshot::Sender<bool>),
    /// They do, and this node goes on.
    Prepared,
    /// This node waits until nothing is on its way.
    Resting(oneshot::Sender<ClusterAtRest>),
    /// This node does nothing.
    Stopped,
}

/// The cluster's thread when it has stopped.
#[derive(Debug)]
pub(crate) struct ClusterAtRest {
    pub(crate) saved: SavedCluster,
    pub(crate) traffic: SavedTraffic,
    /// Number of commands and bus events handled so far.
    pub(crate) handled: u64,
}

/// Counters of the bus in a snapshot.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SavedTraffic {
    messages_in: u64,
    bytes_in: u64,
    messages_out: u64,
    bytes_out: u64,
    losses: u64,
}

impl SavedTraffic {
    pub(super) fn of(traffic: &BusTraffic) -> Self {
        Self {
            messages_in: traffic.messages_in.get(),
            bytes_in: traffic.bytes_in.get(),
            messages_out: traffic.messages_out.get(),
            bytes_out: traffic.bytes_out.get(),
            losses: traffic.losses.get(),
        }
    }

    pub(super) fn restore(&self, traffic: &BusTraffic) {
        let add = |counter: &Counter, saved| counter.add(saved);
        add(&traffic.messages_in, self.messages_in);
        add(&traffic.bytes_in, self.bytes_in);
        add(&traffic.messages_out, self.messages_out);
        add(&traffic.bytes_out, self.bytes_out);
        add(&traffic.losses, self.losses);
    }
}

/// A handle for hand-overs to the cluster's thread. Cloning is cheap.
#[derive(Debug, Clone)]
pub(crate) struct ClusterHandover(mpsc::UnboundedSender<HandOverRequest>);

impl ClusterHandover {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<HandOverRequest>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    /// Waits until the other nodes keep what they publish. Returns `false` if this node has not joined the
    /// cluster, and so cannot be handed over.
    pub(crate) async fn prepare(&self) -> bool {
        let (reply, replied) = oneshot::channel();
        // Without a reply, the cluster's thread has ended.
        let _ = self.0.send(HandOverRequest::Prepare(reply));
        replied.await.unwrap_or(false)
    }

    /// Stops the cluster's thread when nothing is on its way any more. Returns `None` if that takes too long,
    /// or the connection to the bus was lost since the preparation.
    pub(crate) async fn rest(&self) -> Option<ClusterAtRest> {
        let (reply, replied) = oneshot::channel();
        let _ = self.0.send(HandOverRequest::Rest(reply));
        timeout(REST_TIMEOUT, replied).await.ok()?.ok()
    }

    /// Goes on as before.
    pub(crate) fn resume(&self) {
        let _ = self.0.send(HandOverRequest::Resume);
    }
}
