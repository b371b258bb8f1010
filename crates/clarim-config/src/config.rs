//! The configuration of a server program, from all sources.

use std::path::PathBuf;

use clarim_server::App;
use clarim_server::config::ServerConfig;

use crate::deployment;
use crate::keys;
use crate::problem::ConfigError;
use crate::report::{self, Row};
use crate::source::Source;
use crate::sources::{ConfigSources, CreateIfMissing, Flags, dev_app};
use crate::typed::Typed;
use crate::values::reader::Reader;
use crate::values::{
    DatabaseUrl, LogConfig, PublicAddress, app, database, program, server, traces, webhooks,
};

const LIMIT_PER_NODE: &str = "APP_MAX_CONNECTIONS counts the connections of each node, not of the cluster. Divide the limit by the number of nodes";

const NO_HISTORY: &str = "HISTORY_PATH keeps nothing, because no app has history rules. Add some with APP_HISTORY, or remove HISTORY_PATH";

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
    /// The apps that are served. Empty only after [`Config::check`] without a development app, or if apps
    /// are in a database.
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
        let mut typed = sources.read(flags);
        let directory = &sources.directory;
        let has_database = typed.server.get(&keys::APPS_DATABASE_URL).is_some();
        let is_development = typed.problems.is_empty() && !has_database && !app::any(&typed);
        if is_development && let Some(problem) = deployment::problem(&typed, &sources.environment) {
            return Err(ConfigError(vec![problem]));
        }
        let development = is_development
            .then(|| program::state_dir(&typed.server, directory).join(dev_app::FILE));
        if let Some(file) = &development {
            dev_app::add_to(&mut typed, file, create);
        }
        let mut chosen = app::choose(&mut typed);
        server::add_defaults(&mut typed.server, is_development);
        let Typed { server: values, mut problems, mut warnings, files, .. } = typed;
        let reader =
            &mut Reader { values: &values, problems: &mut problems, warnings: &mut warnings };
        let mut server = server::read(reader, directory);
        let public = program::public_address(reader);
        let log = program::log(reader);
        let apps_database = database::read(reader, sources.database_check);
        server.traces = traces::read(&sources.environment, &mut problems);
        app::duplicates(&chosen, &mut problems);
        let mut apps = Vec::new();
        for (at, values) in &mut chosen {
            app::add_defaults(values, &server);
            let reader = &mut Reader { values, problems: &mut problems, warnings: &mut warnings };
            let hooks = webhooks::read(reader);
            if let Some(app) = app::read(reader, at, &server) {
                if !hooks.is_empty() {
                    server.webhooks.insert(app.id.clone(), hooks);
                }
                apps.push(app);
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError(problems));
        }
        if server.scaling.is_some() && apps.iter().any(|app| app.limits.connections.is_some()) {
            warnings.push(LIMIT_PER_NODE.to_owned());
        }
        // Rules may come from the database, or with a reload.
        let has_rules = apps_database.is_some() || apps.iter().any(|app| !app.history.is_empty());
        if server.history_path.is_some() && !has_rules {
            warnings.push(NO_HISTORY.to_owned());
        }
        chosen.retain(|(at, _)| *at != Source::Default);
        let rows = report::rows(&values, &chosen);
        let state_dir = program::state_dir(&values, directory);
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
