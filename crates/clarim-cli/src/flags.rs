//! Flags of the commands.

use std::path::PathBuf;

use clap::Args;
use clarim_config::{Config, ConfigError, ConfigSources, Flags};
use clarim_protocol::auth::AppKey;
use clarim_server::App;

use crate::apps_database;
use crate::doctor::Signer;
use crate::error::CommandError;

/// Flags that override settings.
#[derive(Debug, Args)]
pub(crate) struct ServerFlags {
    /// Address to listen on.
    #[arg(long)]
    host: Option<String>,
    /// Port to listen on.
    #[arg(long)]
    port: Option<String>,
    /// Prefix of every path.
    #[arg(long)]
    path: Option<String>,
    /// Host name under which clients reach the server.
    #[arg(long)]
    hostname: Option<String>,
    /// Print every message of clients and backends.
    #[arg(long)]
    debug: bool,
    #[command(flatten)]
    files: FileFlags,
}

impl From<ServerFlags> for ConfigInputs {
    fn from(flags: ServerFlags) -> Self {
        let ServerFlags { host, port, path, hostname, debug, files } = flags;
        let mut inputs = files.inputs();
        let Flags { config, env, .. } = inputs.flags;
        inputs.flags = Flags { host, port, path, hostname, debug, config, env };
        inputs
    }
}

/// Flags that name the files of the settings.
#[derive(Debug, Clone, Args)]
pub(crate) struct FileFlags {
    /// Directory of .env and clarim.toml [default: CLARIM_DIRECTORY, or the working directory].
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Environment whose file .env.NAME is read in place of .env, if it exists [default: APP_ENV].
    #[arg(long, value_name = "NAME")]
    env: Option<String>,
    /// Path to the TOML file [default: clarim.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl FileFlags {
    fn inputs(&self) -> ConfigInputs {
        let Self { directory, env, config } = self.clone();
        let sources = ConfigSources::of_process().with_databases(apps_database::url_problem);
        let sources = match directory {
            Some(directory) => sources.in_directory(directory),
            None => sources,
        };
        ConfigInputs { flags: Flags { config, env, ..Flags::default() }, sources }
    }

    fn check(&self) -> Result<Config, ConfigError> {
        let ConfigInputs { flags, sources } = self.inputs();
        Config::check(&flags, &sources)
    }
}

/// Flags and sources of a command's settings.
#[derive(Debug, Clone)]
pub(crate) struct ConfigInputs {
    pub(crate) flags: Flags,
    pub(crate) sources: ConfigSources,
}

/// Flags that name a running server of this machine.
#[derive(Debug, Args)]
pub(crate) struct RunningServerFlags {
    /// Port the server listens on.
    #[arg(long)]
    port: Option<String>,
    #[command(flatten)]
    files: FileFlags,
}

impl From<RunningServerFlags> for ConfigInputs {
    fn from(RunningServerFlags { port, files }: RunningServerFlags) -> Self {
        let mut inputs = files.inputs();
        inputs.flags.port = port;
        inputs
    }
}

/// Flags that name an app.
#[derive(Debug, Args)]
pub(crate) struct AppFlags {
    /// Id of the app [default: first app of the settings].
    #[arg(long, visible_alias = "id")]
    pub(crate) app_id: Option<String>,
    /// Key of the app [default: from the settings].
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Secret of the app [default: from the settings].
    #[arg(long)]
    pub(crate) secret: Option<String>,
    #[command(flatten)]
    files: FileFlags,
}

impl AppFlags {
    /// The settings with the named app, which may be in the database.
    pub(crate) fn settings(&self) -> Result<Config, ConfigError> {
        let mut settings = self.files.check()?;
        if self.app(&settings).is_none()
            && let Some(table) = apps_database::read_table(&settings)?
        {
            settings.apps.extend(table.apps().map(|it| it.app.clone()));
        }
        Ok(settings)
    }

    /// The app with the given id and key, or the first one.
    fn app<'a>(&self, settings: &'a Config) -> Option<&'a App> {
        let is_given = |given: &Option<String>, value: &str| {
            given.as_deref().is_none_or(|given| given == value)
        };
        settings
            .apps
            .iter()
            .find(|app| is_given(&self.app_id, &app.id) && is_given(&self.key, app.key.key()))
    }

    /// Id, key and secret: each that is given, and the others from the app of the settings to which the given
    /// ones belong.
    ///
    /// # Errors
    /// If something is neither given nor in the settings.
    pub(crate) fn credentials(&self, settings: Option<&Config>) -> Result<Signer, CommandError> {
        let Self { app_id, key, secret, .. } = self;
        let known = settings.and_then(|settings| self.app(settings));
        let id = app_id.clone().or_else(|| Some(known?.id.clone()));
        let name = key.clone().or_else(|| Some(known?.key.key().to_owned()));
        let key = match secret {
            Some(secret) => name.map(|name| AppKey::new(name, secret)),
            None => known.map(|known| known.key.clone()),
        };
        match id.zip(key) {
            Some((app_id, key)) => Ok(Signer { app_id, key }),
            None => Err(CommandError::NoApp { id: app_id.clone(), key: self.key.clone() }),
        }
    }

    /// Whether something about the app is given.
    pub(crate) fn is_any_given(&self) -> bool {
        self.app_id.is_some() || self.key.is_some() || self.secret.is_some()
    }
}

/// Flags that name a server and an app. With all of them, it can be any server of the Pusher protocol.
#[derive(Debug, Args)]
pub(crate) struct ApiFlags {
    /// URL of the server, such as `https://ws.example.com` [default: server of the settings].
    #[arg(long)]
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) app: AppFlags,
}

/// Flags of `clarim top`.
#[derive(Debug, Args)]
pub(crate) struct TopFlags {
    /// URL of the server, such as `https://ws.example.com` [default: server of the settings].
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// `INSPECTOR_TOKEN` of the server [default: from the settings].
    #[arg(long)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    files: FileFlags,
}

impl TopFlags {
    pub(crate) fn settings(&self) -> Result<Config, ConfigError> {
        self.files.check()
    }
}

/// Flags of `clarim doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorFlags {
    /// URL of the server as pages reach it, such as `wss://ws.example.com` [default: server of the settings].
    pub(crate) url: Option<String>,
    #[command(flatten)]
    pub(crate) app: AppFlags,
    /// Origin of the page that connects, such as `https://app.example.com`.
    #[arg(long)]
    pub(crate) origin: Option<String>,
    /// URL of the page's authorization endpoint, such as `https://app.example.com/broadcasting/auth`.
    #[arg(long, value_name = "URL")]
    pub(crate) auth: Option<String>,
    /// Header of the request to that endpoint, such as `Cookie: session=…`. Can be given several times.
    #[arg(long, requires = "auth")]
    pub(crate) header: Vec<String>,
    /// Channel to authorize, with its prefix [default: private-clarim-doctor].
    #[arg(long, requires = "auth")]
    pub(crate) channel: Option<String>,
    /// Watch an idle connection for this many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle: Option<u64>,
    /// Name of an event as the backend sends it, to compare with --listen.
    #[arg(long, requires = "listen")]
    pub(crate) event: Option<String>,
    /// Name that the page passes to Echo's `.listen('…')`.
    #[arg(long, requires = "event")]
    pub(crate) listen: Option<String>,
}
