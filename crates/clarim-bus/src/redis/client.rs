//! One connection to a server, and one command on it.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, Value};

use super::error::RedisError;
use crate::error::BusError;

/// Timeout of a connection attempt and of a command. Without a reply for this long, the server is frozen or
/// cannot be reached.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

/// Connects to a server.
pub(super) async fn connect(
    server: &Client,
    config: AsyncConnectionConfig,
) -> Result<MultiplexedConnection, BusError> {
    let config = config
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT))
        .set_pipeline_buffer_size(1024)
        .set_write_backpressure_boundary(256 << 10);
    Ok(server.get_multiplexed_async_connection_with_config(&config).await?)
}

/// Sends a command. A reply that refuses the command shows a live server too, and is returned as nil.
pub(super) async fn request(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> Result<Value, BusError> {
    match connection.send_packed_command(command).await {
        Ok(Value::ServerError(error)) if error.code() == "MOVED" => {
            Err(RedisError::Refused(error.to_string()).into())
        }
        Ok(reply) => Ok(reply),
        Err(error) if error.is_timeout() => Err(BusError::Timeout(TIMEOUT)),
        Err(error)
            if error.is_io_error()
                || error.is_unrecoverable_error()
                || error.code() == Some("MOVED") =>
        {
            Err(error.into())
        }
        Err(_) => Ok(Value::Nil),
    }
}
