//! The protocol that the workers speak.

pub(super) use crate::runtime::Pusher as ServedProtocol;

/// The app whose WebSocket has the root path.
pub(super) const ROOT_APP: Option<&str> = None;
