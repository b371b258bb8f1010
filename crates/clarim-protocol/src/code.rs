//! Error and close codes.

use std::fmt;

/// A code of `pusher:error` or of a close frame.
///
/// The number tells the client how to react. 4000–4099: do not reconnect. 4100–4199: reconnect after a pause.
/// 4200–4299: reconnect at once. From 4300: the connection stays open.
/// <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/#error-codes>
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(u16);

impl Code {
    /// No app has the key in the path.
    pub const APP_UNKNOWN: Self = Self(4001);
    /// The app has been removed.
    pub const APP_DISABLED: Self = Self(4003);
    /// The app has its maximum number of connections.
    pub const OVER_CONNECTION_QUOTA: Self = Self(4004);
    /// The requested protocol version is not supported.
    pub const UNSUPPORTED_PROTOCOL: Self = Self(4007);
    /// The origin, a signature or a membership is missing or wrong.
    pub const UNAUTHORIZED: Self = Self(4009);
    /// The server is over capacity, or the connection exceeded a limit. The client reconnects after a pause.
    pub const OVER_CAPACITY: Self = Self(4100);
    /// The message is invalid. As a close code, the client reconnects at once.
    pub const GENERIC: Self = Self(4200);
    /// The client did not reply to a ping.
    pub const PONG_TIMEOUT: Self = Self(4201);
    /// The client event is not allowed, or the rate limit is exceeded.
    pub const CLIENT_EVENT_REJECTED: Self = Self(4301);
    /// The watchlist has more than 100 users.
    pub const WATCHLIST_LIMIT: Self = Self(4302);

    /// RFC 6455: normal closure.
    pub const NORMAL: Self = Self(1000);
    /// RFC 6455: the page is closed or left.
    pub const GOING_AWAY: Self = Self(1001);
    /// RFC 6455: a frame violates the standard.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// RFC 6455: a text is not UTF-8.
    pub const INVALID_TEXT: Self = Self(1007);
    /// RFC 6455: a message is too big.
    pub const TOO_BIG: Self = Self(1009);

    /// Returns the code if a peer may send it in a close frame (RFC 6455, section 7.4, and IANA's registry).
    #[must_use]
    pub fn from_peer(code: u16) -> Option<Self> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(Self(code))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
