//! The message bus between the nodes of a Clarim cluster.
//!
//! A bus carries opaque bytes on named subjects, and knows nothing about channels, presence or apps. Four
//! backends are built in: [`MemoryBus`], `FileBus` (feature `file`), Redis or Valkey (feature `redis`) and
//! NATS (feature `nats`). Another one is a [`Backend`] and its [`Session`]; connecting again, subscribing
//! again and the limits on memory are the same for all of them, in this crate.
//!
//! ```
//! use clarim_bus::{Bus, BusEvent, MemoryBus};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // Or, with the feature `redis`: Bus::parse("redis://127.0.0.1:6379")?
//! let bus = Bus::new(MemoryBus::new());
//! let mut connection = bus.connect();
//! connection.subscribe("news");
//! connection.publish("news", "hello".into(), 1);
//! loop {
//!     match connection.next().await {
//!         BusEvent::Message { subject, payload } => {
//!             assert_eq!((&*subject, &*payload), ("news", &b"hello"[..]));
//!             break;
//!         }
//!         BusEvent::Disconnected(error) => eprintln!("connecting again: {error}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```

mod backend;
mod bus;
mod commands;
mod connection;
mod error;
mod event;
#[cfg(feature = "file")]
mod file;
mod log;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "suite")]
pub mod suite;
mod supervisor;
mod url;

pub use backend::{Backend, Session};
pub use bus::Bus;
pub use commands::{Command, Commands, LogRead, OutgoingEntry, OutgoingMessage};
pub use connection::Connection;
pub use error::BusError;
pub use event::{BusEvent, EventSender, PublishId};
#[cfg(feature = "file")]
pub use file::{FileBus, FileBusError, FileSession, FoundFile};
pub use log::{
    IDEMPOTENCY_WINDOW, IdempotencyKey, InvalidIdempotencyKey, Log, LogEntry, LogPage, LogSupport,
    PageLimit, Position, Retention,
};
pub use memory::{MemoryBus, MemorySession};
pub use url::InvalidBusUrl;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
