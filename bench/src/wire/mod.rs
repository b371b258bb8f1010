//! What goes over the sockets: frames, events, requests, and what of them has arrived.

pub(crate) mod connection;
pub(crate) mod deliveries;
pub(crate) mod event_loop;
pub(crate) mod frames;
pub(crate) mod publisher;
pub(crate) mod websocket;
