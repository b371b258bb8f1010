//! What can go wrong with Redis beside the errors of its client library.

use crate::error::BusError;

/// An error of this backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum RedisError {
    #[error("the Sentinels do not know a reachable master {master:?}: {source}; check its name")]
    NoMaster { master: String, source: redis::RedisError },
    #[error("the Redis server is a replica now, no longer the master")]
    Demoted,
    #[error("a slot of the Redis Cluster has moved to another server")]
    SlotMoved,
    #[error("the Redis server refused a command: {0}")]
    Refused(String),
    #[error(
        "the Redis user lacks a right for logs ({0}); the README of clarim-bus lists the rights"
    )]
    Forbidden(String),
    #[error(
        "the Redis Cluster serves only {served} of {total} slots; check it with `redis-cli --cluster check`"
    )]
    SlotsMissing { served: u32, total: u16 },
    #[error("the Redis server gave an invalid reply to CLUSTER SLOTS")]
    InvalidTopology,
    #[error(
        "the Redis server has version {version}, which keeps no logs; use Redis 6.2 or newer, or Valkey"
    )]
    TooOldForLogs { version: String },
    #[error(
        "the Redis server gave an invalid reply to a script; check that only Clarim writes its keys"
    )]
    InvalidReply,
    #[error("no server of the Redis Cluster can be used: {}", join(.0))]
    NoServer(Vec<(String, BusError)>),
}

fn join(errors: &[(String, BusError)]) -> String {
    let errors: Vec<String> =
        errors.iter().map(|(server, error)| format!("{server}: {error}")).collect();
    errors.join("; ")
}

impl From<RedisError> for BusError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::TooOldForLogs { .. } | RedisError::Forbidden(_) => {
                Self::LogsUnsupported(error.into())
            }
            error => Self::backend(error),
        }
    }
}

impl From<redis::RedisError> for BusError {
    fn from(error: redis::RedisError) -> Self {
        // The library's messages contain no password.
        Self::backend(error)
    }
}
