//! A real-time broadcasting server as a library, for every Pusher client and SDK.
//!
//! Start with [`Server`]. These are its parts, from the top down; each knows only those below it:
//!
//! | Module | Holds |
//! |---|---|
//! | `server` | the composition of all parts, the routes, the threads |
//! | `webhooks`, `inspector`, `observability`, `events` | consumers of what happens on the server |
//! | `http` | the HTTP API, publishing, handshakes |
//! | `runtime`, `cluster` | the workers with their sockets and inboxes; the connection to the other nodes |
//! | `config`, `net`, `sync` | configuration, sockets and TLS, primitives that threads share |

#![cfg_attr(
    any(
        feature = "autobahn",
        not(all(feature = "inspector", feature = "otel", feature = "tls", feature = "webhooks"))
    ),
    allow(dead_code, unused_imports, reason = "parts that only an absent feature uses")
)]

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

pub use clarim_hub::app::{App, ClientEvents, HistoryRule, Limits, Origins, RateLimit};
pub use clarim_hub::snapshot::{
    READABLE as READABLE_SNAPSHOTS, SnapshotError, VERSION as SNAPSHOT_VERSION,
};
pub use clarim_protocol::rest::{
    Event, History, HistoryDirection, HistoryEvent, HistoryRequest, InvalidHistoryRequest,
};
pub use clarim_protocol::server::ClientEventData;
pub use clarim_protocol::{ChannelName, Position, SocketId};
pub use events::{Events, ServerEvent};
pub use http::{HistoryError, PublishError, Publisher};
pub use observability::TARGET as TRAFFIC_TARGET;
pub use runtime::{Ended, Liveness};
pub use server::{
    BoundServer, Handover, HandoverError, HandoverHandle, HttpService, Inherited, ServedApps,
    Server, StartError,
};

/// Tests the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
