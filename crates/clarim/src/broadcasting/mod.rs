//! The application's handle, and what it broadcasts with.

pub(crate) mod broadcaster;
pub(crate) mod handle;
pub(crate) mod outgoing;
pub(crate) mod pending;
