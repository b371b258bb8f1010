//! The runtime of the workers: accepting, sockets, inboxes, and the hub's way to the outside.

mod accept;
mod connection_filter;
mod counters;
mod engine;
mod inbox;
mod inbox_reader;
mod latency;
mod liveness;
mod observer;
mod origins;
mod query;
mod settings;
mod sink;
mod sockets;

pub(crate) use accept::{
    Acceptor, AddressLimits, Admission, Adopted, Capacity, CapacityLimits, ClientPermit,
    ConnectionPermit, Handshake, HandshakeParams, HttpConnection, Incoming, NewConnection,
    OpenHttp, RequestInProgress, RequestPause, client_address,
};
pub(crate) use connection_filter::ConnectionFilter;
pub(crate) use counters::{Counters, KeyNumbers, SavedCounters, ServerCounters};
#[cfg(feature = "autobahn")]
pub(crate) use engine::Protocol;
#[cfg(not(feature = "autobahn"))]
pub(crate) use engine::Pusher;
pub(crate) use engine::handover;
pub(crate) use engine::{Engine, SWEEP_INTERVAL};
pub(crate) use inbox::{Inbox, Inboxes};
pub(crate) use liveness::Heartbeat;
pub use liveness::Liveness;
pub use observer::Ended;
pub(crate) use observer::{
    Closing, Observer, Observers, PublishSpan, PublishedEvent, TracedPublish, Tracer,
};
pub(crate) use origins::{OriginId, Origins};
pub(crate) use query::{ConnectionPage, ConnectionRow, PAGE_SIZE, Selection, WorkerQuery};
pub(crate) use settings::EngineSettings;
pub(crate) use sink::Sink;
pub(crate) use sockets::{QueueLimits, RestoredSocket, SavedSocket};
