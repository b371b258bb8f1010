//! NATS, its core without JetStream: a message without subscribers is dropped.

mod address;
mod error;
mod servers;
mod session;

pub(crate) use address::servers_from_url;
