//! The reasons for which client requests are rejected.

use clarim_protocol::Code;

/// The reason for which a client's request was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// The signature or user is missing or wrong.
    Auth,
    /// The channel name is invalid.
    Channel,
    /// The connection is already subscribed. The existing subscription stays.
    Duplicate,
    /// One of the app's limits is exceeded.
    Limit,
    /// The client event is not allowed.
    ClientEvent,
    /// The rate limit is exceeded.
    Rate,
    /// The message cannot be parsed.
    Malformed,
}

impl Rejected {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Self; 7] = [
        Self::Auth,
        Self::Channel,
        Self::Duplicate,
        Self::Limit,
        Self::ClientEvent,
        Self::Rate,
        Self::Malformed,
    ];

    /// Returns the label used in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Channel => "channel",
            Self::Duplicate => "duplicate",
            Self::Limit => "limit",
            Self::ClientEvent => "client_event",
            Self::Rate => "rate",
            Self::Malformed => "malformed",
        }
    }

    /// Returns the error code; `None` where no code fits. Codes from 4000 to 4299 are those of closed
    /// connections: some clients disconnect or reconnect when they read one.
    pub(crate) const fn code(self) -> Option<Code> {
        match self {
            Self::ClientEvent | Self::Rate => Some(Code::CLIENT_EVENT_REJECTED),
            Self::Auth | Self::Channel | Self::Malformed | Self::Duplicate | Self::Limit => None,
        }
    }

    /// Returns the type and HTTP status of `subscription_error`; `None` if the reason does not end a
    /// subscription.
    pub(crate) const fn subscription_error(self) -> Option<(&'static str, u16)> {
        match self {
            Self::Auth => Some(("AuthError", 401)),
            Self::Channel => Some(("InvalidChannel", 400)),
            Self::Limit => Some(("LimitReached", 403)),
            Self::Duplicate | Self::ClientEvent | Self::Rate | Self::Malformed => None,
        }
    }
}
