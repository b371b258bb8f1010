//! Whether a transaction of the application is in the database of the queue.

use crate::error::Error;

/// Checks that the connection has opened the file at the queue's URL.
#[cfg(feature = "sqlite")]
pub(super) async fn check_file(
    connection: &mut sqlx::SqliteConnection,
    url: &str,
) -> Result<(), Error> {
    use std::path::Path;
    use std::str::FromStr;

    use sqlx::Row;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};

    let failed = |error| Error::storage_at("sqlite", url, error);
    // A SELECT would read the file. The transaction could then not write if others have changed it since.
    let databases = sqlx::query("PRAGMA database_list").fetch_all(connection).await;
    let databases = databases.map_err(failed)?;
    let is_main = |row: &&SqliteRow| row.try_get("name").is_ok_and(|name: &str| name == "main");
    let main = databases.iter().find(is_main);
    let opened: String =
        main.map_or(Ok(String::new()), |row| row.try_get("file")).map_err(failed)?;
    let options = SqliteConnectOptions::from_str(url).map_err(failed)?;
    let own = options.get_filename();
    let resolved = |path: &Path| std::fs::canonicalize(path).ok();
    match resolved(own) {
        file @ Some(_) if file == resolved(Path::new(&opened)) => Ok(()),
        _ => Err(other(&format!(
            "the queue is in {}, the transaction in {}",
            own.display(),
            if opened.is_empty() { "memory" } else { &opened },
        ))),
    }
}

/// Whether the queue has no tables yet.
#[cfg(feature = "sqlite")]
pub(super) fn is_missing_table(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.message().starts_with("no such table"))
}

/// A number that identifies the table of jobs that a connection finds: on which server, in which database and
/// schema. `None` if it finds none.
#[cfg(feature = "postgres")]
pub(super) async fn identity(
    connection: &mut dyn super::connection::Connection,
) -> sqlx::Result<Option<i64>> {
    let table = "system_identifier || '/' || to_regclass('clarim_jobs')::oid";
    let identity = format!("SELECT hashtextextended({table}, 0) FROM pg_control_system()");
    connection.fetch(identity, Vec::new()).await
}

/// The error about a transaction in another database.
pub(super) fn other(problem: &str) -> Error {
    let cure = "a transaction can only take jobs into its own database; set the queue's URL to that of the transaction";
    Error::Transaction { problem: format!("{problem}; {cure}") }
}
