//! What can go wrong.

use std::sync::Arc;

/// Why something did not work.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The options can't be meant so.
    #[error("{0}")]
    Options(String),
    /// There is no connection at the moment; it may be tried again when there is one.
    #[error("there is no connection: the client is {0}")]
    NotConnected(crate::State),
    /// The server has refused the client, or ended its connection, for good.
    #[error("the server refuses the connection: {message} (code {code})")]
    Refused {
        /// The code, as the protocol has it.
        code: u16,
        /// What the server says.
        message: String,
    },
    /// The server has refused a subscription.
    #[error("the server refuses the subscription to {channel}: {reason}")]
    Subscription {
        /// The channel.
        channel: String,
        /// What the server says.
        reason: String,
    },
    /// The application has not let the user in, or could not be asked.
    #[error("no authorization for {subject}: {cause}")]
    Authorization {
        /// The channel, or the user that signs in.
        subject: String,
        /// What the authorizer says.
        cause: String,
    },
    /// Data is not of the type that was asked for, or can't be sent.
    #[error("the data of {event}: {cause}")]
    Data {
        /// The event's name.
        event: String,
        /// Serde's complaint.
        cause: Arc<serde_json::Error>,
    },
    /// So many messages wait to be sent that this one is not taken: the server reads too slowly.
    #[error("{0} messages wait to be sent already")]
    Full(usize),
    /// The client is gone.
    #[error("the client has been dropped")]
    Dropped,
}
