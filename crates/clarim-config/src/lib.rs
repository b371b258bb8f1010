//! Configuration of a Clarim server: what was typed, and what it means.
//!
//! Values come from command-line flags, environment variables, `.env` and `clarim.toml`; [`keys`] is the table
//! of all settings. [`Config::load`] reads every source, checks the values together and returns either a
//! [`Config`] or a [`ConfigError`] with every problem at once.
//!
//! ```no_run
//! use clarim_config::{Config, ConfigSources, Flags};
//!
//! let config = Config::load(&Flags::default(), &ConfigSources::of_process())?;
//! let server = clarim_server::Server::start(config.server, config.apps, false)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clarim_hub::app::App;
use clarim_server::config::ServerConfig;

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
mod source;
mod state_dir;
mod table;
#[cfg(test)]
mod tests;
mod traces;
mod webhooks;

use reader::Reader;
use source::{Typed, Values};

pub use database::DatabaseUrl;
pub use dev_app::Credentials;
pub use env::variable_name;
pub use report::Row;
pub use source::{ConfigError, Problem, Source};
pub use state_dir::prepare as prepare_state_dir;
pub use table::{AppConfig, AppRow, read_row};

/// The configuration of a server program.
#[derive(Debug)]
#[non_exhaustive]
pub struct Config {
    /// Configuration of the server as a whole.
    pub server: ServerConfig,
    /// How clients reach the server.
    pub public: PublicAddress,
    /// How the program logs.
    pub log: LogConfig,
    /// Path to the directory of the program's own files.
    pub state_dir: PathBuf,
    /// The apps that are served. Empty only after [`Config::check`] without a development app, or if apps are in
    /// a database.
    pub apps: Vec<App>,
    /// URL of a database with more apps, which is not opened here.
    pub apps_database: Option<DatabaseUrl>,
    /// Path to the development app, in development mode.
    pub development: Option<PathBuf>,
    /// Warnings about ignored values, one line each, to be logged.
    pub warnings: Vec<String>,
    /// Every setting with its value and source, without secrets.
    pub rows: Vec<Row>,
    /// Paths of the files that were looked for, whether they exist or not.
    pub files: Vec<PathBuf>,
}

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

/// Settings that were given as command-line flags. They override every other source.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// Address to listen on.
    pub host: Option<String>,
    /// Port to listen on.
    pub port: Option<String>,
    /// Prefix of every path.
    pub path: Option<String>,
    /// Host name under which clients reach the server.
    pub hostname: Option<String>,
    /// Whether every message is printed.
    pub debug: bool,
    /// Path to the TOML file.
    pub config: Option<PathBuf>,
}

/// Where settings are looked for.
#[derive(Clone)]
pub struct ConfigSources {
    environment: Vec<(String, String)>,
    directory: PathBuf,
    database_check: fn(&str) -> Option<String>,
}

impl std::fmt::Debug for ConfigSources {
    /// Without the environment variables, since some are secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSources").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl ConfigSources {
    /// Sources of this process: its environment variables and working directory.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        Self::new("", std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// Other sources. `directory` contains `.env` and `clarim.toml`; relative paths in the settings are resolved
    /// against it.
    pub fn new(
        directory: impl Into<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self {
            environment: environment.into_iter().collect(),
            directory: directory.into(),
            database_check: database::unsupported,
        }
    }

    /// Accepts `APPS_DATABASE_URL`, which is refused otherwise. The caller opens the database; `check` returns
    /// what is wrong with a URL.
    #[must_use]
    pub fn with_databases(self, check: fn(&str) -> Option<String>) -> Self {
        Self { database_check: check, ..self }
    }
}

/// Whether a file or table that does not exist is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateIfMissing {
    /// It is created.
    Yes,
    /// It is left out.
    No,
}

impl Config {
    /// Reads all sources, and creates a development app if no app is configured.
    ///
    /// # Errors
    /// With every problem at once.
    pub fn load(flags: &Flags, sources: &ConfigSources) -> Result<Self, ConfigError> {
        Self::read(flags, sources, CreateIfMissing::Yes)
    }

    /// Reads all sources, but writes nothing.
    ///
    /// # Errors
    /// With every problem at once.
    pub fn check(flags: &Flags, sources: &ConfigSources) -> Result<Self, ConfigError> {
        Self::read(flags, sources, CreateIfMissing::No)
    }

    fn read(
        flags: &Flags,
        sources: &ConfigSources,
        create: CreateIfMissing,
    ) -> Result<Self, ConfigError> {
        let mut typed = gather(flags, sources);
        let directory = &sources.directory;
        let has_database = typed.server.get(&keys::APPS_DATABASE_URL).is_some();
        let is_development = typed.problems.is_empty() && !has_database && !apps::any(&typed);
        let development =
            is_development.then(|| server::state_dir(&typed.server, directory).join(dev_app::FILE));
        if let Some(file) = &development {
            add_dev_app(&mut typed, file, create);
        }
        let mut chosen = apps::choose(&mut typed);
        server::settle_defaults(&mut typed.server, is_development);
        let Typed { server: values, mut problems, warnings, files, .. } = typed;
        let reader = &mut Reader { values: &values, problems: &mut problems };
        let mut server = server::read(reader, directory);
        let public = server::public_address(reader);
        let log = server::log(reader);
        let apps_database = database::read(reader, sources.database_check);
        server.traces = traces::read(&sources.environment, &mut problems);
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
            return Err(ConfigError(problems));
        }
        chosen.retain(|(at, _)| *at != Source::Default);
        let rows = report::rows(&values, &chosen);
        let state_dir = server::state_dir(&values, directory);
        Ok(Self {
            server,
            public,
            log,
            state_dir,
            apps,
            apps_database,
            development,
            warnings,
            rows,
            files,
        })
    }

    /// Returns whether no app is configured, so that the development app is served on this machine only.
    #[must_use]
    pub fn is_development(&self) -> bool {
        self.development.is_some()
    }
}

/// Reads every source, strongest first.
fn gather(flags: &Flags, sources: &ConfigSources) -> Typed {
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
    env::read(&sources.environment, &mut typed);
    let dot_env = sources.directory.join(".env");
    env::read_dot_env(&dot_env, &mut typed);
    let typed_config = typed.config.text(&keys::CONFIG).map(PathBuf::from);
    let config = flags.config.clone().or(typed_config);
    let name = config.as_deref().unwrap_or_else(|| Path::new(keys::CONFIG.default));
    let file = sources.directory.join(name);
    file::read(&file, config.is_some(), &mut typed);
    typed.files = vec![dot_env, file];
    typed
}

/// Gives the app of the environment the credentials of the development app.
fn add_dev_app(typed: &mut Typed, file: &Path, create: CreateIfMissing) {
    let directory = file.parent().unwrap_or(file);
    let credentials = match create {
        CreateIfMissing::Yes => dev_app::read_or_make(directory).map(Some),
        CreateIfMissing::No => dev_app::read(directory),
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
