//! What is refused of what a client asks for, and how it is told.

use std::borrow::Cow;

use clarim_protocol::{Code, server};

use crate::entry::ConnectionId;
use crate::worker::Sockets;

/// Why something was refused that a client has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// A signature that is not there, or wrong, or for somebody else.
    Auth,
    /// No name of a channel.
    Channel,
    /// Already subscribed. The one refusal that leaves a subscription standing.
    Duplicate,
    /// Over one of the app's limits.
    Limit,
    /// A client event that may not be sent.
    ClientEvent,
    /// Messages that come faster than the app allows.
    Rate,
    /// A message that can't be read.
    Malformed,
}

impl Rejected {
    /// All there are, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Auth,
        Self::Channel,
        Self::Duplicate,
        Self::Limit,
        Self::ClientEvent,
        Self::Rate,
        Self::Malformed,
    ];

    /// In a word, as metrics tell it.
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

    /// As `subscription_error` tells it.
    const fn error_type(self) -> &'static str {
        match self {
            Self::Auth => "AuthError",
            Self::Channel => "InvalidChannel",
            Self::Duplicate => "Duplicate",
            Self::Limit => "LimitReached",
            Self::ClientEvent => "ClientEventRejected",
            Self::Rate => "RateLimited",
            Self::Malformed => "Malformed",
        }
    }
}

/// A refused subscription or event.
#[derive(Debug)]
pub(crate) struct Reject {
    /// `None` where no code fits: all from 4000 to 4299 tell some clients to leave or to come again.
    code: Option<Code>,
    why: Rejected,
    /// The HTTP status that says the same: `subscription_error` tells it too.
    status: u16,
    message: Cow<'static, str>,
}

impl Reject {
    pub(crate) fn new(
        code: impl Into<Option<Code>>,
        why: Rejected,
        status: u16,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { code: code.into(), why, status, message: message.into() }
    }

    pub(crate) fn auth(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::UNAUTHORIZED, Rejected::Auth, 401, message)
    }

    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(None, Rejected::Limit, 403, message)
    }

    /// A presence channel has as many members as it may have.
    pub(crate) fn full(max: usize) -> Self {
        Self::limit(format!("The presence channel has its maximum of {max} members"))
    }

    pub(crate) fn event(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::CLIENT_EVENT_REJECTED, Rejected::ClientEvent, 403, message)
    }

    /// Tells the connection.
    pub(crate) fn tell(&self, id: ConnectionId, sockets: &mut impl Sockets) {
        sockets.rejected(self.why);
        sockets.send(id, server::error(self.code, &self.message));
    }

    /// Tells the connection that its subscription is refused.
    pub(crate) fn tell_channel(&self, id: ConnectionId, channel: &str, sockets: &mut impl Sockets) {
        self.tell(id, sockets);
        // pusher-js shows `pusher:error` on the connection; Echo's `.error()` hears only this one.
        if self.why != Rejected::Duplicate {
            let shown: String = channel.chars().take(256).collect();
            let (kind, status) = (self.why.error_type(), self.status);
            sockets.send(id, server::subscription_error(&shown, kind, &self.message, status));
        }
    }
}
