//! Settings of the server as a whole.

use std::fs::File;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use clarim_server::config::{ServerConfig, Tls, Token};

use super::program::state_dir;
use super::reader::Reader;
use super::scaling;
use crate::keys::{self, Key};
use crate::source::Source;
use crate::typed::Values;

const MIN_TOKEN_BYTES: usize = 16;

/// Adds the defaults that depend on something else, so that reports show them like all others.
pub(crate) fn add_defaults(values: &mut Values, is_development: bool) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(1_024);
    let host = if is_development { "127.0.0.1" } else { "0.0.0.0" };
    let scheme = if values.get(&keys::TLS_CERT).is_some() { "https" } else { "http" };
    let is_trusted = if values.get(&keys::APPS_DATABASE_URL).is_some() { "false" } else { "true" };
    values.add(&keys::WEBHOOK_PRIVATE_ADDRESSES, is_trusted, Source::Default);
    values.add(&keys::SERVER_HOST, host, Source::Default);
    values.add(&keys::SCHEME, scheme, Source::Default);
    values.add(&keys::WORKERS, &cores.to_string(), Source::Default);
    if let Some(size) = number(values, &keys::MAX_REQUEST_SIZE)
        && keys::OUTBOX_SIZE.default.parse().is_ok_and(|default: u64| size > default)
    {
        // A request is sent to subscribers as one event.
        values.add(&keys::OUTBOX_SIZE, &size.to_string(), Source::Default);
    }
    if values.get(&keys::SCALING_URL).is_some() {
        values.add(&keys::SCALING_ENABLED, "true", Source::Default);
    }
}

/// The number that was set, if it is one.
fn number(values: &Values, key: &Key) -> Option<u64> {
    values.text(key)?.trim().parse().ok()
}

pub(crate) fn read(reader: &mut Reader<'_>, directory: &Path) -> ServerConfig {
    let defaults = ServerConfig::default();
    let scaling = scaling::read(reader);
    let history_path = history_path(reader, directory, scaling.is_some());
    ServerConfig::default()
        .host(reader.host(&keys::SERVER_HOST).unwrap_or(defaults.host))
        .port(reader.small(&keys::SERVER_PORT).unwrap_or(defaults.port))
        .path(path(reader))
        .max_request_bytes(reader.size(&keys::MAX_REQUEST_SIZE))
        .tls(tls(reader, directory))
        .workers(workers(reader).unwrap_or(defaults.workers))
        .drain(reader.seconds(&keys::DRAIN_SECONDS))
        .outbox_bytes(reader.size(&keys::OUTBOX_SIZE))
        .outbox_timeout(reader.seconds(&keys::OUTBOX_TIMEOUT))
        .handshake_timeout(reader.seconds(&keys::HANDSHAKE_TIMEOUT))
        .max_connections_per_address(count(reader, &keys::MAX_CONNECTIONS_PER_ADDRESS))
        .max_handshakes_per_address(count(reader, &keys::MAX_HANDSHAKES_PER_ADDRESS))
        .fallback(reader.flag(&keys::FALLBACK))
        .compression(reader.flag(&keys::COMPRESSION))
        .metrics_token(token(reader, &keys::METRICS_TOKEN))
        .inspector_token(token(reader, &keys::INSPECTOR_TOKEN))
        .scaling(scaling)
        .history_path(history_path)
        .webhook_private_addresses(reader.flag(&keys::WEBHOOK_PRIVATE_ADDRESSES))
        .webhook_dir(webhook_dir(reader, directory))
}

fn webhook_dir(reader: &mut Reader<'_>, directory: &Path) -> Option<PathBuf> {
    let is_on_disk = reader.choice(&keys::WEBHOOK_STORE, &[("memory", false), ("disk", true)]);
    is_on_disk.then(|| state_dir(reader.values, directory).join("webhooks"))
}

/// The file of the histories.
fn history_path(reader: &mut Reader<'_>, directory: &Path, is_clustered: bool) -> Option<PathBuf> {
    let key = &keys::HISTORY_PATH;
    let path = directory.join(reader.text(key)?);
    if is_clustered {
        let what = "is for a single node, but SCALING_ENABLED is set, and a cluster keeps histories on its bus; remove one of the two";
        reader.wrong(key, what);
    }
    if path.is_dir() {
        let shown = path.display();
        let what = format_args!("is the directory {shown}; name a file in it, as in history.db");
        reader.wrong(key, what);
    } else if let Some(folder) = path.parent().filter(|folder| !is_folder(folder)) {
        let folder = folder.display();
        reader.wrong(key, format_args!("is in {folder}, which is not a directory; create it"));
    }
    Some(path)
}

/// A bare name has an empty parent: the current directory.
fn is_folder(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.is_dir()
}

/// An optional limit.
fn count(reader: &mut Reader<'_>, key: &'static Key) -> Option<u32> {
    reader.optional_number(key).and_then(|number| u32::try_from(number).ok())
}

fn workers(reader: &mut Reader<'_>) -> Option<NonZeroU16> {
    reader.small(&keys::WORKERS).and_then(NonZeroU16::new)
}

/// A token, which must not be short enough to be guessed.
fn token(reader: &mut Reader<'_>, key: &'static Key) -> Option<Token> {
    let text = reader.text(key)?;
    if text.len() < MIN_TOKEN_BYTES {
        let what = format_args!(
            "has {} characters; expected at least {MIN_TOKEN_BYTES}, for example from `openssl rand -hex 16`",
            text.len()
        );
        reader.wrong(key, what);
    }
    Some(Token::new(text))
}

/// The prefix of paths: "ws", "/ws" and "/ws/" are the same.
fn path(reader: &mut Reader<'_>) -> String {
    let text = reader.text(&keys::SERVER_PATH).unwrap_or_default();
    let path = text.trim_matches('/');
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/-._~".contains(&b);
    if !path.bytes().all(plain) || path.contains("//") {
        let what = "is not a path; expected letters, digits and - . _ ~ between slashes, as in /ws";
        reader.wrong(&keys::SERVER_PATH, format_args!("{text:?} {what}"));
    }
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

fn tls(reader: &mut Reader<'_>, directory: &Path) -> Option<Tls> {
    let one_of_two = |reader: &mut Reader<'_>, given: &Key, missing: &Key| {
        let source = reader.values.get(given).map_or(&Source::Default, |value| &value.source);
        let missing = source.name_of(missing);
        reader.wrong(given, format_args!("also needs {missing}; set both or neither"));
    };
    match (reader.text(&keys::TLS_CERT), reader.text(&keys::TLS_KEY)) {
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
