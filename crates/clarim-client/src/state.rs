//! How the connection is.

use std::fmt;

/// The state of the connection, with the names that pusher-js has for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing has been done yet.
    Initialized,
    /// An attempt is made, or will be in a moment.
    Connecting,
    /// Messages come and go.
    Connected,
    /// For ten seconds there has been no connection. Attempts go on.
    Unavailable,
    /// The server has refused for good (close codes 4000 to 4099): the key is unknown, for one. No attempt
    /// is made before [`Client::connect`](crate::Client::connect).
    Failed,
    /// The client was disconnected by its own side.
    Disconnected,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initialized => "initialized",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Disconnected => "disconnected",
        })
    }
}
