//! NATS. Messages need only its core: one without subscribers is dropped. Logs need JetStream.

mod address;
mod error;
mod logs;
mod page;
mod servers;
mod session;
mod streams;
mod subject;

pub(crate) use address::servers_from_url;
