//! Errors of the NATS backend, besides those of its client library.

use crate::error::BusError;

/// An error of this backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum NatsError {
    #[error(
        "the NATS credentials cannot be parsed: {0}; create the file with `nsc generate creds`"
    )]
    InvalidCredentials(#[source] std::io::Error),
    #[error("the NATS connection was interrupted: {0}")]
    Interrupted(async_nats::Event),
}

impl From<NatsError> for BusError {
    fn from(error: NatsError) -> Self {
        Self::backend(error)
    }
}
