//! Rejections of client requests, and the messages that they cause.

use std::borrow::Cow;

use clarim_protocol::server;

use crate::address::ConnectionId;
use crate::rejected::Rejected;
use crate::sockets::Sockets;

/// A rejected request.
#[derive(Debug)]
pub(crate) struct Rejection {
    reason: Rejected,
    message: Cow<'static, str>,
}

impl Rejection {
    pub(crate) fn new(reason: Rejected, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into() }
    }

    pub(crate) fn auth(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejected::Auth, message)
    }

    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejected::Limit, message)
    }

    pub(crate) fn client_event(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejected::ClientEvent, message)
    }

    /// The presence channel has its maximum number of members.
    pub(crate) fn presence_full(max: usize) -> Self {
        Self::limit(format!("The presence channel has its maximum of {max} members"))
    }

    /// Sends the error to the client.
    pub(crate) fn send(&self, id: ConnectionId, sockets: &mut impl Sockets) {
        sockets.rejected(self.reason);
        sockets.send(id, server::error(self.reason.code(), &self.message));
    }

    /// Sends the error of a rejected subscription to the client.
    pub(crate) fn send_for_channel(
        &self,
        id: ConnectionId,
        channel: &str,
        sockets: &mut impl Sockets,
    ) {
        self.send(id, sockets);
        // pusher-js shows `pusher:error` on the connection. Echo's `.error()` waits for the first of these,
        // and `SubscribeAsync` of the .NET client for the second.
        if let Some((kind, status)) = self.reason.subscription_error() {
            let shown: String = channel.chars().take(256).collect();
            for event in ["pusher:subscription_error", "pusher_internal:subscription_error"] {
                let error = server::subscription_error(event, &shown, kind, &self.message, status);
                sockets.send(id, error);
            }
        }
    }
}
