//! The server's settings: what the typed ones mean together.

use std::fs::File;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use clarim_server::config::{ServerConfig, Tls, Token};

use super::keys::{self, Key};
use super::reader::Reader;
use super::scaling;
use super::source::{Source, Values};
use super::{LogConfig, LogFormat, LogLevel, PublicAddress, Scheme};

const MIN_TOKEN_BYTES: usize = 16;

/// Fills in the defaults that depend on something else, so that they show up like all others.
pub(crate) fn settle_defaults(values: &mut Values, is_development: bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(1_024);
    let host = if is_development { "127.0.0.1" } else { "0.0.0.0" };
    let scheme = if values.get(&keys::TLS_CERT).is_some() { "https" } else { "http" };
    values.add(&keys::SERVER_HOST, host, Source::Default);
    values.add(&keys::SCHEME, scheme, Source::Default);
    values.add(&keys::WORKERS, &cores.to_string(), Source::Default);
}

pub(crate) fn read(reader: &mut Reader<'_>, directory: &Path) -> ServerConfig {
    let defaults = ServerConfig::default();
    let workers = reader.small(&keys::WORKERS).and_then(NonZeroU16::new);
    ServerConfig::default()
        .host(host(reader, &keys::SERVER_HOST).unwrap_or(defaults.host))
        .port(reader.small(&keys::SERVER_PORT).unwrap_or(defaults.port))
        .path(path(reader))
        .max_request_bytes(reader.size(&keys::MAX_REQUEST_SIZE))
        .tls(tls(reader, directory))
        .workers(workers.unwrap_or(defaults.workers))
        .drain(reader.seconds(&keys::DRAIN_SECONDS))
        .outbox_bytes(reader.size(&keys::OUTBOX_SIZE))
        .handshake_timeout(reader.seconds(&keys::HANDSHAKE_TIMEOUT))
        .compression(reader.flag(&keys::COMPRESSION))
        .metrics_token(token(reader, &keys::METRICS_TOKEN))
        .inspector_token(token(reader, &keys::INSPECTOR_TOKEN))
        .scaling(scaling::read(reader))
        .webhook_private_addresses(reader.flag(&keys::WEBHOOK_PRIVATE_ADDRESSES))
}

pub(crate) fn public_address(reader: &mut Reader<'_>) -> PublicAddress {
    let schemes = [("http", Scheme::Http), ("https", Scheme::Https)];
    PublicAddress {
        hostname: host(reader, &keys::HOST),
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

/// The directory of the server's own files.
pub(crate) fn state_dir(values: &Values, directory: &Path) -> PathBuf {
    directory.join(values.text(&keys::STATE_DIR).unwrap_or(keys::STATE_DIR.default).trim())
}

/// A short one could be guessed.
fn token(reader: &mut Reader<'_>, key: &'static Key) -> Option<Token> {
    let text = reader.text(key)?;
    if text.len() < MIN_TOKEN_BYTES {
        let what = format_args!(
            "has {} characters; expected {MIN_TOKEN_BYTES} or more, as `openssl rand -hex 16` makes them",
            text.len()
        );
        reader.wrong(key, what);
    }
    Some(Token::new(text))
}

fn log_level(reader: &mut Reader<'_>) -> LogLevel {
    let words = [
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ];
    reader.choice(&keys::LOG_LEVEL, &words)
}

/// A host name or an address, without scheme, port and path.
fn host(reader: &mut Reader<'_>, key: &Key) -> Option<String> {
    let text = reader.text(key)?;
    let host = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(&text);
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    let is_name = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if is_address || is_name {
        return Some(host.to_owned());
    }
    reader.wrong(
        key,
        format_args!("{text:?} is no host; expected a name or an IP address alone, without scheme, port or path"),
    );
    None
}

/// "ws", "/ws" and "/ws/" are one: "/ws".
fn path(reader: &mut Reader<'_>) -> String {
    let text = reader.text(&keys::SERVER_PATH).unwrap_or_default();
    let path = text.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !path.bytes().all(plain) || path.contains("//") {
        let what = "is no path; expected letters, digits and - . _ ~ between slashes, as in /ws";
        reader.wrong(&keys::SERVER_PATH, format_args!("{text:?} {what}"));
    }
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

fn tls(reader: &mut Reader<'_>, directory: &Path) -> Option<Tls> {
    let (cert, key) = (reader.text(&keys::TLS_CERT), reader.text(&keys::TLS_KEY));
    let one_of_two = |reader: &mut Reader<'_>, given: &Key, missing: &Key| {
        let source = reader.values.get(given).map_or(&Source::Default, |value| &value.source);
        let missing = source.name_of(missing);
        reader.wrong(given, format_args!("needs {missing} beside it; set both, or neither"));
    };
    match (cert, key) {
        (Some(cert), Some(key)) => {
            let tls = Tls::new(directory.join(cert), directory.join(key));
            for (key, file) in [(&keys::TLS_CERT, &tls.cert), (&keys::TLS_KEY, &tls.key)] {
                if let Err(error) = File::open(file) {
                    let file = file.display();
                    reader.wrong(key, format_args!("the file {file} cannot be opened: {error}"));
                }
            }
            Some(tls)
        }
        (Some(_), None) => {
            one_of_two(reader, &keys::TLS_CERT, &keys::TLS_KEY);
            None
        }
        (None, Some(_)) => {
            one_of_two(reader, &keys::TLS_KEY, &keys::TLS_CERT);
            None
        }
        (None, None) => None,
    }
}
