//! Why a connection to a bus failed.

use std::error::Error;
use std::time::Duration;

/// Why a connection to a bus could not be made, or was lost.
///
/// The connection is made again with a backoff, so this error is for logs and health checks.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The server closed the connection.
    #[error("the bus server closed the connection")]
    Closed,
    /// The server has not replied in time.
    #[error(
        "no reply from the bus server within {0:?}; check that it is running and that the network is up"
    )]
    Timeout(Duration),
    /// The owner of the connection reads too slowly, and the connection was given up to bound memory.
    #[error(
        "slow consumer: more than {limit} bytes of bus messages were waiting to be read; reduce the load of \
         this node or add nodes"
    )]
    SlowConsumer {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The backend keeps no logs.
    #[error("the bus {kind} keeps no logs; use memory, a file, Redis or NATS with JetStream")]
    NoLogs {
        /// The backend's name.
        kind: &'static str,
    },
    /// The server lacks what logs need: a feature, a version, or a right of the user.
    #[error(transparent)]
    LogsUnsupported(Box<dyn Error + Send + Sync>),
    /// The backend, or the client library below it, reports an error of its own.
    #[error(transparent)]
    Backend(Box<dyn Error + Send + Sync>),
}

impl BusError {
    /// Wraps a backend's own error.
    pub fn backend(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Backend(error.into())
    }

    /// The error's stable code, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "bus_closed",
            Self::Timeout(_) => "bus_timeout",
            Self::SlowConsumer { .. } => "bus_slow_consumer",
            Self::NoLogs { .. } | Self::LogsUnsupported(_) => "bus_no_logs",
            Self::Backend(_) => "bus_backend",
        }
    }
}
