//! The banner that `clarim start` prints.

use std::fmt;
use std::net::SocketAddr;

use anstyle::{AnsiColor, Style};
use clarim_config::{Config, Scheme};

/// The banner of a server that listens on `address`.
///
/// In development mode it contains everything that a front end needs, otherwise only what distinguishes
/// servers. It never contains a secret.
pub(super) struct Banner<'a> {
    pub(super) settings: &'a Config,
    pub(super) address: SocketAddr,
    /// Maximum number of open files of the process.
    pub(super) open_files: u64,
    pub(super) is_coloured: bool,
}

/// Whether the playground is served. Everyone who opens it can publish, so it exists only in development
/// mode and on this machine.
pub(super) fn has_playground(settings: &Config, address: SocketAddr) -> bool {
    settings.is_development() && address.ip().is_loopback()
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, address, open_files, is_coloured } = *self;
        let style = |style: Style| if is_coloured { style } else { Style::new() };
        let bold = style(Style::new().bold());
        let dim = style(Style::new().dimmed());
        let green = style(AnsiColor::Green.on_default().bold());
        let version = env!("CARGO_PKG_VERSION");
        write!(f, "\n  {green}Clarim{green:#} {version}")?;
        if settings.is_development() {
            write!(f, "  {dim}development mode: no app is configured{dim:#}")?;
        }
        writeln!(f)?;
        for (name, text) in rows(settings, address, open_files) {
            writeln!(f, "  {dim}{name:<11}{dim:#} {bold}{text}{bold:#}")?;
        }
        if settings.is_development() {
            writeln!(f, "\n  {dim}For your front end:{dim:#}\n\n{}", echo(settings, address))?;
        }
        writeln!(f)
    }
}

fn rows(settings: &Config, address: SocketAddr, open_files: u64) -> Vec<(&'static str, String)> {
    let scheme = if settings.server.tls.is_some() { "https" } else { "http" };
    let path = &settings.server.path;
    let mut rows =
        vec![("Address", format!("{scheme}://{address}{path}")), ("App key", keys(settings))];
    if let Some(file) = &settings.development {
        let file = file.display();
        rows.push(("Secret", format!("in {file}, with the app's id, for your backend")));
        if has_playground(settings, address) {
            rows.push(("Playground", format!("{scheme}://{}{path}/playground", local(address))));
        }
    }
    let connections = settings.server.capacity(open_files);
    rows.push(("Capacity", format!("{connections} connections (open files: {open_files})")));
    rows
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

/// Address for a browser on this machine.
fn local(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("localhost:{}", address.port())
    } else {
        address.to_string()
    }
}

/// The configuration of Laravel Echo for this server.
fn echo(settings: &Config, address: SocketAddr) -> String {
    let server = &settings.server;
    let local = local(address);
    let ip = local.rsplit_once(':').map_or(local.as_str(), |(host, _)| host);
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

    fn banner(settings: &Config, address: &str, open_files: u64, is_coloured: bool) -> String {
        let address = address.parse().unwrap();
        Banner { settings, address, open_files, is_coloured }.to_string()
    }

    fn settings(directory: &std::path::Path, environment: &[(&str, &str)]) -> Config {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Config::load(&Flags::default(), &ConfigSources::new(directory, environment)).unwrap()
    }

    #[test]
    fn in_production_the_banner_has_four_lines() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(
            directory.path(),
            &[
                ("CLARIM_APP_ID", "1"),
                ("CLARIM_APP_KEY", "k"),
                ("CLARIM_APP_SECRET", "hidden!"),
                ("CLARIM_WORKERS", "2"),
            ],
        );
        let text = banner(&settings, "0.0.0.0:8080", 1_124, false);
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
    fn in_development_the_banner_has_a_configuration_without_secret() {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(directory.path(), &[("CLARIM_SERVER_PATH", "ws/")]);
        let file = std::fs::read_to_string(settings.development.as_ref().unwrap()).unwrap();
        let secret = file.split('"').nth(5).unwrap();
        assert_eq!(secret.len(), 20);
        let text = banner(&settings, "127.0.0.1:9000", 50, false);
        let key = settings.apps[0].key.key();
        for part in [
            "    window.Echo = new Echo({\n        broadcaster: 'reverb',\n",
            &format!(
                "        key: '{key}',\n        wsHost: '127.0.0.1',\n        wsPort: 9000,\n"
            ),
            "        wssPort: 9000,\n        wsPath: '/ws',\n        forceTLS: false,\n",
            "http://127.0.0.1:9000/ws/playground",
            "25 connections",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(!text.contains(secret) && !text.contains('\u{1b}'));
        assert!(banner(&settings, "[::1]:1", 0, true).contains("wsHost: '[::1]'"));
    }
}
