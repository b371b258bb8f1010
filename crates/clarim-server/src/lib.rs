//! A Pusher-compatible broadcasting server as a library: sockets, workers, HTTP API.

mod accept;
mod client;
mod clock;
mod cluster;
pub mod config;
mod engine;
mod events;
mod http;
mod inbox;
mod inspector;
mod lag;
mod listen;
mod metrics;
mod outbox;
mod phase;
mod publisher;
mod pulse;
mod queue;
mod server;
mod sockets;
mod tls;
mod traces;
mod traffic;
mod transport;
mod webhooks;
mod worker;

pub use clarim_hub::app::App;
pub use clarim_protocol::{ChannelName, SocketId};
pub use events::{Ended, Events, ServerEvent};
pub use http::HttpService;
pub use publisher::{PublishError, Publisher};
pub use pulse::Liveness;
pub use server::{BoundServer, ServedApps, Server};
pub use traffic::TARGET as TRAFFIC_TARGET;
