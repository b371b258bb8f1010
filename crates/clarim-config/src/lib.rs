//! Configuration of a Clarim server: what was typed, and what it means.
//!
//! Values come from command-line flags, environment variables, `.env` and `clarim.toml`; [`keys`] is the
//! table of all settings. [`Config::load`] reads every source, checks the values together and returns
//! either a [`Config`] or a [`ConfigError`] with every problem at once.
//!
//! ```no_run
//! use clarim_config::{Config, ConfigSources, Flags};
//!
//! let config = Config::load(&Flags::default(), &ConfigSources::of_process())?;
//! let server = clarim_server::Server::start(config.server, config.apps, false)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod deployment;
pub mod keys;
mod problem;
mod report;
mod source;
mod sources;
#[cfg(test)]
mod tests;
mod typed;
mod values;

pub use config::Config;
pub use problem::{ConfigError, Problem};
pub use report::Row;
pub use source::Source;
pub use sources::{
    ConfigSources, CreateIfMissing, Credentials, Flags, HANDOVER, prepare_state_dir, variable_name,
};
pub use values::{
    AppConfig, AppRow, DatabaseUrl, LogConfig, LogFormat, LogLevel, PublicAddress, Scheme, read_row,
};
