//! The table in SQLite or PostgreSQL.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clarim_config::{AppRow, CreateIfMissing, DatabaseUrl};
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, ConnectOptions, Connection, Error, Row, raw_sql};

use super::error::DatabaseError;

/// The same in both databases. SQLite would accept any number or text as a boolean without the check.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS clarim_apps (
    id TEXT NOT NULL PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    secret TEXT NOT NULL,
    enabled BOOLEAN NOT NULL DEFAULT TRUE CHECK (enabled IN (TRUE, FALSE)),
    settings TEXT NOT NULL DEFAULT '{}')";

/// Casts allow other column types, since the table may be a view of the application's own tables.
const SELECT: &str =
    "SELECT CAST(id AS TEXT) AS id, CAST(key AS TEXT) AS key, CAST(secret AS TEXT) AS secret,
    CAST(settings AS TEXT) AS settings FROM clarim_apps WHERE enabled ORDER BY 1";

/// Parameters that a URL of PostgreSQL may have. sqlx ignores others with a warning that shows them: a
/// misspelled `sslmode` would silently disable TLS.
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

/// Returns what is wrong with a URL.
pub(crate) fn url_problem(url: &str) -> Option<String> {
    if url.starts_with("sqlite:") {
        return url.parse::<SqliteConnectOptions>().err().map(|error| unusable(&error));
    }
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let names = parameters.split('&').filter(|it| !it.is_empty()).map(|it| it.split('=').next());
    if names.flatten().any(|name| !PARAMETERS.contains(&name)) {
        let known = PARAMETERS.join(", ");
        return Some(format!("has an unknown parameter after ?; expected {known}"));
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

/// A database with the table.
pub(super) struct Database {
    url: String,
    /// Whether it is an SQLite file.
    is_file: bool,
    /// Connection to PostgreSQL. A file is opened each time, because it may have been replaced.
    connection: Option<AnyConnection>,
}

impl Database {
    pub(super) fn new(url: &DatabaseUrl) -> Self {
        // Fails if drivers are installed already. If these are not among them, connecting reports it.
        let _ =
            sqlx::any::install_drivers(&[sqlx::sqlite::any::DRIVER, sqlx::postgres::any::DRIVER]);
        Self { url: url.reveal().to_owned(), is_file: url.is_sqlite(), connection: None }
    }

    /// Returns the rows. If the table does not exist, it is created, or there are no rows.
    pub(super) async fn read_first(
        &mut self,
        create: CreateIfMissing,
    ) -> Result<Vec<AppRow>, DatabaseError> {
        if let Some(file) = self.file()?.filter(|file| !file.exists()) {
            match create {
                CreateIfMissing::No => return Ok(Vec::new()),
                CreateIfMissing::Yes => create_file(&file)?,
            }
        }
        // Read first: a user that may not create a table must not even try.
        let missing = match self.select().await {
            Err(error) if is_missing_table(&error) => error,
            rows => return Ok(rows?),
        };
        if create == CreateIfMissing::No {
            return Ok(Vec::new());
        }
        let created = async { raw_sql(CREATE).execute(&mut connect(&self.url).await?).await }.await;
        // If another node creates the table at the same time, PostgreSQL reports an error.
        self.select().await.map_err(|_| created.err().unwrap_or(missing).into())
    }

    /// Returns the current rows.
    pub(super) async fn read(&mut self) -> Result<Vec<AppRow>, DatabaseError> {
        Ok(self.select().await?)
    }

    async fn select(&mut self) -> Result<Vec<AppRow>, Error> {
        // Taken, so that a connection that does not answer is not used again. If it fails, a new one is
        // tried: the database may have been restarted.
        if let Some(mut connection) = self.connection.take()
            && let Ok(rows) = rows(&mut connection).await
        {
            self.connection = Some(connection);
            return Ok(rows);
        }
        let mut connection = connect(&self.url).await?;
        let found = rows(&mut connection).await?;
        if self.is_file {
            connection.close().await?;
        } else {
            self.connection = Some(connection);
        }
        Ok(found)
    }

    fn file(&self) -> Result<Option<PathBuf>, Error> {
        if !self.is_file {
            return Ok(None);
        }
        let options: SqliteConnectOptions = self.url.parse()?;
        Ok(Some(options.get_filename().to_owned()))
    }
}

async fn connect(url: &str) -> Result<AnyConnection, Error> {
    url.parse::<AnyConnectOptions>()?.disable_statement_logging().connect().await
}

/// The file will contain secrets, so only its owner can read it.
fn create_file(file: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(file).map(|_| ())
}

/// Without a prepared statement, because a pooler may use another session for each query.
async fn rows(connection: &mut AnyConnection) -> Result<Vec<AppRow>, Error> {
    raw_sql(SELECT).fetch_all(connection).await?.iter().map(row).collect()
}

fn row(row: &AnyRow) -> Result<AppRow, Error> {
    // A view may have nulls. Missing values are reported with all other problems of the row.
    let text = |name| row.try_get::<Option<String>, _>(name).map(Option::unwrap_or_default);
    let settings = row.try_get::<Option<String>, _>("settings")?.unwrap_or_else(|| "{}".to_owned());
    Ok(AppRow { id: text("id")?, key: text("key")?, secret: text("secret")?, settings })
}

fn is_missing_table(error: &Error) -> bool {
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
    fn invalid_urls_are_refused_before_connecting() {
        for url in [
            "sqlite:/var/lib/clarim/apps.db",
            "sqlite:apps.db?mode=ro",
            "postgres://ana:hush@db:5433/apps?sslmode=require&application_name=x",
            "postgresql://db/apps",
        ] {
            assert_eq!(url_problem(url), None, "{url}");
        }
        for (url, expected) in [
            ("sqlite:apps.db?mod=ro", "mod"),
            ("postgres://ana:hush@db/apps?sslmod=require", "expected sslmode, "),
            (
                "postgres://ana:hush@db/apps?sslmode=maybe",
                "cannot be used: unknown value \"maybe\" for `ssl_mode`",
            ),
            ("postgres://ana:hush@db:x/apps", "port"),
        ] {
            let what = url_problem(url).unwrap_or_default();
            assert!(what.contains(expected) && !what.contains("hush"), "{url}: {what}");
        }
    }
}
