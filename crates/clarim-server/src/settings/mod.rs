//! What the settings mean.
//!
//! [`keys`] is the table of all there are; [`source`] is what was typed, and where; this module is
//! what that means, checked as a whole.

use std::collections::HashMap;
use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clarim_hub::app::App;
use hyper::Uri;

mod apps;
mod database;
mod dev_app;
mod env;
mod file;
pub mod keys;
mod reader;
mod report;
mod scaling;
mod server;
pub mod source;
pub(crate) mod state_dir;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod traces;
mod webhooks;

use reader::Reader;
use source::{Source, Typed, Values};

pub use database::DatabaseUrl;
pub use dev_app::Credentials;
pub(crate) use env::variable_name;
pub use report::Row;
pub use source::{Problem, SettingsError};
pub(crate) use table::{AppRow, HookedApp, read_row};
pub use token::Token;
pub use webhooks::Webhook;
pub(crate) use webhooks::hooks;

/// Everything the server is told at its start.
#[derive(Debug)]
pub struct Settings {
    /// Of the server as a whole.
    pub server: ServerSettings,
    /// The apps served. Empty only after [`Settings::check`] without a development app, or where apps are in
    /// a database.
    pub apps: Vec<App>,
    /// Where more apps are. Nothing has been read from there yet: `clarim start` does it.
    pub apps_database: Option<DatabaseUrl>,
    /// In development mode, when no app is configured anywhere: the file of the app that is served.
    pub development: Option<PathBuf>,
    /// What was left out, and why: one line each, to be logged.
    pub warnings: Vec<String>,
    /// Every setting with its value and source, secrets left out.
    pub rows: Vec<Row>,
    /// The files that were looked for; they need not be there.
    pub files: Vec<PathBuf>,
}

/// What was typed on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Address to listen on.
    #[arg(long)]
    pub host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    pub port: Option<String>,
    /// Prefix of every path.
    #[arg(long)]
    pub path: Option<String>,
    /// Name under which clients reach the server.
    #[arg(long)]
    pub hostname: Option<String>,
    /// Print every message that comes and goes.
    #[arg(long)]
    pub debug: bool,
    /// TOML file with settings [default: clarim.toml, if it is there].
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where settings are looked for.
#[derive(Clone)]
pub struct Surroundings {
    /// Variables of the process.
    environment: Vec<(String, String)>,
    /// Directory with `.env` and `clarim.toml`, to which paths in the settings are relative.
    directory: PathBuf,
}

impl std::fmt::Debug for Surroundings {
    /// Without the variables: some are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl Surroundings {
    /// Those of this process: its variables, and the working directory.
    #[must_use]
    pub fn current() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let environment = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        Self { environment: environment.collect(), directory: PathBuf::new() }
    }

    /// Others, for tests and for servers within a program of one's own.
    pub fn new(
        directory: impl Into<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self { directory: directory.into(), environment: environment.into_iter().collect() }
    }
}

/// Whether a development app that is not there yet is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Make,
    Leave,
}

impl Settings {
    /// Reads all sources, and makes a development app if no app is configured.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(flags: &Flags, surroundings: &Surroundings) -> Result<Self, SettingsError> {
        Self::read(flags, surroundings, Absent::Make)
    }

    /// Like [`load`](Self::load), but writes nothing.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn check(flags: &Flags, surroundings: &Surroundings) -> Result<Self, SettingsError> {
        Self::read(flags, surroundings, Absent::Leave)
    }

    fn read(flags: &Flags, from: &Surroundings, absent: Absent) -> Result<Self, SettingsError> {
        let mut typed = gather(flags, from);
        let directory = &from.directory;
        let has_database = typed.server.get(&keys::APPS_DATABASE_URL).is_some();
        let is_development = typed.problems.is_empty() && !has_database && !apps::any(&typed);
        let development =
            is_development.then(|| server::state_dir(&typed.server, directory).join(dev_app::FILE));
        if let Some(file) = &development {
            add_dev_app(&mut typed, file, absent);
        }
        let mut chosen = apps::choose(&mut typed);
        server::settle_defaults(&mut typed.server, is_development);
        let Typed { server: values, mut problems, warnings, files, .. } = typed;
        let reader = &mut Reader { values: &values, problems: &mut problems };
        let mut server = server::read(reader, directory);
        let apps_database = database::read(reader);
        server.traces = traces::read(&from.environment, &mut problems);
        apps::duplicates(&chosen, &mut problems);
        let mut apps = Vec::new();
        for (at, values) in &chosen {
            let reader = &mut Reader { values, problems: &mut problems };
            let hooks = webhooks::read(reader);
            if let Some(app) = apps::read(reader, at, &server) {
                if !hooks.is_empty() {
                    server.webhooks.insert(app.id.clone(), hooks);
                }
                apps.push(app);
            }
        }
        if !problems.is_empty() {
            return Err(SettingsError(problems));
        }
        chosen.retain(|(at, _)| *at != Source::Default);
        let rows = report::rows(&values, &chosen);
        Ok(Self { server, apps, apps_database, development, warnings, rows, files })
    }

    /// Whether no app is configured, so that Clarim has made one and listens on this machine alone.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.development.is_some()
    }
}

