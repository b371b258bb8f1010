//! The HTTP API, credentials with any characters, histories, idempotency keys, publishing from within the
//! process, and TLS.

mod credentials;
mod history;
mod http;
mod idempotency;
mod publisher;
pub(crate) mod tls;
