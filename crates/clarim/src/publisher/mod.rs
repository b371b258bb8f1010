//! The ways in which events leave the application.

#[cfg(feature = "embedded")]
mod embedded;
mod fake;
mod http;
mod log;

use std::fmt;
use std::pin::Pin;

use clarim_protocol::SocketId;
use serde::{Deserialize, Serialize};

use crate::Error;

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

/// A way to a server.
pub trait Publisher: fmt::Debug + Send + Sync + 'static {
    /// Publishes in this order, and stops at the first failure.
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>>;
}
