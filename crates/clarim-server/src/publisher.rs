//! Publishing from within the process that runs the server: what the HTTP API does, without HTTP.

use std::sync::Arc;
use std::time::Instant;

use clarim_hub::Node;
use clarim_protocol::rest::Event;
use hyper::StatusCode;

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

    /// Publishes an event of the app with this id. It is checked like `POST /apps/{id}/events`, and is in the
    /// send queue of every subscriber when this returns.
    ///
    /// # Errors
    /// Returns the reason why the event was not published.
    pub async fn publish(&self, app_id: &str, event: &Event<'_>) -> Result<(), PublishError> {
        let app = self
            .node
            .apps()
            .find_by_id(app_id)
            .ok_or_else(|| PublishError::UnknownApp { app_id: app_id.to_owned() })?;
        let (node, now, counters) = (&*self.node, self.started.elapsed(), &*self.counters);
        let cluster = self.cluster.as_ref();
        let publisher = events::Publisher { node, now, counters, cluster };
        match publisher.publish(app, event).await {
            Ok(_) => Ok(()),
            Err(refused) if refused.status == StatusCode::SERVICE_UNAVAILABLE => {
                Err(PublishError::Overloaded { message: refused.sentence })
            }
            Err(refused) => Err(PublishError::Invalid { message: refused.sentence }),
        }
    }
}

/// The reason why an event was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The server has no app with this id.
    #[error("No matching application for ID [{app_id}].")]
    UnknownApp {
        /// The id.
        app_id: String,
    },
    /// The event is invalid: for example its name, a channel, or the size of its data.
    #[error("{message}")]
    Invalid {
        /// The problem.
        message: String,
    },
    /// The server is over capacity, or can't reach its cluster. Try again later.
    #[error("{message}")]
    Overloaded {
        /// The problem.
        message: String,
    },
}

impl PublishError {
    /// A stable identifier for programs: `unknown_app`, `invalid_event` or `overloaded`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownApp { .. } => "unknown_app",
            Self::Invalid { .. } => "invalid_event",
            Self::Overloaded { .. } => "overloaded",
        }
    }

    /// Whether trying again later may help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Overloaded { .. })
    }
}
