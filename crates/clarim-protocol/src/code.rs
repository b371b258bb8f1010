//! Error and close codes, by what a client does about them.

use std::fmt;

/// A code of `pusher:error` or of a close frame.
///
/// Clients read the class out of the number: 4000–4099 never reconnect; 4100–4199 reconnect after a
/// pause; 4200–4299 reconnect at once. Codes from 4300 on close nothing.
/// <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/#error-codes>
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Code(u16);

impl Code {
    /// The key in the path is of no app here.
    pub const APP_UNKNOWN: Self = Self(4001);
    /// The app is no longer there.
    pub const APP_DISABLED: Self = Self(4003);
    /// The app has as many connections as it may have.
    pub const OVER_CONNECTION_QUOTA: Self = Self(4004);
    /// The protocol version asked for isn't spoken here.
    pub const UNSUPPORTED_PROTOCOL: Self = Self(4007);
    /// The origin, a signature or a membership is missing or wrong.
    pub const UNAUTHORIZED: Self = Self(4009);
    /// The server or a bound of the connection is full: come back after a pause.
    pub const OVER_CAPACITY: Self = Self(4100);
    /// The message could not be understood; as a close code: come back at once.
    pub const GENERIC: Self = Self(4200);
    /// The client did not answer a ping.
    pub const PONG_TIMEOUT: Self = Self(4201);
    /// The client sent more than it may, or what it may not.
    pub const CLIENT_EVENT_REJECTED: Self = Self(4301);
    /// The watchlist has more than 100 users.
    pub const WATCHLIST_LIMIT: Self = Self(4302);

    /// RFC 6455: done.
    pub const NORMAL: Self = Self(1000);
    /// RFC 6455: a frame that the standard forbids.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// RFC 6455: a text that is no UTF-8.
    pub const INVALID_TEXT: Self = Self(1007);
    /// RFC 6455: a message over the limit.
    pub const TOO_BIG: Self = Self(1009);

    /// A code that a peer may send in a close frame: RFC 6455, section 7.4, and what IANA has added.
    #[must_use]
    pub fn from_peer(code: u16) -> Option<Self> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(Self(code))
    }

    /// The number on the wire.
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
