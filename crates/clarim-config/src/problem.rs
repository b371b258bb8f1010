//! Problems of settings.

use std::fmt;

/// A problem of a setting: its place, what was found there, and what would be right.
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

/// All problems of a configuration. Its `Display` output has one line per problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.0))]
pub struct ConfigError(pub Vec<Problem>);

impl ConfigError {
    /// Returns a stable name of this kind of error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        "invalid_config"
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}
