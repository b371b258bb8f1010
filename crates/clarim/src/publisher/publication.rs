//! Publications, and the trait of publishers.

use std::fmt;

use clarim_protocol::rest::{History, HistoryRequest};
use clarim_protocol::{Position, SocketId};
use clarim_queue::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::error::Error;

/// Maximum number of channels of one publication.
pub(crate) const MAX_CHANNELS: usize = 100;

/// An event ready to be sent: its channels, name and data are final, and encrypted where needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Publication {
    /// Names of the channels on the wire, 1 to 100. An encrypted channel is alone.
    pub channels: Vec<String>,
    /// The event's name on the wire.
    pub name: String,
    /// The event's data as JSON. Subscribers get it byte for byte.
    pub data: String,
    /// The connection that does not get the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<SocketId>,
    /// A text of up to 128 bytes that identifies the publication. If a server of Clarim gets it again within
    /// five minutes, over HTTP or in process, it publishes nothing. It is stored with a queued job, so all
    /// attempts have the same key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

impl Publication {
    /// A publication for all subscribers of these channels, without an idempotency key.
    pub fn new(channels: Vec<String>, name: impl Into<String>, data: impl Into<String>) -> Self {
        let name = name.into();
        let data = data.into();
        Self { channels, name, data, socket_id: None, idempotency_key: None }
    }

    /// Gives it a random idempotency key. Without random numbers of the operating system it has none.
    pub(crate) fn with_random_key(mut self) -> Self {
        let mut bytes = [0; 16];
        let filled = getrandom::fill(&mut bytes);
        self.idempotency_key =
            filled.ok().map(|()| uuid::Builder::from_random_bytes(bytes).into_uuid().to_string());
        self
    }
}

/// A notification ready to be delivered to one user through one channel other than a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Notice {
    /// The notification's id, the same in the database, in the broadcast, and in every channel.
    pub id: Uuid,
    /// The channel: `database`, or one that the application has added, such as `mail`.
    pub via: String,
    /// The notification's type, as the front end knows it.
    pub notification_type: String,
    /// The type of the user.
    pub notifiable_type: String,
    /// The id of the user.
    pub notifiable_id: String,
    /// The user's address for this channel, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The notification's data.
    pub data: Value,
}

/// A way to a server.
pub trait Publisher: fmt::Debug + Send + Sync + 'static {
    /// Publishes in order, and stops at the first error.
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>>;

    /// Delivers a notification that is not a broadcast. Default: an error. The publisher of a
    /// [`Clarim`](crate::Clarim) knows the application's notification channels.
    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        let missing = if notice.via == "database" {
            "this process has no table for notifications; add Clarim::with_notifications"
        } else {
            "this process has no such channel; add Clarim::with_notification_channel"
        };
        let error = Error::undelivered(notice.via.clone(), missing, false);
        Box::pin(std::future::ready(Err(error)))
    }

    /// Reads a page of the history of a channel. Default: an error.
    fn history<'a>(
        &'a self,
        channel: &'a str,
        request: HistoryRequest,
    ) -> BoxFuture<'a, Result<History, Error>> {
        let _ = (channel, request);
        Box::pin(std::future::ready(Err(no_history())))
    }

    /// Returns the position behind the last event of a channel. Default: an error.
    fn position<'a>(&'a self, channel: &'a str) -> BoxFuture<'a, Result<Position, Error>> {
        let _ = channel;
        Box::pin(std::future::ready(Err(no_history())))
    }
}

fn no_history() -> Error {
    let problem = "this connection reads no histories; use the connection to a server of Clarim over HTTP, or the embedded server";
    Error::setting("BROADCAST_CONNECTION", problem)
}
