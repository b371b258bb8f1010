//! Values as they were typed.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use crate::keys::Key;
use crate::problem::Problem;
use crate::source::Source;

/// A text and its source. The text is not printed, since it may be a secret.
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

    /// Adds a value, unless a stronger source has set it: sources are read strongest first. Values that are
    /// null or empty for Laravel are ignored.
    pub(crate) fn add(&mut self, key: &'static Key, text: &str, source: Source) {
        let word = text.trim().to_ascii_lowercase();
        if !matches!(word.as_str(), "" | "null" | "(null)" | "empty" | "(empty)") {
            self.0.entry(key.name).or_insert_with(|| Value { text: text.to_owned(), source });
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

/// All values that were typed.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    pub(crate) server: Values,
    /// The app of the environment and `.env`.
    pub(crate) environment_app: Values,
    /// The apps of the TOML file, each with the place of its table.
    pub(crate) file_apps: Vec<(Source, Values)>,
    /// The apps of Laravel's `config/reverb.php`, but for that of the environment.
    pub(crate) laravel_apps: Vec<(Source, Values)>,
    /// Settings about the reading of settings.
    pub(crate) config: Values,
    /// The environment of the Laravel application, such as `production`.
    pub(crate) app_env: Option<String>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<String>,
    /// Paths of the files that were looked for.
    pub(crate) files: Vec<PathBuf>,
}

impl Typed {
    pub(crate) fn add_problem(&mut self, at: impl fmt::Display, what: impl fmt::Display) {
        self.problems.push(Problem::new(at, what));
    }
}
