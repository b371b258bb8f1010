//! Redis and Valkey: a single server, a master that Sentinels watch over, or a cluster with sharded pub/sub.
//!
//! Each server has two connections, one to subscribe and one to publish. Redis may end a subscription of its
//! own accord when a slot moves, and that must not be taken for the reply to another command.

mod address;
mod client;
mod error;
mod log;
mod operation;
mod push;
mod servers;
mod session;
mod topology;

pub(crate) use address::servers_from_url;
