//! The server: sockets, workers, HTTP API.

mod accept;
mod console;
mod engine;
mod http;
mod inbox;
mod outbox;
mod server;
pub mod settings;
mod sockets;
mod tls;
mod traffic;
mod transport;
mod worker;

pub use server::Server;
