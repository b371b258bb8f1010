//! All sources in their order.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use super::flags::Flags;
use super::{dotenv, env, file, laravel};
use crate::keys;
use crate::typed::Typed;

/// The variable by which a server tells its successor that it hands over. It is not a setting.
pub const HANDOVER: &str = "CLARIM_HANDOVER";

/// Where settings are read.
#[derive(Clone)]
pub struct ConfigSources {
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    pub(crate) database_check: fn(&str) -> Option<String>,
}

impl fmt::Debug for ConfigSources {
    /// Without the environment variables, since some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigSources").field("directory", &self.directory).finish_non_exhaustive()
    }
}

impl ConfigSources {
    /// Returns the sources of this process: its environment variables, and the directory that
    /// `CLARIM_DIRECTORY` names, by default the working directory.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |text: OsString| text.to_string_lossy().into_owned();
        let directory = std::env::var_os(env::DIRECTORY).unwrap_or_default();
        let variables = std::env::vars_os().filter(|(name, _)| name != HANDOVER);
        Self::new(directory, variables.map(|(name, value)| (text(name), text(value))))
    }

    /// Returns these sources in another directory.
    #[must_use]
    pub fn in_directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), ..self }
    }

    /// Returns other sources. `directory` contains `.env` and `clarim.toml`; relative paths in the
    /// settings are resolved against it.
    pub fn new(
        directory: impl Into<PathBuf>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        Self {
            environment: environment.into_iter().collect(),
            directory: directory.into(),
            database_check: no_databases,
        }
    }

    /// Accepts `APPS_DATABASE_URL`, which is a problem otherwise. The caller opens the database; `check`
    /// returns what is wrong with its URL.
    #[must_use]
    pub fn with_databases(self, check: fn(&str) -> Option<String>) -> Self {
        Self { database_check: check, ..self }
    }

    /// Reads every source, strongest first.
    pub(crate) fn read(&self, flags: &Flags) -> Typed {
        let mut typed = Typed { app_env: flags.env.clone(), ..Typed::default() };
        if !self.directory.as_os_str().is_empty() && !self.directory.is_dir() {
            typed.add_problem(
                self.directory.display(),
                "is not a directory; name the one with .env",
            );
        }
        flags.add_to(&mut typed.server);
        env::read(&self.environment, &mut typed);
        let name = self.dot_env_name(flags, &mut typed);
        dotenv::read(&self.directory, &name, &self.environment, &mut typed);
        let dot_env = self.directory.join(name);
        let typed_config = typed.config.text(&keys::CONFIG).map(PathBuf::from);
        let config = flags.config.clone().or(typed_config);
        let name = config.as_deref().unwrap_or_else(|| Path::new(keys::CONFIG.default));
        let file = self.directory.join(name);
        file::read(&file, config.is_some(), &mut typed);
        laravel::read(&self.directory, &self.environment, flags, &mut typed);
        typed.files = vec![dot_env, file, self.directory.join(laravel::FILE)];
        typed
    }

    /// The name of the `.env` file. As in Laravel, the environment of `--env` or of `APP_ENV` may have a file
    /// of its own.
    fn dot_env_name(&self, flags: &Flags, typed: &mut Typed) -> String {
        let file_of = |env: &str| format!(".env.{env}");
        let exists = |name: &String| self.directory.join(name).is_file();
        let named = flags.env.as_deref().map(file_of);
        if let Some(name) = named.clone().filter(exists) {
            return name;
        }
        let of_process = self.environment.iter().find(|(name, _)| name == "APP_ENV");
        let chosen = of_process.map(|(_, env)| file_of(env)).filter(exists);
        let chosen = chosen.unwrap_or_else(|| ".env".to_owned());
        if let Some(named) = named {
            typed.warnings.push(format!("--env: {named} does not exist, so {chosen} is read"));
        }
        chosen
    }
}

/// The check of programs that open no database.
fn no_databases(_: &str) -> Option<String> {
    let what = "is supported by the program `clarim` only; remove it and configure the apps in this program";
    Some(what.to_owned())
}
