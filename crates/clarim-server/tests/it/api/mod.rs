//! The HTTP API, histories, idempotency keys, publishing from within the process, and TLS.

mod history;
mod http;
mod idempotency;
mod publisher;
mod tls;
