//! The server: sockets, workers, HTTP API.

mod accept;
pub mod cli;
mod client;
mod clock;
mod cluster;
mod console;
mod doctor;
mod engine;
mod http;
mod inbox;
mod inspector;
mod lag;
mod listen;
mod log;
mod metrics;
mod open_files;
mod outbox;
mod phase;
mod publisher;
mod pulse;
pub mod run_file;
mod server;
pub mod settings;
mod sockets;
mod tls;
mod traffic;
mod transport;
mod webhooks;
mod worker;

pub use clarim_hub::app::App;
pub use http::HttpService;
pub use publisher::{PublishError, Publisher};
pub use server::{ServedApps, Server};
