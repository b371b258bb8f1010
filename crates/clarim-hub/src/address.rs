//! Addresses inside a node: workers, connections, apps, channels.

use std::fmt;

use clarim_protocol::{ChannelName, SocketId};

use crate::snapshot::SnapshotError;

/// A worker of the node: one of its threads, which owns its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerId(pub u16);

/// A connection's slot in its worker. Slots are reused after a connection has closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// An app's index in the registry of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppIndex(pub(crate) u32);

/// The address of a connection in the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionAddr {
    /// Its worker.
    pub worker: WorkerId,
    /// Its slot in that worker.
    pub connection: ConnectionId,
}

impl ConnectionAddr {
    /// Returns the connection's public id. The id contains the address, so excluding a connection from a
    /// delivery needs no map; the nonce distinguishes connections that use the same slot.
    #[must_use]
    pub fn socket_id(self, nonce: u64) -> SocketId {
        let place = u64::from(self.connection.0) << 16 | u64::from(self.worker.0);
        SocketId { nonce, place: place + 1 }
    }

    /// Returns the address in this id, if it can be an id of this node.
    #[must_use]
    pub fn of(socket_id: SocketId) -> Option<Self> {
        let place = socket_id.place.checked_sub(1)?;
        let connection = ConnectionId(u32::try_from(place >> 16).ok()?);
        Some(Self { worker: WorkerId((place & 0xffff) as u16), connection })
    }
}

/// A channel of an app.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelKey {
    /// The app.
    pub app: AppIndex,
    /// The channel's name.
    pub name: ChannelName,
}

impl ChannelKey {
    /// Returns the channel of this name in a snapshot.
    pub(crate) fn restored(app: AppIndex, name: &str) -> Result<Self, SnapshotError> {
        let name = ChannelName::parse(name, usize::MAX)
            .map_err(|error| SnapshotError::invalid(error.to_string()))?;
        Ok(Self { app, name })
    }

    /// Returns the channel of a user of the app, if the id can be part of a channel name. Its entry in the
    /// directory holds the user's connections and watchers.
    pub(crate) fn of_user(app: AppIndex, user: &str) -> Option<Self> {
        Some(Self { app, name: ChannelName::of_user(user).ok()? })
    }
}

impl fmt::Debug for ChannelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.app, self.name)
    }
}
