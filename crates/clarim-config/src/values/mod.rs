//! The meaning of values.

pub(crate) mod app;
pub(crate) mod database;
pub(crate) mod history;
pub(crate) mod program;
pub(crate) mod reader;
mod row;
mod scaling;
pub(crate) mod server;
pub(crate) mod traces;
pub(crate) mod webhooks;

pub use database::DatabaseUrl;
pub use program::{LogConfig, LogFormat, LogLevel, PublicAddress, Scheme};
pub use row::{AppConfig, AppRow, read_row};
