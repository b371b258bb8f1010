//! Settings of a program that runs a server.

use std::path::{Path, PathBuf};

use super::reader::Reader;
use crate::keys;
use crate::typed::Values;

/// How clients reach the server, if a proxy or a name stands in front of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PublicAddress {
    /// Host name.
    pub hostname: Option<String>,
    /// Scheme.
    pub scheme: Scheme,
    /// Port; `None` for the port the server listens on.
    pub port: Option<u16>,
}

/// Scheme of a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// Without TLS.
    #[default]
    Http,
    /// With TLS, terminated by the server itself or by a proxy.
    Https,
}

/// How a program logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogConfig {
    /// Format of log lines.
    pub format: LogFormat,
    /// Minimum level of log lines.
    pub level: LogLevel,
    /// Whether every message of clients and backends is printed.
    pub debug: bool,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Plain text.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Level of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Probable failures.
    Warn,
    /// Rare events.
    #[default]
    Info,
    /// Frequent events.
    Debug,
    /// Everything.
    Trace,
}

pub(crate) fn public_address(reader: &mut Reader<'_>) -> PublicAddress {
    let schemes = [
        ("http", Scheme::Http),
        ("https", Scheme::Https),
        ("ws", Scheme::Http),
        ("wss", Scheme::Https),
    ];
    PublicAddress {
        hostname: reader.host(&keys::HOST),
        scheme: reader.choice(&keys::SCHEME, &schemes),
        port: reader.small(&keys::PORT),
    }
}

pub(crate) fn log(reader: &mut Reader<'_>) -> LogConfig {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    LogConfig {
        format: reader.choice(&keys::LOG_FORMAT, &formats),
        level: log_level(reader),
        debug: reader.flag(&keys::DEBUG),
    }
}

fn log_level(reader: &mut Reader<'_>) -> LogLevel {
    let words = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        // Laravel's names.
        ("emergency", LogLevel::Error),
        ("alert", LogLevel::Error),
        ("critical", LogLevel::Error),
        ("warning", LogLevel::Warn),
        ("notice", LogLevel::Info),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    reader.choice(&keys::LOG_LEVEL, &words)
}

/// The directory of the program's own files.
pub(crate) fn state_dir(values: &Values, directory: &Path) -> PathBuf {
    directory.join(values.text(&keys::STATE_DIR).unwrap_or(keys::STATE_DIR.default).trim())
}
