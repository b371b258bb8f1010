//! The publisher to an embedded server.

use clarim_protocol::Position;
use clarim_protocol::rest::{Event, History, HistoryRequest};
use clarim_queue::BoxFuture;
use serde_json::value::to_raw_value;

use super::publication::{Publication, Publisher};
use crate::error::Error;

/// Publishes to a [`Server`](clarim_server::Server) in this process, without HTTP.
#[derive(Debug, Clone)]
pub struct EmbeddedPublisher {
    server: clarim_server::Publisher,
    app_id: String,
}

impl EmbeddedPublisher {
    /// A publisher for one of the server's apps.
    pub fn new(server: clarim_server::Publisher, app_id: impl Into<String>) -> Self {
        Self { server, app_id: app_id.into() }
    }

    async fn send(&self, publication: &Publication) -> Result<(), Error> {
        let data = to_raw_value(&publication.data)
            .map_err(|source| Error::Payload { event: publication.name.clone(), source })?;
        let event = Event {
            name: publication.name.clone(),
            data: &data,
            channels: Some(publication.channels.clone()),
            channel: None,
            socket_id: publication.socket_id.map(|id| id.to_string()),
            info: None,
            idempotency_key: publication.idempotency_key.clone(),
        };
        self.server.publish(&self.app_id, &event).await.map_err(|error| Error::Embedded {
            temporary: error.is_temporary(),
            source: Box::new(error),
        })
    }
}

impl Publisher for EmbeddedPublisher {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for publication in batch {
                self.send(publication).await?;
            }
            Ok(())
        })
    }

    fn history<'a>(
        &'a self,
        channel: &'a str,
        request: HistoryRequest,
    ) -> BoxFuture<'a, Result<History, Error>> {
        Box::pin(async move {
            self.server.history(&self.app_id, channel, request).await.map_err(history_error)
        })
    }

    fn position<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<Position, Error>> {
        Box::pin(
            async move { self.server.position(&self.app_id, channel).await.map_err(history_error) },
        )
    }
}

fn history_error(error: clarim_server::HistoryError) -> Error {
    Error::Embedded { temporary: error.is_temporary(), source: Box::new(error) }
}
