//! The ways in which events leave the application.

#[cfg(feature = "bus")]
mod bus;
#[cfg(feature = "embedded")]
mod embedded;
mod fake;
mod http;
mod log;

use std::fmt;
use std::pin::Pin;

use clarim_protocol::SocketId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::Error;

#[cfg(feature = "bus")]
pub use bus::{BusPublisher, BusSettings};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedPublisher;
pub use fake::{Fake, Sent};
pub use http::HttpPublisher;
pub use log::{LogPublisher, NullPublisher};

/// A future of a trait that is used behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The most channels that one publication may have.
pub(crate) const MAX_CHANNELS: usize = 100;

/// One event on its way to a server: everything is decided, and what is to be encrypted is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// Names on the wire, 1 to 100; an encrypted channel is alone.
    pub channels: Vec<String>,
    /// The event's name on the wire.
    pub name: String,
    /// The event's data as JSON text, which the subscribers get byte for byte.
    pub data: String,
    /// The connection that does not get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_id: Option<SocketId>,
}

/// One notification on its way to one user, other than as a broadcast: everything is decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// The same in the database, in the broadcast, and in whatever else it goes through.
    pub id: Uuid,
    /// What it goes through: `database`, or a channel of the application's own, such as `mail`.
    pub via: String,
    /// The notification's type, as the front end knows it.
    pub notification_type: String,
    /// The type of who is notified.
    pub notifiable_type: String,
    /// And which one of that type.
    pub notifiable_id: String,
    /// The user's address, where a channel of the application's own needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What it says.
    pub data: Value,
}

/// A way to a server.
pub trait Publisher: fmt::Debug + Send + Sync + 'static {
    /// Publishes in this order, and stops at the first failure.
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>>;

    /// Hands on a notification that is not a broadcast. [`Clarim::publisher`](crate::Clarim::publisher)
    /// does it; a way to a server has none, and refuses.
    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Err(Error::no_notification_channel(&notice.via))))
    }
}
