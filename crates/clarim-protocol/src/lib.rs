//! The Pusher Channels protocol as types.

pub mod auth;
mod socket_id;

pub use socket_id::{InvalidSocketId, SocketId};
