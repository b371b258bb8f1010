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
pub mod history;
mod jobs;
#[cfg(feature = "notifications")]
mod notices;
#[cfg(feature = "notifications")]
pub mod notification;
pub mod publisher;
pub mod queue;
#[cfg(any(feature = "redis", feature = "bus"))]
mod redis_url;
#[cfg(feature = "schedule")]
pub mod schedule;
mod settings;
mod socket_id;
#[cfg(feature = "types")]
pub mod types;
mod variables;

pub use broadcasting::pending::{Anonymous, PendingBroadcast};
pub use channel::{Channel, IntoChannel, InvalidChannel};
/// Implements the trait `Broadcast`.
///
/// ```
/// use clarim::{Broadcast, Channel};
/// use serde::Serialize;
///
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(private = "orders.{user_id}", name = "order.shipped", queue = "high")]
/// struct OrderShipped {
///     user_id: u64,
///     tracking: String,
/// }
///
/// let event = OrderShipped { user_id: 7, tracking: "BR123".to_owned() };
/// assert_eq!(event.broadcast_on()?, [Channel::private("orders.7")?]);
/// # Ok::<(), clarim::InvalidChannel>(())
/// ```
///
/// An event has one or more channels; each attribute may be repeated. `{field}` (or `{field.inner}`) is
/// replaced with the field's value. An unknown field is a compile error.
///
/// | attribute | the event goes to |
/// |---|---|
/// | `channel = "news"` | a public channel |
/// | `private = "orders.{user_id}"` | a private channel |
/// | `presence = "rooms.{room}"` | a presence channel |
/// | `encrypted = "vaults.{id}"` | an encrypted private channel |
///
/// Names have no prefix, like in the front end.
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `name = "order.shipped"` | name, for `.listen('.order.shipped')` | namespace and type name |
/// | `when = "is_due"` | method or function of `&self` that decides whether to send it | always |
/// | `with = "payload"` | method or function that returns the payload, any type that serializes | the event |
/// | `payload = "Parcel"` | the type that `with` returns, for [types for the front end][types] | unknown |
/// | `now` | bypass the queue | queued |
/// | `queue = "high"` | name of the queue | the default queue |
/// | `connection = "redis"` | name of the queue's connection | the default connection |
/// | `delay = 5` | seconds before the first attempt | none |
/// | `tries = 3` | maximum number of attempts while errors are temporary | 100 |
/// | `backoff = [1, 5, 10]` | seconds before each further attempt; the last one repeats | 1, 5, 10 |
/// | `timeout = 30` | timeout for an attempt, in seconds | 60 |
/// | `unique = latest` | an identical event replaces the waiting one | not unique |
/// | `unique_for = 60` | maximum seconds for which a waiting event drops identical ones | not unique |
/// | `unique_by = "{order_id}"` | key that makes events of one name identical | the channels |
///
/// [types]: https://docs.rs/clarim/latest/clarim/types
pub use clarim_macros::Broadcast;
/// Implements [`trait@BroadcastModel`], of which the documentation has an example.
///
/// | attribute | meaning | default |
/// |---|---|---|
/// | `#[model(name = "App.Models.Article")]` | the model's name in the page | `App.Models.` and the type's name |
/// | `#[model(key = "uuid")]` | the field that identifies the model | `id` |
pub use clarim_macros::BroadcastModel;
pub use encryption::MasterKey;
pub use error::{Error, NotificationFailure};
pub use events::{Broadcast, BroadcastModel, Delivery, EventName, EventType, ModelEvent};
pub use fake::{Fake, Sent};
pub use handle::{Builder, Clarim};
pub use queue::QueueConnection;
pub use settings::{Connection, Settings};
pub use socket_id::SocketId;

#[doc(hidden)]
pub use {serde, serde_json};
