//! Sending of events.

pub(crate) mod broadcaster;
pub(crate) mod outgoing;
pub(crate) mod pending;
pub(crate) mod publishers;
