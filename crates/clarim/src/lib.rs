#![doc = include_str!("../README.md")]

// Code from the derive names this crate, also within this crate.
extern crate self as clarim;

pub mod authorization;
mod broadcasting;
mod channel;
#[cfg(feature = "cli")]
mod commands;
#[cfg(feature = "embedded")]
pub mod embedded;
mod encryption;
mod error;
mod events;
mod fake;
mod handle;
mod jobs;
#[cfg(feature = "notifications")]
mod notices;
#[cfg(feature = "notifications")]
pub mod notification;
pub mod publisher;
pub mod queue;
#[cfg(feature = "schedule")]
pub mod schedule;
mod settings;
mod socket_id;
#[cfg(feature = "types")]
pub mod types;
mod variables;

pub use broadcasting::pending::{Anonymous, PendingBroadcast};
pub use channel::{Channel, IntoChannel, InvalidChannel};
pub use clarim_macros::Broadcast;
pub use encryption::MasterKey;
pub use error::{Error, NotificationFailure};
pub use events::{Broadcast, Delivery, EventName, EventType};
pub use fake::{Fake, Sent};
pub use handle::{Builder, Clarim};
pub use queue::QueueConnection;
pub use settings::{Connection, Settings};
pub use socket_id::SocketId;

#[doc(hidden)]
pub use {serde, serde_json};
