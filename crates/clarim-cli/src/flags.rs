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
    /// Path to the TOML file [default: clarim.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl From<ServerFlags> for Flags {
    fn from(flags: ServerFlags) -> Self {
        let ServerFlags { host, port, path, hostname, debug, config } = flags;
        Self { host, port, path, hostname, debug, config }
    }
}

/// Flags that name a running server of this machine.
#[derive(Debug, Args)]
pub(crate) struct RunningServerFlags {
    /// Port the server listens on.
    #[arg(long)]
    port: Option<String>,
    /// Path to the TOML file [default: clarim.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl From<RunningServerFlags> for Flags {
    fn from(RunningServerFlags { port, config }: RunningServerFlags) -> Self {
        Self { port, config, ..Self::default() }
    }
}

/// Flags that name an app.
#[derive(Debug, Args)]
pub(crate) struct AppFlags {
    /// Id of the app [default: first app of the settings].
    #[arg(long)]
    pub(crate) app_id: Option<String>,
    /// Key of the app [default: from the settings].
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Secret of the app [default: from the settings].
    #[arg(long)]
    pub(crate) secret: Option<String>,
    /// Path to the TOML file [default: clarim.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl AppFlags {
    /// The settings with the named app, which may be in the database.
    pub(crate) fn settings(&self) -> Result<Config, ConfigError> {
        let mut settings = check_file(self.config.as_ref())?;
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
    /// Path to the TOML file [default: clarim.toml, if it exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl TopFlags {
    pub(crate) fn settings(&self) -> Result<Config, ConfigError> {
        check_file(self.config.as_ref())
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

/// Sources of this process's settings, which may name a database of apps.
pub(crate) fn sources() -> ConfigSources {
    ConfigSources::of_process().with_databases(apps_database::url_problem)
}

fn check_file(config: Option<&PathBuf>) -> Result<Config, ConfigError> {
    let flags = Flags { config: config.cloned(), ..Flags::default() };
    Config::check(&flags, &sources())
}
