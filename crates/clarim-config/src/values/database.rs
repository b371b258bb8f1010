//! URL of a database of apps.

use std::fmt;

use super::reader::Reader;
use crate::keys;
use crate::problem::Problem;
use crate::source::Source;

/// The URL of a database of apps. Its `Debug` output contains no password.
#[derive(Clone)]
pub struct DatabaseUrl {
    url: String,
    source: Source,
}

impl DatabaseUrl {
    /// Returns the whole URL, for the driver.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.url
    }

    /// Returns the URL without user, password and parameters.
    #[must_use]
    pub fn shown(&self) -> String {
        let url = self.url.split(['?', '#']).next().unwrap_or_default();
        match (url.split_once("://"), url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, place))) if !self.is_sqlite() => {
                format!("{scheme}://{place}")
            }
            _ => url.to_owned(),
        }
    }

    /// Returns whether it is an SQLite database.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.url.starts_with("sqlite:")
    }

    /// Makes a problem of this setting.
    pub fn problem(&self, what: impl fmt::Display) -> Problem {
        Problem::new(&self.source, what)
    }

    #[cfg(test)]
    pub(crate) fn new(url: &str) -> Self {
        Self { url: url.to_owned(), source: Source::Default }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DatabaseUrl").field(&self.shown()).finish()
    }
}

impl PartialEq for DatabaseUrl {
    /// Compares the URLs, not their sources.
    fn eq(&self, other: &Self) -> bool {
        self.url == other.url
    }
}

impl Eq for DatabaseUrl {}

pub(crate) fn read(
    reader: &mut Reader<'_>,
    check: fn(&str) -> Option<String>,
) -> Option<DatabaseUrl> {
    let key = &keys::APPS_DATABASE_URL;
    let url = reader.text(key)?;
    if let Some(what) = syntax_problem(&url).map(str::to_owned).or_else(|| check(&url)) {
        reader.wrong(key, what);
        return None;
    }
    let source = reader.values.get(key).map_or(Source::Default, |value| value.source.clone());
    Some(DatabaseUrl { url, source })
}

/// Why a text is not such a URL. No part of it is shown, since what looks like a host may be part of a
/// password.
fn syntax_problem(url: &str) -> Option<&'static str> {
    const EXPECTED: &str = "is not the URL of a supported database; expected sqlite:FILE or \
        postgres://USER:PASSWORD@HOST/DATABASE";
    match url.split_once(':') {
        Some(("sqlite", "" | "//")) => return Some(EXPECTED),
        Some(("sqlite", rest)) if rest.contains(":memory:") || rest.contains("mode=memory") => {
            return Some(
                "is an in-memory database, which no other process can reach; name a file, as in sqlite:apps.db",
            );
        }
        Some(("sqlite", _)) => return None,
        Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {}
        _ => return Some(EXPECTED),
    }
    let after = url.split_once("://").map_or("", |(_, after)| after);
    let host_ends = after.find(['/', '?', '#']).unwrap_or(after.len());
    if after.matches('@').count() > 1 || after.find('@').is_some_and(|at| at > host_ends) {
        return Some(
            "has an @ in the wrong place; in user and password, write @ as %40, / as %2F, ? as %3F, # as %23 \
             and : as %3A",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://ana:hush@db:5432/apps?sslmode=require", "postgres://db:5432/apps"),
            ("postgresql://db/apps?password=hush", "postgresql://db/apps"),
            ("postgres://db", "postgres://db"),
            ("sqlite:/var/lib/a@b.db?mode=ro", "sqlite:/var/lib/a@b.db"),
        ] {
            assert_eq!(syntax_problem(url), None, "{url}");
            assert_eq!(DatabaseUrl::new(url).shown(), shown);
            assert!(!format!("{:?}", DatabaseUrl::new(url)).contains("hush"));
        }
    }

    #[test]
    fn characters_that_split_a_password_are_refused() {
        for url in [
            "postgres://ana:hu@sh@db/apps",
            "postgres://ana:hu@s/h@db/apps",
            "postgres://ana:1/hush@db/apps",
            "postgres://ana:1?hush@db/apps",
            "postgres://ana:hu#sh@db/apps",
        ] {
            assert!(syntax_problem(url).is_some_and(|what| what.contains("%40")), "{url}");
        }
        for url in ["mysql://db/apps", "apps.db", "postgres:apps", "sqlite:", "sqlite://"] {
            assert!(
                syntax_problem(url).is_some_and(|what| what.contains("expected sqlite:FILE")),
                "{url}"
            );
        }
        assert!(syntax_problem("sqlite::memory:").is_some_and(|what| what.contains("name a file")));
    }
}
