//! The table as it is in SQLite or PostgreSQL.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection, Error, Row, raw_sql};

use clarim_config::{AppRow, CreateIfMissing, DatabaseUrl};

/// The same in both. In SQLite a truth may be any number or text, unless it is said that it may not.
const MAKE: &str = "CREATE TABLE IF NOT EXISTS clarim_apps (
    id TEXT NOT NULL PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    secret TEXT NOT NULL,
    enabled BOOLEAN NOT NULL DEFAULT TRUE CHECK (enabled IN (TRUE, FALSE)),
    settings TEXT NOT NULL DEFAULT '{}')";

/// Whatever the columns' types are: the table may be a view of the application's own.
const LOOK: &str =
    "SELECT CAST(id AS TEXT) AS id, CAST(key AS TEXT) AS key, CAST(secret AS TEXT) AS secret,
    CAST(settings AS TEXT) AS settings FROM clarim_apps WHERE enabled ORDER BY 1";

/// Parameters that a URL of PostgreSQL may have. sqlx would pass over others with a warning that shows them:
/// with a typing error in `sslmode` a connection would be without TLS, and nobody would know.
const PARAMETERS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "user",
    "password",
    "application_name",
    "options",
];

/// Why a URL can't be used.
pub(crate) fn unfit(url: &str) -> Option<String> {
    if url.starts_with("sqlite:") {
        return url.parse::<SqliteConnectOptions>().err().map(|error| unusable(&error));
    }
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let names = parameters.split('&').filter(|it| !it.is_empty()).map(|it| it.split('=').next());
    if names.flatten().any(|name| !PARAMETERS.contains(&name)) {
        let known = PARAMETERS.join(", ");
        return Some(format!("has a parameter after ? that means nothing; there are {known}"));
    }
    url.parse::<PgConnectOptions>().err().map(|error| unusable(&error))
}

fn unusable(error: &Error) -> String {
    let error = error.to_string();
    let what = error.trim_start_matches("error with configuration: ");
    format!(
        "cannot be used: {what}; expected sqlite:FILE or postgres://USER:PASSWORD@HOST/DATABASE"
    )
}

/// A database that is asked for its rows.
pub(super) struct Database {
    url: String,
    /// The file, if it is one.
    is_file: bool,
    /// To PostgreSQL. A file is opened each time: another may have taken its place.
    kept: Option<AnyConnection>,
}

impl Database {
    pub(super) fn new(url: &DatabaseUrl) -> Self {
        // Whoever has installed others has these among them, or is told so when it is connected.
        let _ =
            sqlx::any::install_drivers(&[sqlx::sqlite::any::DRIVER, sqlx::postgres::any::DRIVER]);
        Self { url: url.reveal().to_owned(), is_file: url.is_sqlite(), kept: None }
    }

    /// The rows; where there is no table yet it is made, or there are none.
    pub(super) async fn first(&mut self, create: CreateIfMissing) -> Result<Vec<AppRow>, String> {
        let file = self.file()?;
        match (create, file.filter(|file| !file.exists())) {
            (CreateIfMissing::No, Some(_)) => return Ok(Vec::new()),
            (CreateIfMissing::Yes, Some(file)) => {
                make_file(&file).map_err(|error| error.to_string())?
            }
            (_, None) => {}
        }
        // Looked at first, since who may not make a table may not even say so.
        let error = match self.look().await {
            Err(error) if is_no_table(&error) => error,
            rows => return rows.map_err(|error| error.to_string()),
        };
        if create == CreateIfMissing::No {
            return Ok(Vec::new());
        }
        let made = async { raw_sql(MAKE).execute(&mut connect(&self.url).await?).await }.await;
        // Another node may have been faster, of which PostgreSQL makes an error.
        let rows = self.look().await;
        rows.map_err(|_| made.err().unwrap_or(error).to_string())
    }

    /// The rows as they are now.
    pub(super) async fn again(&mut self) -> Result<Vec<AppRow>, String> {
        self.look().await.map_err(|error| error.to_string())
    }

    async fn look(&mut self) -> Result<Vec<AppRow>, Error> {
        // Taken, so that one that does not answer is not asked again. If the database was started anew since,
        // that is no news.
        if let Some(mut connection) = self.kept.take()
            && let Ok(rows) = rows(&mut connection).await
        {
            self.kept = Some(connection);
            return Ok(rows);
        }
        let mut connection = connect(&self.url).await?;
        let found = rows(&mut connection).await?;
        if self.is_file {
            connection.close().await?;
        } else {
            self.kept = Some(connection);
        }
        Ok(found)
    }

    fn file(&self) -> Result<Option<std::path::PathBuf>, String> {
        if !self.is_file {
            return Ok(None);
        }
        let options: SqliteConnectOptions =
            self.url.parse().map_err(|error: Error| error.to_string())?;
        Ok(Some(options.get_filename().to_owned()))
    }
}

async fn connect(url: &str) -> Result<AnyConnection, Error> {
    url.parse::<AnyConnectOptions>()?.disable_statement_logging().connect().await
}

/// Secrets will be in it: for nobody else to read.
fn make_file(file: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file).map(|_| ())
}

/// As plain text, without a prepared statement: a pooler in between may give each question another session.
async fn rows(connection: &mut AnyConnection) -> Result<Vec<AppRow>, Error> {
    raw_sql(LOOK).fetch_all(connection).await?.iter().map(row).collect()
}

fn row(row: &AnyRow) -> Result<AppRow, Error> {
    // In a view there may be nothing. That it is missing is told with all else that is wrong.
    let text = |name| row.try_get::<Option<String>, _>(name).map(Option::unwrap_or_default);
    let settings = row.try_get::<Option<String>, _>("settings")?.unwrap_or_else(|| "{}".to_owned());
    Ok(AppRow { id: text("id")?, key: text("key")?, secret: text("secret")?, settings })
}

fn is_no_table(error: &Error) -> bool {
    const UNDEFINED_TABLE: &str = "42P01";
    error.as_database_error().is_some_and(|error| {
        error.code().is_some_and(|code| code == UNDEFINED_TABLE)
            || error.message().starts_with("no such table")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_refused_before_anything_is_connected() {
        for url in [
            "sqlite:/var/lib/clarim/apps.db",
            "sqlite:apps.db?mode=ro",
            "postgres://ana:hush@db:5433/apps?sslmode=require&application_name=x",
            "postgresql://db/apps",
        ] {
            assert_eq!(unfit(url), None, "{url}");
        }
        for (url, told) in [
            ("sqlite:apps.db?mod=ro", "mod"),
            ("postgres://ana:hush@db/apps?sslmod=require", "there are sslmode, "),
            (
                "postgres://ana:hush@db/apps?sslmode=maybe",
                "cannot be used: unknown value \"maybe\" for `ssl_mode`",
            ),
            ("postgres://ana:hush@db:x/apps", "port"),
        ] {
            let what = unfit(url).unwrap_or_default();
            assert!(what.contains(told) && !what.contains("hush"), "{url}: {what}");
        }
    }
}
