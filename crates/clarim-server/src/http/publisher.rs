//! Publishing from within the server's process: what the HTTP API does, without HTTP.

use std::sync::Arc;
use std::time::Instant;

use clarim_hub::{AppIndex, Node};
use clarim_protocol::Position;
use clarim_protocol::rest::{Event, History, HistoryRequest};

use super::channels::Directory;
use super::channels::history::{self, HistoryError};
use super::idempotency::{Answer, Claim, IdempotencyKeys};
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
    pub(crate) logs: Option<Cluster>,
    pub(crate) keys: Arc<IdempotencyKeys>,
}

impl Publisher {
    /// Publishes an event of the app with this id. The event is checked as `POST /apps/{id}/events` checks
    /// it. When this returns, the send queues of all subscribers have it.
    ///
    /// With an idempotency key, the event is published even if this future is dropped, and the call needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// If the app or the event is invalid, or the server can't publish at the moment.
    pub async fn publish(&self, app_id: &str, event: &Event<'_>) -> Result<(), PublishError> {
        let app = self.app(app_id).map_err(|app_id| PublishError::UnknownApp { app_id })?;
        let publisher = self.publisher();
        let checked = publisher.check(app, event)?;
        let Some(key) = IdempotencyKeys::of_event(app_id, &checked) else {
            publisher.publish(&[&checked], None).await?;
            return Ok(());
        };
        let Some(Claim::First(key)) = self.keys.claim(&[Some(key)], publisher.now).await?.pop()
        else {
            return Ok(());
        };
        let this = self.clone();
        let event = checked.into_owned();
        let published = tokio::spawn(async move {
            let published = this.publisher().publish(&[&event], None).await?;
            key.answer(Answer::plain(published.scope), this.started.elapsed());
            Ok(())
        });
        published.await.unwrap_or(Err(PublishError::ShuttingDown))
    }

    fn publisher(&self) -> publish::Publisher<'_> {
        publish::Publisher {
            node: &self.node,
            now: self.started.elapsed(),
            counters: &self.counters,
            cluster: self.cluster.as_ref(),
            logs: self.logs.as_ref(),
        }
    }

    /// Reads a page of the history of a channel, as `GET /apps/{id}/channels/{channel}/history` does.
    ///
    /// # Errors
    /// If the app, the channel or the request is invalid, or the channel has no history.
    pub async fn history(
        &self,
        app_id: &str,
        channel: &str,
        request: HistoryRequest,
    ) -> Result<History, HistoryError> {
        let app = self.app(app_id).map_err(|app_id| HistoryError::UnknownApp { app_id })?;
        history::when_open(|| history::read(self.directory(), app, channel, request)).await
    }

    /// Returns the position behind the last event of a channel, as `GET
    /// /apps/{id}/channels/{channel}/position` does. A client that subscribes since this position gets every
    /// later event.
    ///
    /// # Errors
    /// If the app or the channel is invalid, or the channel has no history.
    pub async fn position(&self, app_id: &str, channel: &str) -> Result<Position, HistoryError> {
        let app = self.app(app_id).map_err(|app_id| HistoryError::UnknownApp { app_id })?;
        history::when_open(|| history::read_position(self.directory(), app, channel)).await
    }

    /// Finds an app. The error is the start of its id.
    fn app(&self, app_id: &str) -> Result<AppIndex, String> {
        let found = self.node.apps().find_by_id(app_id);
        found.ok_or_else(|| app_id.chars().take(64).collect())
    }

    fn directory(&self) -> Directory<'_> {
        let now = self.started.elapsed();
        Directory { node: &self.node, now, cluster: self.cluster.as_ref() }
    }
}
