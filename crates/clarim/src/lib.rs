//! Broadcasting for Rust applications.

// What the derive writes names the crate, and so can be used in the crate itself.
extern crate self as clarim;

pub mod authorization;
mod channel;
mod encryption;
mod error;
mod event;
mod handle;
mod pending;
pub mod publisher;
pub mod queue;
mod settings;
mod socket_id;

#[cfg(feature = "embedded")]
pub mod embedded {
    //! What [`Clarim::embedded`](crate::Clarim::embedded) takes.

    pub use clarim_server::settings::ServerSettings;
    pub use clarim_server::{App, Server};
}

pub use channel::Channel;
pub use clarim_macros::Broadcast;
pub use encryption::MasterKey;
pub use error::Error;
pub use event::{Broadcast, Delivery, EventName};
pub use handle::{Builder, Clarim};
pub use pending::{Anonymous, PendingBroadcast};
pub use publisher::Fake;
pub use settings::{Connection, Settings};
pub use socket_id::SocketId;

#[doc(hidden)]
pub use {serde, serde_json};
