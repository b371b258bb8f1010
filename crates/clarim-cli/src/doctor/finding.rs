//! Findings.

use std::fmt;
use std::time::Duration;

/// Timeout of a single step.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum time for an event. A slower one is delayed by something on its way.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Ok,
    Warning,
    Problem,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) level: Level,
    /// Name of the check, in one or two words.
    pub(crate) check: &'static str,
    /// What was observed, or the cause.
    pub(crate) what: String,
    /// How to solve it.
    pub(crate) remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} → {}", self.what, self.remedy)
    }
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { level: Level::Ok, check, what: what.into(), remedy: String::new() }
    }

    pub(super) fn warning(
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, check, what: what.into(), remedy: remedy.into() }
    }

    pub(super) fn problem(
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { level: Level::Problem, check, what: what.into(), remedy: remedy.into() }
    }
}
