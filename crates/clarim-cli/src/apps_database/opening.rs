//! The first reading of the table.

use std::time::Duration;

use clarim_config::{AppRow, Config, ConfigError, CreateIfMissing, DatabaseUrl};
use tokio::time::timeout;

use super::database::Database;
use super::error::DatabaseError;
use super::table::Table;
use super::watcher::Watcher;

/// Timeout for the database at start.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How to add the first app.
pub(crate) const HOW_TO_ADD: &str = "INSERT INTO clarim_apps (id, key, secret) VALUES ('…', '…', '…') \
    (`clarim app new` generates the values)";

/// A database that was opened, with its rows, which may be invalid.
pub(crate) struct Opened {
    pub(crate) rows: Vec<AppRow>,
    pub(crate) watcher: Watcher,
}

/// Reads the database of the settings, if they name one.
///
/// # Errors
/// If it can't be read.
pub(crate) async fn open(
    settings: &Config,
    create: CreateIfMissing,
) -> Result<Option<Opened>, ConfigError> {
    let Some(url) = &settings.apps_database else { return Ok(None) };
    let mut database = Database::new(url);
    let read = timeout(TIMEOUT, database.read_first(create)).await;
    let rows = read.unwrap_or(Err(DatabaseError::Timeout(TIMEOUT))).map_err(|cause| {
        let what = format_args!("{} cannot be read: {cause}; {}", url.shown(), remedy(url));
        ConfigError(vec![url.problem(what)])
    })?;
    let watcher = Watcher::new(database, rows.clone());
    Ok(Some(Opened { rows, watcher }))
}

/// Reads the table of the database of the settings, if they name one. Creates nothing.
///
/// # Errors
/// If it can't be read.
pub(crate) fn read_table(settings: &Config) -> Result<Option<Table>, ConfigError> {
    let Some(url) = &settings.apps_database else { return Ok(None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ConfigError(vec![url.problem(error)]))?;
    let opened = runtime.block_on(open(settings, CreateIfMissing::No))?;
    Ok(opened.map(|opened| {
        let mut table = Table::new(&settings.server);
        table.update(opened.rows, &settings.apps);
        table
    }))
}

fn remedy(url: &DatabaseUrl) -> &'static str {
    if url.is_sqlite() {
        "its directory must exist, and the user of this process must be able to read and write it"
    } else {
        "check that it is running, that host, port, user, password and database are correct, and that the user may \
         read the table clarim_apps, or create it"
    }
}
