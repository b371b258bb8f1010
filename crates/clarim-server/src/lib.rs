//! A Pusher-compatible broadcasting server as a library: sockets, workers, HTTP API.

#[cfg(not(unix))]
compile_error!("clarim-server runs on Linux and macOS; on Windows, use WSL 2 or a container");

mod clock;
mod cluster;
pub mod config;
mod events;
mod http;
#[cfg(feature = "inspector")]
mod inspector;
mod net;
mod observability;
mod redact;
mod runtime;
mod server;
mod sync;
#[cfg(feature = "webhooks")]
mod webhooks;

pub use clarim_hub::app::App;
pub use clarim_protocol::{ChannelName, SocketId};
pub use events::{Events, ServerEvent};
pub use http::{PublishError, Publisher};
pub use observability::TARGET as TRAFFIC_TARGET;
pub use runtime::{Ended, Liveness};
pub use server::{BoundServer, HttpService, ServedApps, Server, StartError};
