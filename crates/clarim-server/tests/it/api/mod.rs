//! The HTTP API, publishing from within the process, and TLS.

mod http;
mod publisher;
mod tls;
