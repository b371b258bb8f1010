//! Reading of environment variables.

use std::fmt;

use crate::error::Error;

/// Variables whose names begin with one of several prefixes; earlier prefixes take precedence.
pub(crate) struct Variables<'a> {
    pub(crate) get: &'a dyn Fn(&str) -> Option<String>,
    pub(crate) prefixes: &'a [&'static str],
}

impl Variables<'_> {
    /// The full name and the value of a variable. An empty one counts as missing.
    pub(crate) fn find(&self, name: &str) -> Option<(String, String)> {
        self.prefixes.iter().find_map(|prefix| {
            let name = format!("{prefix}{name}");
            let value = (self.get)(&name)?.trim().to_owned();
            (!value.is_empty()).then_some((name, value))
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|(_, value)| value)
    }

    /// The value of a variable that every app needs.
    pub(crate) fn required(&self, name: &str) -> Result<String, Error> {
        self.text(name).ok_or_else(|| {
            Error::setting(
                format!("{}{name}", self.prefixes.last().unwrap_or(&"")),
                "is missing; an app has an id, a key and a secret (`clarim app new` creates all three)",
            )
        })
    }

    /// The first URL that is set, which must begin with one of these schemes. It may contain a password, so
    /// errors don't show it.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn url(
        &self,
        names: &[&'static str],
        schemes: &[&str],
        default: Option<&str>,
    ) -> Result<String, Error> {
        let found = names.iter().find_map(|name| self.find(name));
        let expected = schemes.join(" or ");
        match (found, default) {
            (Some((_, url)), _) if schemes.iter().any(|scheme| url.starts_with(scheme)) => Ok(url),
            (Some((name, _)), _) => Err(Error::setting(
                name,
                format!("for this QUEUE_CONNECTION it must begin with {expected}"),
            )),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Error::setting(
                names.join(" or "),
                format!(
                    "is missing; this QUEUE_CONNECTION needs a URL that begins with {expected}"
                ),
            )),
        }
    }
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variables").field("prefixes", &self.prefixes).finish_non_exhaustive()
    }
}

/// Whether the process was started with this command, such as `queue`.
#[cfg(feature = "cli")]
pub(crate) fn is_command(name: &str) -> bool {
    std::env::args_os().nth(1).is_some_and(|first| first == name)
}
