//! Publishers: the ways in which events leave the application.

#[cfg(feature = "bus")]
pub(crate) mod bus;
#[cfg(feature = "embedded")]
pub(crate) mod embedded;
pub(crate) mod http;
pub(crate) mod log;
pub(crate) mod publication;

#[cfg(feature = "bus")]
pub use bus::{BusPublisher, BusSettings};
pub use clarim_protocol::rest::{HistoryDirection, HistoryRequest};
pub use clarim_queue::BoxFuture;
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedPublisher;
pub use http::{HttpPublisher, HttpPublisherSettings};
pub use log::{LogPublisher, NullPublisher};
pub use publication::{Notice, Publication, Publisher};
