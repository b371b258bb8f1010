//! Publishing from within the server's process: what the HTTP API does, without HTTP.

use std::sync::Arc;
use std::time::Instant;

use clarim_hub::Node;
use clarim_protocol::rest::Event;

use super::publish::{self, PublishError};
use crate::cluster::Cluster;
use crate::runtime::{Counters, Sink};

/// Publishes events of an application that runs in the server's process. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Publisher {
    pub(crate) node: Arc<Node<Sink>>,
    pub(crate) started: Instant,
    pub(crate) counters: Arc<Counters>,
    pub(crate) cluster: Option<Cluster>,
}

impl Publisher {
    /// Publishes an event of the app with this id. The event is checked as `POST /apps/{id}/events` checks
    /// it. When this returns, the send queues of all subscribers have it.
    ///
    /// # Errors
    /// If the app or the event is invalid, or the server can't publish at the moment.
    pub async fn publish(&self, app_id: &str, event: &Event<'_>) -> Result<(), PublishError> {
        let app = self.node.apps().find_by_id(app_id).ok_or_else(|| PublishError::UnknownApp {
            app_id: app_id.chars().take(64).collect(),
        })?;
        let publisher = publish::Publisher {
            node: &self.node,
            now: self.started.elapsed(),
            counters: &self.counters,
            cluster: self.cluster.as_ref(),
        };
        let event = publisher.check(app, event)?;
        publisher.publish(std::slice::from_ref(&event), None).await?;
        Ok(())
    }
}