/// Reads every source, strongest first.
fn gather(flags: &Flags, from: &Surroundings) -> Typed {
    let mut typed = Typed::default();
    let given: [(&'static keys::Key, &'static str, Option<&str>); 5] = [
        (&keys::SERVER_HOST, "--host", flags.host.as_deref()),
        (&keys::SERVER_PORT, "--port", flags.port.as_deref()),
        (&keys::SERVER_PATH, "--path", flags.path.as_deref()),
        (&keys::HOST, "--hostname", flags.hostname.as_deref()),
        (&keys::DEBUG, "--debug", flags.debug.then_some("true")),
    ];
    for (key, flag, text) in given {
        typed.server.add(key, text.unwrap_or_default(), Source::Flag(flag));
    }
    env::read(&from.environment, &mut typed);
    let dot_env = from.directory.join(".env");
    env::read_dot_env(&dot_env, &mut typed);
    let typed_config = typed.config.text(&keys::CONFIG).map(PathBuf::from);
    let config = flags.config.clone().or(typed_config);
    let name = config.as_deref().unwrap_or_else(|| Path::new(keys::CONFIG.default));
    let file = from.directory.join(name);
    file::read(&file, config.is_some(), &mut typed);
    typed.files = vec![dot_env, file];
    typed
}

/// Gives the app of the environment the credentials of the development app.
fn add_dev_app(typed: &mut Typed, file: &Path, absent: Absent) {
    let directory = file.parent().unwrap_or(file);
    let credentials = match absent {
        Absent::Make => dev_app::read_or_make(directory).map(Some),
        Absent::Leave => dev_app::read(directory),
    };
    match credentials {
        Ok(None) => {}
        Ok(Some(Credentials { id, key, secret })) => {
            let app: &mut Values = &mut typed.environment_app;
            let source = || Source::DevelopmentApp(file.to_owned());
            app.add(&keys::APP_ID, &id, source());
            app.add(&keys::APP_KEY, &key, source());
            app.add(&keys::APP_SECRET, &secret, source());
        }
        Err(problem) => typed.problems.push(problem),
    }
}

/// Certificate and key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// PEM certificate chain.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
}

/// How the server takes part in a cluster.
#[derive(Debug, Clone)]
pub struct Scaling {
    /// The bus between the nodes.
    pub bus: clarim_bus::Bus,
    /// What all names on the bus begin with.
    pub prefix: String,
    /// A node that is silent for so long is given up.
    pub lease: Duration,
    /// How long the answers of other nodes are waited for.
    pub deadline: Duration,
    /// Whether publishing is refused while the bus is lost.
    pub is_strict: bool,
}

impl Scaling {
    /// With the defaults of every setting.
    #[must_use]
    pub fn new(bus: clarim_bus::Bus) -> Self {
        Self {
            bus,
            prefix: keys::SCALING_CHANNEL.default.to_owned(),
            lease: Duration::from_secs(10),
            deadline: Duration::from_secs(1),
            is_strict: false,
        }
    }
}

/// How clients reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// With TLS, by the server itself or by a proxy in front of it.
    Https,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object per line.
    Json,
}

/// The least important lines that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may fail.
    Warn,
    /// What happens seldom.
    #[default]
    Info,
    /// What happens often.
    Debug,
    /// Everything.
    Trace,
}

/// Settings of the server as a whole.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0: any.
    pub port: u16,
    /// Prefix of all paths: "" or "/x".
    pub path: String,
    /// Name under which clients reach the server.
    pub hostname: Option<String>,
    /// How clients reach the server.
    pub public_scheme: Scheme,
    /// Port on which clients reach the server; `None`: the one it listens on.
    pub public_port: Option<u16>,
    /// Bytes of an HTTP request body.
    pub max_request_bytes: usize,
    /// Serve TLS.
    pub tls: Option<Tls>,
    /// Threads.
    pub workers: NonZeroU16,
    /// Time over which clients are sent away at the end.
    pub drain: Duration,
    /// Unsent bytes of a connection.
    pub outbox_bytes: usize,
    /// Time for a handshake, or for a request's body.
    pub handshake_timeout: Duration,
    /// Whether messages are compressed for clients that offer it.
    pub compression: bool,
    /// Who may read `/metrics`; `None`: nobody.
    pub metrics_token: Option<Token>,
    /// Who may use the inspector; `None`: nobody, or in development mode who is on this machine.
    pub inspector_token: Option<Token>,
    /// Other nodes serve the same apps.
    pub scaling: Option<Scaling>,
    /// Who is told what happens on the channels of each app, by the app's id. Of those that have some,
    /// [`App::hooks`](clarim_hub::app::App::hooks) is made to fit at the start.
    pub webhooks: HashMap<String, Vec<Webhook>>,
    /// Whether webhooks may be sent to addresses that are not public.
    pub webhook_private_addresses: bool,
    /// Whether [`Server::events`](crate::Server::events) tells what happens. It makes subscribing a little
    /// dearer. In a cluster it is to be the same on all nodes, and costs what webhooks for all apps would: a
    /// channel that one node has alone is listened to by another one too, which would tell who left with it.
    pub events: bool,
    /// Where traces are sent to, by OTLP over HTTP: the whole URL.
    pub traces: Option<Uri>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// The least important lines that are logged.
    pub log_level: LogLevel,
    /// Print every message that comes and goes.
    pub debug: bool,
    /// Directory of the server's own files.
    pub state_dir: PathBuf,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            path: String::new(),
            hostname: None,
            public_scheme: Scheme::default(),
            public_port: None,
            max_request_bytes: 100_000,
            tls: None,
            workers: NonZeroU16::MIN,
            drain: Duration::from_secs(5),
            outbox_bytes: 1 << 20,
            handshake_timeout: Duration::from_secs(10),
            compression: false,
            metrics_token: None,
            inspector_token: None,
            scaling: None,
            webhooks: HashMap::new(),
            webhook_private_addresses: true,
            events: false,
            traces: None,
            log_format: LogFormat::default(),
            log_level: LogLevel::default(),
            debug: false,
            state_dir: PathBuf::from(keys::STATE_DIR.default),
        }
    }
}
