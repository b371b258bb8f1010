//! HTTP requests of commands to a running server.

mod connection;
mod http_client;
mod signed_api;

pub(crate) use connection::{Limits, Remote, RemoteError};
pub(crate) use http_client::system_roots;
pub(crate) use signed_api::{SignedApi, local_url, unix_seconds};
