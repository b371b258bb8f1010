//! Regular readings of the table while the server runs.

use std::time::Duration;

use clarim_config::AppRow;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};

use super::database::Database;
use super::error::DatabaseError;
use crate::process::signals::ReloadSignal;

/// Time between two readings.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// Timeout for the database, after which it counts as unreachable.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A database whose changes are watched.
pub(crate) struct Watcher {
    database: Database,
    rows: Vec<AppRow>,
}

impl Watcher {
    pub(super) fn new(database: Database, rows: Vec<AppRow>) -> Self {
        Self { database, rows }
    }

    /// Sends the rows whenever they have changed. Reads them every [`INTERVAL`] and at SIGHUP.
    pub(crate) async fn run(mut self, changes: Sender<Vec<AppRow>>, mut hangup: ReloadSignal) {
        let mut is_unreachable = false;
        loop {
            tokio::select! {
                () = hangup.next() => {}
                () = sleep(INTERVAL) => {}
            }
            let read = timeout(TIMEOUT, self.database.read()).await;
            match read.unwrap_or(Err(DatabaseError::Timeout(TIMEOUT))) {
                Ok(rows) => {
                    if std::mem::take(&mut is_unreachable) {
                        tracing::info!("the database of apps is reachable again");
                    }
                    if rows != self.rows {
                        self.rows.clone_from(&rows);
                        if changes.send(rows).await.is_err() {
                            return;
                        }
                    }
                }
                // Logged once, however long it takes.
                Err(cause) if !std::mem::replace(&mut is_unreachable, true) => {
                    tracing::warn!(
                        %cause,
                        "the database of apps cannot be read; its known apps stay in force, and it is tried again \
                         every {INTERVAL:?}"
                    );
                }
                Err(_) => {}
            }
        }
    }
}
