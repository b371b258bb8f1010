//! Regular readings of the table while the server runs.

use std::collections::HashSet;
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
    known: KnownRows,
}

/// The rows in force. An app that is removed loses its clients for good: they are closed with 4003, after
/// which they do not come back. So a row that is missing for a moment, while another program rewrites the
/// table, is not removed yet.
#[derive(Debug)]
struct KnownRows {
    rows: Vec<AppRow>,
    /// Ids that were missing in the last reading.
    missing: HashSet<String>,
    /// The log says that the table is empty.
    is_empty_reported: bool,
}

impl KnownRows {
    fn new(rows: Vec<AppRow>) -> Self {
        Self { rows, missing: HashSet::new(), is_empty_reported: false }
    }

    /// Takes a reading, and returns the rows if other ones than before are in force. `is_asked`: the operator
    /// has asked for the reading, so removals take effect at once.
    fn update(&mut self, mut read: Vec<AppRow>, is_asked: bool) -> Option<Vec<AppRow>> {
        if read.is_empty() && !self.rows.is_empty() && !is_asked {
            if !std::mem::replace(&mut self.is_empty_reported, true) {
                tracing::warn!(
                    "the table clarim_apps is empty; its apps stay in force. If they are to be removed, reload \
                     the server (SIGHUP)"
                );
            }
            return None;
        }
        self.is_empty_reported = false;
        let present: HashSet<&String> = read.iter().map(|row| &row.id).collect();
        let missing: Vec<AppRow> =
            self.rows.iter().filter(|row| !present.contains(&row.id)).cloned().collect();
        let before = std::mem::take(&mut self.missing);
        self.missing = missing.iter().map(|row| row.id.clone()).collect();
        if !is_asked {
            read.extend(missing.into_iter().filter(|row| !before.contains(&row.id)));
        }
        (read != self.rows).then(|| {
            self.rows.clone_from(&read);
            read
        })
    }
}

impl Watcher {
    pub(super) fn new(database: Database, rows: Vec<AppRow>) -> Self {
        Self { database, known: KnownRows::new(rows) }
    }

    /// Sends the rows whenever they have changed. Reads them every [`INTERVAL`] and at SIGHUP.
    pub(crate) async fn run(mut self, changes: Sender<Vec<AppRow>>, mut hangup: ReloadSignal) {
        let mut is_unreachable = false;
        loop {
            let is_asked = tokio::select! {
                () = hangup.next() => true,
                () = sleep(INTERVAL) => false,
            };
            let read = timeout(TIMEOUT, self.database.read()).await;
            match read.unwrap_or(Err(DatabaseError::Timeout(TIMEOUT))) {
                Ok(rows) => {
                    if std::mem::take(&mut is_unreachable) {
                        tracing::info!("the database of apps is reachable again");
                    }
                    if let Some(rows) = self.known.update(rows, is_asked)
                        && changes.send(rows).await.is_err()
                    {
                        return;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ids: &[&str]) -> Vec<AppRow> {
        let row = |id: &&str| {
            let id = (*id).to_owned();
            let [secret, settings] = ["hush", "{}"].map(str::to_owned);
            AppRow { key: format!("key-{id}"), id, secret, settings }
        };
        ids.iter().map(row).collect()
    }

    #[test]
    fn a_row_that_is_away_for_one_reading_is_not_removed() {
        let mut known = KnownRows::new(rows(&["1", "2"]));
        assert_eq!(known.update(rows(&["1"]), false), None);
        assert_eq!(known.update(rows(&["1", "2"]), false), None);
        assert_eq!(known.update(rows(&["1"]), false), None);
        assert_eq!(known.update(rows(&["1"]), false), Some(rows(&["1"])));
        // New rows are taken at once.
        assert_eq!(known.update(rows(&["1", "3"]), false), Some(rows(&["1", "3"])));
        assert_eq!(known.update(rows(&["1"]), true), Some(rows(&["1"])));
    }

    #[test]
    fn an_empty_table_removes_nothing_unless_the_operator_asks() {
        let mut known = KnownRows::new(rows(&["1"]));
        for _ in 0..3 {
            assert_eq!(known.update(Vec::new(), false), None);
        }
        assert_eq!(known.update(Vec::new(), true), Some(Vec::new()));
        assert_eq!(known.update(rows(&["1"]), false), Some(rows(&["1"])));
    }
}
