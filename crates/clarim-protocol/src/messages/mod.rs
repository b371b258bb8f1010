//! Messages of the Pusher protocol.

pub mod client;
pub mod server;
