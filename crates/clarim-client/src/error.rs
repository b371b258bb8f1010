//! Errors of the client.

use std::sync::Arc;
use std::time::Duration;

use crate::state::State;

type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// An error of the client.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option is invalid.
    #[error("{problem}")]
    Options {
        /// The problem, and what is expected.
        problem: String,
    },
    /// The client is not connected. Unless it is disconnected, it keeps trying.
    #[error("not connected: the client is {state}{}", because(.cause.as_deref()))]
    NotConnected {
        /// The state of the connection.
        state: State,
        /// Why there is no connection, if an attempt has failed or the connection was lost.
        cause: Option<Box<Self>>,
    },
    /// An attempt to connect has failed: an unknown host, a closed port, an untrusted certificate, a server
    /// that does not speak the protocol at this path.
    #[error("cannot connect to {url}: {source}")]
    Connect {
        /// The server's URL.
        url: String,
        /// The cause.
        source: SharedError,
    },
    /// The connection was lost.
    #[error("the connection was lost: {reason}")]
    Lost {
        /// The close code and message of the server, or the error of the network.
        reason: String,
    },
    /// The channel is not subscribed at the moment. Wait for
    /// [`Update::Subscribed`](crate::Update::Subscribed).
    #[error("{channel} is not subscribed")]
    NotSubscribed {
        /// The channel.
        channel: String,
    },
    /// The server has refused the client for good.
    #[error("the server refuses the connection: {message} (code {code})")]
    Refused {
        /// The close code.
        code: u16,
        /// The server's message.
        message: String,
    },
    /// The server has refused a subscription.
    #[error("the server refuses the subscription to {channel}: {reason}")]
    Subscription {
        /// The channel.
        channel: String,
        /// The server's reason.
        reason: String,
    },
    /// The server did not answer a subscription or a sign-in. It may not support it.
    #[error("{subject}: no answer from the server within {limit:?}")]
    NoAnswer {
        /// The channel, or the user that signs in.
        subject: String,
        /// The timeout for a connection, an authorization and the answer.
        limit: Duration,
    },
    /// A subscription was to start at a position, but the channel is subscribed already. Drop its other
    /// handles first.
    #[error(
        "{channel} is subscribed already: drop its other handles to subscribe since a position"
    )]
    AlreadySubscribed {
        /// The channel.
        channel: String,
    },
    /// The application has denied the authorization.
    #[error("cannot authorize {subject}: {source}")]
    Authorization {
        /// The channel, or the user that signs in.
        subject: String,
        /// The authorizer's error.
        source: SharedError,
    },
    /// The application could not be asked for an authorization. The client asks again after a pause.
    #[error("cannot authorize {subject} at the moment: {source}")]
    Unavailable {
        /// The channel, or the user that signs in.
        subject: String,
        /// The authorizer's error.
        source: SharedError,
    },
    /// Data has another type than expected, or can't be serialized.
    #[error("the data of {event}: {source}")]
    Data {
        /// The event's name.
        event: String,
        /// The error of the serializer or deserializer.
        source: Arc<serde_json::Error>,
    },
    /// Too many messages wait to be sent, since the server reads too slowly. Try again later.
    #[error("cannot send: {limit} messages are waiting already")]
    Full {
        /// The maximum number of waiting messages.
        limit: usize,
    },
    /// The client has been dropped.
    #[error("the client has been dropped")]
    Dropped,
}

fn because(cause: Option<&Error>) -> String {
    cause.map_or_else(String::new, |cause| format!("; {cause}"))
}

impl Error {
    pub(crate) fn options(problem: impl Into<String>) -> Self {
        Self::Options { problem: problem.into() }
    }

    /// The temporary failure of an [`Authorizer`](crate::Authorizer), which is asked again after a pause.
    pub fn unavailable(
        subject: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { subject: subject.into(), source: cause.into().into() }
    }

    /// The failure of an [`Authorizer`](crate::Authorizer).
    pub fn authorization(
        subject: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Authorization { subject: subject.into(), source: cause.into().into() }
    }

    /// A stable identifier for programs, such as `not_connected`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Options { .. } => "invalid_options",
            Self::NotConnected { .. } => "not_connected",
            Self::Connect { .. } => "cannot_connect",
            Self::Lost { .. } => "connection_lost",
            Self::NotSubscribed { .. } => "not_subscribed",
            Self::Refused { .. } => "refused",
            Self::Subscription { .. } => "subscription_refused",
            Self::NoAnswer { .. } => "no_answer",
            Self::AlreadySubscribed { .. } => "already_subscribed",
            Self::Authorization { .. } => "not_authorized",
            Self::Unavailable { .. } => "authorization_unavailable",
            Self::Data { .. } => "invalid_data",
            Self::Full { .. } => "send_queue_full",
            Self::Dropped => "dropped",
        }
    }
}
