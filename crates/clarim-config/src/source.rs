//! Sources of values.

use std::fmt;
use std::path::PathBuf;

use crate::keys::Key;

/// Where a value was read, and its name there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A command-line flag.
    Flag(&'static str),
    /// An environment variable of the process.
    Environment(String),
    /// A variable in `.env`, or in the file of an environment such as `.env.production`.
    DotEnv {
        /// Its name.
        name: String,
        /// Name of the file.
        file: String,
        /// Line number.
        line: usize,
    },
    /// The TOML file.
    File {
        /// Table and key.
        key: String,
        /// The file.
        file: PathBuf,
        /// Line number.
        line: usize,
    },
    /// `config/reverb.php` of a Laravel application.
    Laravel {
        /// Path of the value in it, such as `apps.apps.0.allowed_origins`.
        key: String,
    },
    /// A row of the database of apps.
    Row {
        /// Id of the app.
        app: String,
        /// Column, or key in the column `settings`; empty for the row as a whole.
        key: String,
    },
    /// The development app.
    DevelopmentApp(PathBuf),
    /// The default.
    Default,
}

impl Source {
    /// Returns the source without the name.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Flag(flag) => (*flag).to_owned(),
            Self::Environment(name) => format!("environment{}", in_brackets(prefix(name))),
            Self::DotEnv { name, file, line } => {
                format!("{file} line {line}{}", in_brackets(prefix(name)))
            }
            Self::File { file, line, .. } => format!("{} line {line}", file.display()),
            Self::Laravel { .. } => "config/reverb.php".to_owned(),
            Self::Row { .. } => "clarim_apps".to_owned(),
            Self::DevelopmentApp(file) => file.display().to_string(),
            Self::Default => "default".to_owned(),
        }
    }

    /// Whether it is a variable that may have been written for Reverb.
    pub(crate) fn is_reverb(&self) -> bool {
        let (Self::Environment(name) | Self::DotEnv { name, .. }) = self else { return false };
        name.starts_with("REVERB_")
    }

    /// The name of another setting in the same source.
    pub(crate) fn name_of(&self, key: &Key) -> String {
        match self {
            Self::Environment(name) | Self::DotEnv { name, .. } if name.starts_with("REVERB_") => {
                format!("REVERB_{}", key.name)
            }
            Self::File { .. } | Self::Row { .. } => key.toml.to_owned(),
            Self::Environment(name) | Self::DotEnv { name, .. } if prefix(name).is_empty() => {
                key.name.to_owned()
            }
            _ => format!("CLARIM_{}", key.name),
        }
    }
}

fn prefix(name: &str) -> &'static str {
    ["REVERB_", "CLARIM_"].into_iter().find(|prefix| name.starts_with(prefix)).unwrap_or_default()
}

fn in_brackets(prefix: &str) -> String {
    if prefix.is_empty() { String::new() } else { format!(" ({prefix})") }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => f.write_str(flag),
            Self::Environment(name) => write!(f, "{name} in the environment"),
            Self::DotEnv { name, file, line } => write!(f, "{name} in {file} line {line}"),
            Self::File { key, file, line } => write!(f, "{key} in {} line {line}", file.display()),
            Self::Laravel { key } => write!(f, "{key} in config/reverb.php"),
            Self::Row { app, key } if key.is_empty() => write!(f, "app {app:?} in clarim_apps"),
            Self::Row { app, key } => write!(f, "{key} of app {app:?} in clarim_apps"),
            Self::DevelopmentApp(file) => write!(f, "the development app in {}", file.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}
