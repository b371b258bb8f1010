//! Carries messages between the nodes of a cluster. A bus knows subjects and bytes, and nothing of what they
//! mean.

mod address;
#[cfg(any(feature = "redis", feature = "nats"))]
mod keeper;
mod line;
mod memory;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;

use std::sync::Arc;

pub use address::{Address, Connection, InvalidAddress};
use bytes::Bytes;
pub use memory::{MemoryBus, MemoryConnection};

/// The caller's own number for a message that it publishes.
pub type Ticket = u64;

/// One node's connection to a bus. Nothing here waits or fails: what goes wrong is an [`Event`].
pub trait Bus: Send + 'static {
    /// Begins to listen to `subject`. [`Event::Subscribed`] follows when the bus has confirmed it: nothing
    /// that is published from then on is missed. After a loss of the connection the bus itself subscribes to
    /// everything again, before [`Event::Up`].
    fn subscribe(&mut self, subject: &str);

    /// Ends it. Messages that are on their way may still come.
    fn unsubscribe(&mut self, subject: &str);

    /// Sends `message` to everybody who listens to `subject`, this connection included. Messages of one
    /// connection on one subject keep their order, and none is sent twice. [`Event::Published`] or
    /// [`Event::Lost`] follows with the ticket.
    fn publish(&mut self, subject: &str, message: Bytes, ticket: Ticket);

    /// What happens next; waits as long as nothing does. Safe to drop half-way.
    fn next(&mut self) -> impl Future<Output = Event> + Send;
}

/// What a bus has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The connection stands, and every subscription asked for so far is in place. If it had been lost
    /// before, messages may have been missed.
    Up,
    /// The connection is lost, for this reason. It is sought again.
    Down(String),
    /// A subject is listened to.
    Subscribed {
        /// Which one.
        subject: Arc<str>,
        /// Nobody had listened to it before. `false`: somebody had, or the bus does not know.
        is_first: bool,
    },
    /// A message has come.
    Message {
        /// On which subject.
        subject: Arc<str>,
        /// The message.
        message: Bytes,
    },
    /// The bus has taken a message.
    Published {
        /// Which one.
        ticket: Ticket,
        /// How many connections have got it, where the bus counts them.
        receivers: Option<u32>,
    },
    /// The bus has not taken a message, or nobody knows.
    Lost {
        /// Which one.
        ticket: Ticket,
    },
}
