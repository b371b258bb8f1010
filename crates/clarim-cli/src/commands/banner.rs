//! What is printed at start.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};

use super::start::has_playground;
use crate::open_files::RESERVED;
use clarim_config::{Config, Scheme};

/// The text of the banner, with a line feed at its end. `address` is where the server listens,
/// `open_files` how many descriptors the process may have.
///
/// In development mode it has all that a front end needs; otherwise only what tells one server from
/// another. A secret it has never.
#[must_use]
pub(super) fn banner(
    settings: &Config,
    address: SocketAddr,
    open_files: u64,
    colour: bool,
) -> String {
    let style = |style: Style| if colour { style } else { Style::new() };
    let (bold, dim) = (style(Style::new().bold()), style(Style::new().dimmed()));
    let green = style(AnsiColor::Green.on_default().bold());
    let scheme = if settings.server.tls.is_some() { "https" } else { "http" };
    let path = &settings.server.path;
    let mut rows = vec![("Address", format!("{scheme}://{address}{path}"))];
    rows.push(("App key", keys(settings)));
    if let Some(file) = &settings.development {
        let page = format!("{scheme}://{}{path}/playground", reached(address));
        rows.push((
            "Secret",
            format!("in {}, with the app's id, for your backend", file.display()),
        ));
        if has_playground(settings, address) {
            rows.push(("Playground", page));
        }
    }
    rows.push(("Capacity", capacity(open_files)));
    let version = env!("CARGO_PKG_VERSION");
    let mode =
        if settings.is_development() { "development mode: no app is configured" } else { "" };
    let mut out = format!("\n  {green}Clarim{green:#} {version}  {dim}{mode}{dim:#}");
    out.truncate(out.trim_end().len());
    out.push('\n');
    for (name, text) in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "  {dim}{name:<11}{dim:#} {bold}{text}{bold:#}");
    }
    if settings.is_development() {
        let _ = writeln!(out, "\n  {dim}For your front end:{dim:#}\n\n{}", echo(settings, address));
    }
    out.push('\n');
    out
}

fn keys(settings: &Config) -> String {
    let keys: Vec<_> = settings.apps.iter().map(|app| app.key.key()).collect();
    match keys.as_slice() {
        [] => "none".to_owned(),
        [first, second, third, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second}, {third} and {} more", rest.len())
        }
        keys => keys.join(", "),
    }
}

fn capacity(open_files: u64) -> String {
    let connections = open_files.saturating_sub(RESERVED);
    format!("{connections} connections (open files: {open_files})")
}

/// An address for a browser on this machine.
fn reached(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// The configuration of Laravel Echo for this server.
fn echo(settings: &Config, address: SocketAddr) -> String {
    let server = &settings.server;
    let reached = reached(address);
    let ip = reached.rsplit_once(':').map_or(reached.as_str(), |(host, _)| host);
    let host = settings.public.hostname.as_deref().unwrap_or(ip);
    let port = settings.public.port.unwrap_or_else(|| address.port());
    let force_tls = settings.public.scheme == Scheme::Https;
    let key = settings.apps.first().map_or("", |app| app.key.key());
    let path = match server.path.as_str() {
        "" => String::new(),
        path => format!("        wsPath: '{path}',\n"),
    };
    format!(
        "    import Echo from 'laravel-echo';\n    \
         import Pusher from 'pusher-js';\n\n    \
         window.Pusher = Pusher;\n    \
         window.Echo = new Echo({{\n        \
             broadcaster: 'reverb',\n        \
             key: '{key}',\n        \
             wsHost: '{host}',\n        \
             wsPort: {port},\n        \
             wssPort: {port},\n\
             {path}        \
             forceTLS: {force_tls},\n        \
             enabledTransports: ['ws', 'wss'],\n    \
         }});"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clarim_config::{ConfigSources, Flags};

    fn settings(directory: &std::path::Path, environment: &[(&str, &str)]) -> Config {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(&Flags::default(), &ConfigSources::new(directory, environment)).unwrap()
    }

    #[test]
    fn production_is_told_in_four_lines() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(
            directory.path(),
            &[("CLARIM_APP_ID", "1"), ("CLARIM_APP_KEY", "k"), ("CLARIM_APP_SECRET", "hidden!")],
        );
        let text = banner(&settings, "0.0.0.0:8080".parse().unwrap(), 1_124, false);
        assert_eq!(
            text,
            format!(
                "\n  Clarim {}\n  Address     http://0.0.0.0:8080\n  App key     k\n  \
                 Capacity    1024 connections (open files: 1124)\n\n",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    #[test]
    fn development_has_a_configuration_to_paste_and_no_secret() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), &[("CLARIM_SERVER_PATH", "ws/")]);
        let file = std::fs::read_to_string(settings.development.as_ref().unwrap()).unwrap();
        let secret = file.split('"').nth(5).unwrap();
        assert_eq!(secret.len(), 20);
        let text = banner(&settings, "127.0.0.1:9000".parse().unwrap(), 50, false);
        let key = settings.apps[0].key.key();
        for part in [
            "    window.Echo = new Echo({\n        broadcaster: 'reverb',\n",
            &format!(
                "        key: '{key}',\n        wsHost: '127.0.0.1',\n        wsPort: 9000,\n"
            ),
            "        wssPort: 9000,\n        wsPath: '/ws',\n        forceTLS: false,\n",
            "http://127.0.0.1:9000/ws/playground",
            "0 connections",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains(secret) && !text.contains('\u{1b}'));
        assert!(banner(&settings, "[::1]:1".parse().unwrap(), 0, true).contains("wsHost: '[::1]'"));
    }
}
