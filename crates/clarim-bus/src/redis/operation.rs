//! What a session asks a server to do with messages and logs, many requests at once.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};

use super::error::RedisError;
use super::log::{self, Call, Scripts, stream_name};
use super::topology::Topology;
use crate::commands::{LogRead, OutgoingEntry, OutgoingMessage};
use crate::error::BusError;

/// A command that a server replies to. Dropping it reports it as lost.
pub(super) enum Operation {
    Publish(OutgoingMessage),
    Append(OutgoingEntry),
    Read(LogRead),
}

/// A server as operations need to know it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) connection: MultiplexedConnection,
    pub(super) scripts: Arc<Scripts>,
    pub(super) is_sharded: bool,
}

/// Carries out operations in order, in one round trip.
pub(super) async fn perform(
    mut target: Target,
    operations: Vec<Operation>,
) -> Result<(), BusError> {
    let unknown = send(&mut target, operations, Call::Hash).await?;
    if !unknown.is_empty() {
        send(&mut target, unknown, Call::Text).await?;
    }
    Ok(())
}

/// Sends operations and reports their outcomes. Returns those whose script the server does not have.
async fn send(
    target: &mut Target,
    operations: Vec<Operation>,
    call: Call,
) -> Result<Vec<Operation>, BusError> {
    let mut requests = Pipeline::with_capacity(operations.len());
    for operation in &operations {
        requests.add_command(operation.request(target, call));
    }
    let replies = target.connection.send_packed_commands(&requests, 0, operations.len()).await?;
    let mut unknown = Vec::new();
    let mut failure = Ok(());
    for (operation, reply) in operations.into_iter().zip(replies) {
        match reply {
            Value::ServerError(error) if error.code() == "NOSCRIPT" && call == Call::Hash => {
                unknown.push(operation);
            }
            Value::ServerError(error) => {
                let refusal = match error.code() {
                    "NOPERM" => RedisError::Forbidden(error.to_string()),
                    _ => RedisError::Refused(error.to_string()),
                };
                let refusal = refusal.into();
                if operation.ends_session(error.code()) {
                    // Dropping the operation reports it as lost.
                    failure = Err(refusal);
                } else {
                    operation.refuse(refusal);
                }
            }
            reply => {
                if let Err(error) = operation.finish(reply) {
                    failure = Err(error);
                }
            }
        }
    }
    failure.map(|()| unknown)
}

impl Operation {
    /// The index of the server that carries it out.
    pub(super) fn server(&self, topology: &Topology) -> usize {
        match self {
            Self::Publish(message) => topology.server_of(message.subject()),
            Self::Append(entry) => topology.server_of(&stream_name(entry.log().name())),
            Self::Read(read) => topology.server_of(&stream_name(read.log().name())),
        }
    }

    fn request(&self, target: &Target, call: Call) -> Cmd {
        match self {
            Self::Publish(message) => {
                let mut request =
                    redis::cmd(if target.is_sharded { "SPUBLISH" } else { "PUBLISH" });
                request.arg(message.subject().as_bytes()).arg(&message.payload()[..]);
                request
            }
            Self::Append(entry) => target.scripts.append(entry, call, target.is_sharded),
            Self::Read(read) => target.scripts.read(read, call),
        }
    }

    fn finish(self, reply: Value) -> Result<(), BusError> {
        match (self, reply) {
            (Self::Publish(message), Value::Int(receivers)) => {
                message.published(u32::try_from(receivers).ok());
                Ok(())
            }
            // Dropping the message reports it as lost.
            (Self::Publish(_), _) => Ok(()),
            (Self::Append(entry), reply) => {
                let (position, is_duplicate) =
                    log::appended(&reply).ok_or(RedisError::InvalidReply)?;
                entry.appended(position, is_duplicate);
                Ok(())
            }
            (Self::Read(read), reply) => {
                read.page(log::page(reply).ok_or(RedisError::InvalidReply)?)
            }
        }
    }

    /// Whether an error concerns more than this operation. A server that only lacks memory or a right for
    /// logs goes on carrying messages.
    fn ends_session(&self, code: &str) -> bool {
        match self {
            Self::Publish(_) => true,
            Self::Append(_) | Self::Read(_) => {
                matches!(code, "MOVED" | "READONLY" | "LOADING" | "CLUSTERDOWN" | "MASTERDOWN")
            }
        }
    }

    fn refuse(self, error: BusError) {
        match self {
            Self::Publish(message) => drop(message),
            Self::Append(entry) => entry.refused(error),
            Self::Read(read) => read.refused(error),
        }
    }
}
