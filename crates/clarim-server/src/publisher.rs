//! Publishing from within the process that runs the server: what the HTTP API does, without HTTP.

use std::sync::Arc;
use std::time::Instant;

use clarim_hub::Node;
use clarim_protocol::rest::Event;

use crate::cluster::Cluster;
use crate::http::events;
use crate::inbox::Inboxes;
use crate::metrics::Counters;

/// Publishes the events of an application that runs in the server's own process. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Publisher {
    node: Arc<Node<Inboxes>>,
    started: Instant,
    counters: Arc<Counters>,
    cluster: Option<Cluster>,
}

impl Publisher {
    pub(crate) fn new(
        node: Arc<Node<Inboxes>>,
        started: Instant,
        counters: Arc<Counters>,
        cluster: Option<Cluster>,
    ) -> Self {
        Self { node, started, counters, cluster }
    }

    /// Publishes an event of the app with this id: checked as `POST /apps/{id}/events` checks it, and
    /// handed to every subscriber's outbox when this returns.
    ///
    /// # Errors
    /// With what the HTTP API would answer.
    pub async fn publish(&self, app_id: &str, event: &Event<'_>) -> Result<(), PublishError> {
        let app = self.node.apps().find_by_id(app_id).ok_or_else(|| PublishError {
            status: 404,
            sentence: format!("No matching application for ID [{app_id}]."),
        })?;
        let (node, now, counters) = (&*self.node, self.started.elapsed(), &*self.counters);
        let cluster = self.cluster.as_ref();
        let publisher = events::Publisher { node, now, counters, cluster };
        match publisher.publish(app, event).await {
            Ok(_) => Ok(()),
            Err(refused) => {
                Err(PublishError { status: refused.status.as_u16(), sentence: refused.sentence })
            }
        }
    }
}

/// An event that was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct PublishError {
    /// The status that the HTTP API would answer. 503: the server is over capacity, and it may be tried
    /// again.
    pub status: u16,
    /// What is wrong, in one sentence.
    pub sentence: String,
}
