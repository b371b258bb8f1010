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

    /// `None` where no code fits: all from 4000 to 4299 tell some clients to leave or to come again.
    const fn code(self) -> Option<Code> {
        match self {
            Self::Auth | Self::Channel => Some(Code::UNAUTHORIZED),
            Self::ClientEvent | Self::Rate => Some(Code::CLIENT_EVENT_REJECTED),
            Self::Malformed => Some(Code::GENERIC),
            Self::Duplicate | Self::Limit => None,
        }
    }

    /// What `subscription_error` tells of a refused subscription: its type, and the HTTP status that says the
    /// same. `None`: it is not told, for nothing has failed that was not there before, or it is none.
    const fn subscription_error(self) -> Option<(&'static str, u16)> {
        match self {
            Self::Auth => Some(("AuthError", 401)),
            Self::Channel => Some(("InvalidChannel", 400)),
            Self::Limit => Some(("LimitReached", 403)),
            Self::Duplicate | Self::ClientEvent | Self::Rate | Self::Malformed => None,
        }
    }
}

/// A refused subscription or event.
#[derive(Debug)]
pub(crate) struct Reject {
    why: Rejected,
    message: Cow<'static, str>,
}

impl Reject {
    pub(crate) fn new(why: Rejected, message: impl Into<Cow<'static, str>>) -> Self {
        Self { why, message: message.into() }
    }

    pub(crate) fn auth(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejected::Auth, message)
    }

    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejected::Limit, message)
    }

    /// A presence channel has as many members as it may have.
    pub(crate) fn full(max: usize) -> Self {
        Self::limit(format!("The presence channel has its maximum of {max} members"))
    }

    pub(crate) fn event(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejected::ClientEvent, message)
    }

    /// Tells the connection.
    pub(crate) fn tell(&self, id: ConnectionId, sockets: &mut impl Sockets) {
        sockets.rejected(self.why);
        sockets.send(id, server::error(self.why.code(), &self.message));
    }

    /// Tells the connection that its subscription is refused.
    pub(crate) fn tell_channel(&self, id: ConnectionId, channel: &str, sockets: &mut impl Sockets) {
        self.tell(id, sockets);
        // pusher-js shows `pusher:error` on the connection; Echo's `.error()` hears only this one.
        if let Some((kind, status)) = self.why.subscription_error() {
            let shown: String = channel.chars().take(256).collect();
            sockets.send(id, server::subscription_error(&shown, kind, &self.message, status));
        }
    }
}
