//! What was typed: texts, and where each was read.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::keys::Key;

/// Where a value was read, with the name that it has there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line.
    Flag(&'static str),
    /// A variable of the process.
    Environment(String),
    /// A variable in `.env`.
    DotEnv {
        /// Its name.
        name: String,
        /// Line, from 1.
        line: usize,
    },
    /// The TOML file.
    File {
        /// Table and key.
        key: String,
        /// The file.
        file: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// A row of the database of apps.
    Row {
        /// Id of the app.
        app: String,
        /// Column, or key in the column `settings`; empty: the row as a whole.
        key: String,
    },
    /// The app that Clarim has made for development.
    DevelopmentApp(PathBuf),
    /// Nowhere: it is the default.
    Default,
}

impl Source {
    /// The source alone, without the name.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Flag(flag) => (*flag).to_owned(),
            Self::Environment(name) => format!("environment{}", in_brackets(prefix(name))),
            Self::DotEnv { name, line } => {
                format!(".env line {line}{}", in_brackets(prefix(name)))
            }
            Self::File { file, line, .. } => format!("{} line {line}", file.display()),
            Self::Row { .. } => "clarim_apps".to_owned(),
            Self::DevelopmentApp(file) => file.display().to_string(),
            Self::Default => "default".to_owned(),
        }
    }

    /// The name that `key` would have at the same place.
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
            Self::DotEnv { name, line } => write!(f, "{name} in .env line {line}"),
            Self::File { key, file, line } => write!(f, "{key} in {} line {line}", file.display()),
            Self::Row { app, key } if key.is_empty() => write!(f, "app {app:?} in clarim_apps"),
            Self::Row { app, key } => write!(f, "{key} of app {app:?} in clarim_apps"),
            Self::DevelopmentApp(file) => write!(f, "the development app in {}", file.display()),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// A text and its source. Not printable as a whole, since it may be a secret.
#[derive(Clone)]
pub(crate) struct Value {
    pub(crate) text: String,
    pub(crate) source: Source,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value from {}", self.source)
    }
}

/// Values of the server, or of one app.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(HashMap<&'static str, Value>);

impl Values {
    pub(crate) fn get(&self, key: &Key) -> Option<&Value> {
        self.0.get(key.name)
    }

    pub(crate) fn text(&self, key: &Key) -> Option<&str> {
        self.get(key).map(|value| value.text.as_str())
    }

    /// Keeps a value unless a stronger source had one: sources are read strongest first. What
    /// Laravel takes for "nothing" sets nothing.
    pub(crate) fn add(&mut self, key: &'static Key, text: &str, source: Source) {
        if !matches!(text.trim(), "" | "null" | "(null)" | "empty" | "(empty)") {
            self.0.entry(key.name).or_insert_with(|| Value { text: text.to_owned(), source });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

/// Everything that was typed.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    pub(crate) server: Values,
    /// The one app of flags, environment and `.env`.
    pub(crate) environment_app: Values,
    /// The apps of the TOML file, each with the place where it begins.
    pub(crate) file_apps: Vec<(Source, Values)>,
    /// Where else settings are to be read.
    pub(crate) config: Values,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
    /// The files that were looked for.
    pub(crate) files: Vec<PathBuf>,
}

impl Typed {
    pub(crate) fn problem(&mut self, at: impl fmt::Display, what: impl fmt::Display) {
        self.problems.push(Problem::new(at, what));
    }
}

/// One thing that is wrong: where, what was given, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    at: String,
    what: String,
}

impl Problem {
    /// Makes a problem of its place and its cause.
    pub fn new(at: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self { at: at.to_string(), what: what.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// The settings can't be used. Displays one line per problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
