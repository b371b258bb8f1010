//! States of the connection.

use std::fmt;

/// The state of the connection, with the names of pusher-js.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// The client has not connected yet.
    Initialized,
    /// The client is connecting, or will be in a moment.
    Connecting,
    /// The client is connected.
    Connected,
    /// There has been no connection for ten seconds. The client keeps trying.
    Unavailable,
    /// The server has refused the client for good (close codes 4000 to 4099), for example because its key is
    /// unknown. The client does not try again before [`Client::reconnect`](crate::Client::reconnect).
    Failed,
    /// The application has disconnected the client.
    Disconnected,
}

impl State {
    /// Whether there is no connection, and none is to be expected in a moment.
    pub(crate) fn is_down(self) -> bool {
        matches!(self, Self::Unavailable | Self::Failed | Self::Disconnected)
    }
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
