//! Connections to a server: TCP, TLS, HTTP and WebSocket.

mod certificate;
pub(crate) mod client;
pub(crate) mod exchange;
pub(crate) mod target;
