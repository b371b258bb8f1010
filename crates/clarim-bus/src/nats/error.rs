//! Errors of the NATS backend, besides those of its client library.

use std::sync::Arc;

use async_nats::jetstream::context::CreateStreamError;

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
    #[error(
        "NATS keeps no logs without JetStream ({0}); start it with `nats-server -js -sd FOLDER`, and allow it \
         for the account"
    )]
    NoJetStream(#[source] async_nats::Error),
    #[error("NATS does not find the stream of a log ({0}); try again")]
    Lookup(#[source] async_nats::Error),
    #[error("NATS does not create a stream for logs: {0}; check the limits of JetStream")]
    NoStream(#[source] CreateStreamError),
    #[error("NATS has no stream for logs yet; try again")]
    NoLogs,
    #[error(
        "the NATS stream {stream} takes the subjects {subjects} of Clarim's logs; change its subjects"
    )]
    ForeignStream { stream: String, subjects: String },
    #[error("NATS drops the entries of a log while they are read; try again")]
    Dropping,
    #[error("NATS cannot read a log: {0}")]
    Read(#[source] async_nats::Error),
}

impl NatsError {
    pub(super) fn read(error: impl Into<async_nats::Error>) -> Self {
        Self::Read(error.into())
    }
}

impl From<NatsError> for BusError {
    fn from(error: NatsError) -> Self {
        Arc::new(error).into()
    }
}

/// For several entries with one outcome.
impl From<Arc<NatsError>> for BusError {
    fn from(error: Arc<NatsError>) -> Self {
        match *error {
            NatsError::NoJetStream(_) => Self::LogsUnsupported(error.into()),
            _ => Self::backend(error),
        }
    }
}
