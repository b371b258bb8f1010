//! Apps in a table of SQLite or PostgreSQL, beside those of the files.
//!
//! Nothing that a client or a backend waits for asks the database: what the table says is in memory, and it
//! is looked at again and again. [`Table`] decides what of it is in force.

#[cfg(feature = "sql")]
mod sql;
mod table;
#[cfg(not(feature = "sql"))]
mod without;

use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;

use clarim_config::{AppRow, Config, ConfigError, CreateIfMissing, DatabaseUrl};

#[cfg(feature = "sql")]
use sql as database;
#[cfg(not(feature = "sql"))]
use without as database;

use database::Database;
pub(crate) use database::unfit;
pub(crate) use table::{Change, Table};

/// How often the table is looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// How long the database may take to answer before it counts as away; a start waits twice as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// How an app is added, for who has none.
pub(crate) const HOW_TO_ADD: &str = "INSERT INTO clarim_apps (id, key, secret) VALUES ('…', '…', '…') \
    (`clarim app new` makes all three)";

/// What is in the database of the settings, if they name one; the rows may still be wrong.
///
/// # Errors
/// When the database can't be read.
pub(crate) async fn open(
    settings: &Config,
    create: CreateIfMissing,
) -> Result<Option<(Watched, Vec<AppRow>)>, ConfigError> {
    let Some(url) = &settings.apps_database else { return Ok(None) };
    let mut database = Database::new(url);
    let rows = tokio::time::timeout(PATIENCE * 2, database.first(create)).await;
    let rows =
        rows.unwrap_or_else(|_| Err(format!("it has not answered within {:?}", PATIENCE * 2)));
    match rows {
        Ok(rows) => Ok(Some((Watched { database, rows: rows.clone() }, rows))),
        Err(cause) => {
            let (shown, cure) = (url.shown(), cure(url));
            let what = format_args!("{shown} cannot be read: {cause}; {cure}");
            Err(ConfigError(vec![url.problem(what)]))
        }
    }
}

/// The table of the settings' database as it is now, for a command; `None`: they name none.
///
/// # Errors
/// When it can't be read.
pub(crate) fn table(settings: &Config) -> Result<Option<Table>, ConfigError> {
    let Some(url) = &settings.apps_database else { return Ok(None) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ConfigError(vec![url.problem(error)]))?;
    let opened = runtime.block_on(open(settings, CreateIfMissing::No))?;
    Ok(opened.map(|(_, rows)| {
        let mut table = Table::new(&settings.server);
        table.take(rows, &settings.apps);
        table
    }))
}

fn cure(url: &DatabaseUrl) -> &'static str {
    if url.is_sqlite() {
        "its directory has to be there, and the user of this process has to be able to read and write it"
    } else {
        "see that it is up, that host, port, user, password and database are right, and that this user may \
         read the table clarim_apps, or make it"
    }
}

/// Returns when SIGHUP comes; never where it can't be heard.
pub(crate) async fn told(hangup: &mut Option<Signal>) {
    match hangup {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// A database that is looked at while the server runs.
pub(crate) struct Watched {
    database: Database,
    /// What has been told last.
    rows: Vec<AppRow>,
}

impl Watched {
    /// Tells of the rows when they have changed, for ever. They are looked at every two seconds, and at
    /// SIGHUP.
    pub(crate) async fn run(mut self, news: Sender<Vec<AppRow>>, hangup: std::io::Result<Signal>) {
        let mut hangup = hangup.ok();
        let mut is_away = false;
        loop {
            tokio::select! {
                () = told(&mut hangup) => {}
                () = sleep(INTERVAL) => {}
            }
            let rows = tokio::time::timeout(PATIENCE, self.database.again()).await;
            let cause = match rows {
                Ok(Ok(rows)) => {
                    if std::mem::take(&mut is_away) {
                        tracing::info!("the database of apps can be read again");
                    }
                    if rows != self.rows {
                        self.rows.clone_from(&rows);
                        if news.send(rows).await.is_err() {
                            return;
                        }
                    }
                    continue;
                }
                Ok(Err(cause)) => cause,
                Err(_) => format!("it has not answered within {PATIENCE:?}"),
            };
            // Told once, however long it takes.
            if !std::mem::replace(&mut is_away, true) {
                tracing::warn!(
                    cause,
                    "the database of apps cannot be read; the apps that are known stay, and it is asked again \
                     every {INTERVAL:?}"
                );
            }
        }
    }
}
