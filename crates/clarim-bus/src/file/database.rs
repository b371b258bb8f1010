//! The file of a [`FileBus`](super::FileBus): an SQLite database.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::FileBusError;
use crate::log::{IdempotencyKey, LogEntry, Position};

/// Marks a file as one of Clarim's.
const APPLICATION_ID: i64 = 0x436c_6172;

/// The version of the tables.
const VERSION: i64 = 1;

/// How long to wait for another process to release the file, as one that is about to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Pages that are given back to the file system at a time.
const MAX_FREED: u32 = 1_000;

/// With `synchronous=NORMAL`, which comes later, a commit hands its data to the kernel, and a checkpoint
/// writes it to the disk.
const SETTINGS: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA wal_autocheckpoint = 0;
    PRAGMA journal_size_limit = 16777216;
    PRAGMA cache_size = -16000;
";

const TABLES: &str = "
    CREATE TABLE writer (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        boot TEXT NOT NULL,
        is_open INTEGER NOT NULL,
        era INTEGER NOT NULL,
        at INTEGER NOT NULL
    );
    CREATE TABLE logs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        era INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        current INTEGER NOT NULL,
        start INTEGER NOT NULL,
        ends_at INTEGER NOT NULL
    );
    CREATE INDEX logs_by_end ON logs (ends_at);
    CREATE TABLE entries (
        log INTEGER NOT NULL,
        offset INTEGER NOT NULL,
        at INTEGER NOT NULL,
        payload BLOB NOT NULL,
        PRIMARY KEY (log, offset)
    ) WITHOUT ROWID;
    CREATE TABLE even_keys (
        log INTEGER NOT NULL,
        key TEXT NOT NULL,
        offset INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (log, key)
    ) WITHOUT ROWID;
    CREATE TABLE odd_keys (
        log INTEGER NOT NULL,
        key TEXT NOT NULL,
        offset INTEGER NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (log, key)
    ) WITHOUT ROWID;
";

type Result<T> = std::result::Result<T, FileBusError>;

/// The open file. No other process can open it.
#[derive(Debug)]
pub(super) struct Database {
    connection: Connection,
    path: PathBuf,
}

/// The traces of the last process that had the file open.
#[derive(Debug)]
pub(super) struct LastWriter {
    /// The boot of the machine in which it ran.
    pub(super) boot: String,
    /// Whether it has not closed the file.
    pub(super) is_open: bool,
    pub(super) era: i64,
    /// Its last time, since 1970.
    pub(super) at: Duration,
}

/// A log as it is stored.
#[derive(Debug)]
pub(super) struct SavedLog {
    pub(super) id: i64,
    /// The [`LastWriter::era`] of its epoch.
    pub(super) era: i64,
    pub(super) current: Position,
    pub(super) start: u64,
    pub(super) ends_at: Duration,
}

/// An entry without its payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct SavedEntry {
    pub(super) offset: u64,
    pub(super) at: Duration,
    pub(super) bytes: u64,
}

/// A key, and the entry that has it.
#[derive(Debug)]
pub(super) struct SavedKey<'a> {
    pub(super) log: i64,
    pub(super) key: &'a IdempotencyKey,
    pub(super) offset: u64,
    pub(super) at: Duration,
}

impl Database {
    pub(super) fn open(path: &Path) -> Result<Self> {
        create(path).map_err(|source| FileBusError::unusable(path, source))?;
        let failed = |source| FileBusError::sqlite(path, source);
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        // From the first access on, no other process can open it.
        connection.execute_batch("PRAGMA locking_mode = EXCLUSIVE").map_err(failed)?;
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get(0));
        let [id, version]: [i64; 2] =
            [number("application_id").map_err(failed)?, number("user_version").map_err(failed)?];
        let tables = "SELECT count(*) FROM sqlite_schema";
        let tables: i64 = connection.query_row(tables, [], |row| row.get(0)).map_err(failed)?;
        if tables > 0 && (id, version) != (APPLICATION_ID, VERSION) {
            return Err(FileBusError::foreign(path));
        }
        // Writes nothing to a file that is there: the disk may be full.
        if tables == 0 {
            connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL").map_err(failed)?;
        }
        connection.execute_batch(SETTINGS).map_err(failed)?;
        connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
        if tables == 0 {
            connection.execute_batch(TABLES).map_err(failed)?;
            connection.pragma_update(None, "application_id", APPLICATION_ID).map_err(failed)?;
            connection.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        }
        connection.execute_batch("COMMIT").map_err(failed)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self { connection, path: path.to_owned() })
    }

    pub(super) fn last_writer(&self) -> Result<Option<LastWriter>> {
        self.find("SELECT boot, is_open, era, at FROM writer", [], |row| {
            Ok(LastWriter {
                boot: row.get(0)?,
                is_open: row.get(1)?,
                era: row.get(2)?,
                at: millis(row.get(3)?),
            })
        })
    }

    /// Notes who writes the file. Reaches the disk before this returns.
    pub(super) fn set_writer(&self, writer: &LastWriter) -> Result<()> {
        let LastWriter { boot, is_open, era, at } = writer;
        self.connection.pragma_update(None, "synchronous", "FULL").map_err(self.failed())?;
        self.execute(
            "INSERT OR REPLACE INTO writer (id, boot, is_open, era, at) VALUES (0, ?1, ?2, ?3, ?4)",
            (boot, is_open, era, number(at.as_millis() as u64)),
        )?;
        self.connection.pragma_update(None, "synchronous", "NORMAL").map_err(self.failed())?;
        self.sync()
    }

    /// Notes the time.
    pub(super) fn set_time(&self, at: Duration) -> Result<()> {
        self.execute("UPDATE writer SET at = ?1", [number(at.as_millis() as u64)])
    }

    pub(super) fn begin(&self) -> Result<()> {
        self.execute("BEGIN IMMEDIATE", [])
    }

    /// When this returns, the kernel has the data.
    pub(super) fn commit(&self) -> Result<()> {
        self.execute("COMMIT", [])
    }

    /// Undoes what was not committed.
    pub(super) fn roll_back(&self) {
        // SQLite has done it already after some errors, and reports that there is nothing to undo.
        if !self.connection.is_autocommit() {
            let _ = self.execute("ROLLBACK", []);
        }
    }

    /// Writes everything that was committed to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.find("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map(drop)
    }

    /// Gives unused space back to the file system, if there is much of it.
    pub(super) fn give_back_space(&self) -> Result<()> {
        let pages = |pragma| {
            self.connection
                .pragma_query_value(None, pragma, |row| row.get::<_, i64>(0))
                .map_err(self.failed())
        };
        if pages("freelist_count")? > pages("page_count")? / 2 {
            let vacuum = format!("PRAGMA incremental_vacuum({MAX_FREED})");
            self.connection.execute_batch(&vacuum).map_err(self.failed())?;
        }
        Ok(())
    }

    pub(super) fn find_log(&self, name: &str) -> Result<Option<SavedLog>> {
        let sql = "SELECT id, era, epoch, current, start, ends_at FROM logs WHERE name = ?1";
        self.find(sql, [name], |row| {
            let epoch = row.get::<_, i64>(2)?.cast_unsigned();
            let current = Position { epoch, offset: unsigned(row, 3)? };
            Ok(SavedLog {
                id: row.get(0)?,
                era: row.get(1)?,
                current,
                start: unsigned(row, 4)?,
                ends_at: millis(row.get(5)?),
            })
        })
    }

    /// Adds a log without entries. Returns its id.
    pub(super) fn add_log(&self, name: &str) -> Result<i64> {
        self.execute(
            "INSERT INTO logs (name, era, epoch, current, start, ends_at) VALUES (?1, 0, 0, 0, 0, 0)",
            [name],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    /// Stores all of a log but its entries, and removes the entries that it does not keep.
    pub(super) fn save_log(&self, log: &SavedLog) -> Result<()> {
        let &SavedLog { id, era, current, start, ends_at } = log;
        self.execute(
            "UPDATE logs SET era = ?2, epoch = ?3, current = ?4, start = ?5, ends_at = ?6 WHERE id = ?1",
            (
                id,
                era,
                current.epoch.cast_signed(),
                number(current.offset),
                number(start),
                number(ends_at.as_millis() as u64),
            ),
        )?;
        self.execute("DELETE FROM entries WHERE log = ?1 AND offset <= ?2", (id, number(start)))
    }

    /// All logs.
    pub(super) fn all_logs(&self) -> Result<Vec<NamedLog>> {
        self.list("SELECT id, name FROM logs", [], |row| {
            Ok(NamedLog { id: row.get(0)?, name: row.get(1)? })
        })
    }

    pub(super) fn remove_log(&self, id: i64) -> Result<()> {
        self.execute("DELETE FROM entries WHERE log = ?1", [id])?;
        self.execute("DELETE FROM even_keys WHERE log = ?1", [id])?;
        self.execute("DELETE FROM odd_keys WHERE log = ?1", [id])?;
        self.execute("DELETE FROM logs WHERE id = ?1", [id])
    }

    /// Some of the logs that have ended.
    pub(super) fn ended_logs(&self, now: Duration, limit: u32) -> Result<Vec<NamedLog>> {
        let sql = "SELECT id, name FROM logs WHERE ends_at <= ?1 LIMIT ?2";
        self.list(sql, (number(now.as_millis() as u64), limit), |row| {
            Ok(NamedLog { id: row.get(0)?, name: row.get(1)? })
        })
    }

    pub(super) fn entries(&self, log: i64) -> Result<Vec<SavedEntry>> {
        let sql = "SELECT offset, at, length(payload) FROM entries WHERE log = ?1 ORDER BY offset";
        self.list(sql, [log], |row| {
            let at = millis(row.get(1)?);
            Ok(SavedEntry { offset: unsigned(row, 0)?, at, bytes: unsigned(row, 2)? })
        })
    }

    pub(super) fn add_entry(&self, log: i64, entry: SavedEntry, payload: &[u8]) -> Result<()> {
        let at = number(entry.at.as_millis() as u64);
        self.execute(
            "INSERT INTO entries (log, offset, at, payload) VALUES (?1, ?2, ?3, ?4)",
            (log, number(entry.offset), at, payload),
        )
    }

    /// The entries of a log after an offset, up to a number of them.
    pub(super) fn page(
        &self,
        log: i64,
        epoch: u64,
        after: u64,
        count: usize,
    ) -> Result<Vec<LogEntry>> {
        let sql = "SELECT offset, payload FROM entries WHERE log = ?1 AND offset > ?2 \
            ORDER BY offset LIMIT ?3";
        self.list(sql, (log, number(after), number(count as u64)), |row| {
            let offset = unsigned(row, 0)?;
            let payload = Bytes::from(row.get::<_, Vec<u8>>(1)?);
            Ok(LogEntry::new(Position { epoch, offset }, offset.saturating_sub(1), payload))
        })
    }

    /// The offset of the entry that was stored with a key after a time.
    pub(super) fn find_key(
        &self,
        log: i64,
        key: &IdempotencyKey,
        after: Duration,
    ) -> Result<Option<u64>> {
        let sql = "SELECT offset FROM even_keys WHERE log = ?1 AND key = ?2 AND at > ?3 \
            UNION ALL SELECT offset FROM odd_keys WHERE log = ?1 AND key = ?2 AND at > ?3";
        let after = number(after.as_millis() as u64);
        self.find(sql, (log, key.as_str(), after), |row| unsigned(row, 0))
    }

    /// Adds a key, of this period.
    pub(super) fn add_key(&self, period: u64, key: &SavedKey<'_>) -> Result<()> {
        // One that has expired may still be there.
        let sql = match period % 2 {
            0 => "INSERT OR REPLACE INTO even_keys (log, key, offset, at) VALUES (?1, ?2, ?3, ?4)",
            _ => "INSERT OR REPLACE INTO odd_keys (log, key, offset, at) VALUES (?1, ?2, ?3, ?4)",
        };
        let at = number(key.at.as_millis() as u64);
        self.execute(sql, (key.log, key.key.as_str(), number(key.offset), at))
    }

    /// Removes all keys of the period two before this one: it costs less than to look for those that have
    /// expired.
    pub(super) fn begin_period(&self, period: u64) -> Result<()> {
        self.execute(
            if period.is_multiple_of(2) { "DELETE FROM even_keys" } else { "DELETE FROM odd_keys" },
            [],
        )
    }

    /// Removes the keys until a time, which may be many.
    pub(super) fn remove_keys(&self, until: Duration) -> Result<()> {
        let until = number(until.as_millis() as u64);
        self.execute("DELETE FROM even_keys WHERE at <= ?1", [until])?;
        self.execute("DELETE FROM odd_keys WHERE at <= ?1", [until])
    }

    fn execute(&self, sql: &str, parameters: impl rusqlite::Params) -> Result<()> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        statement.execute(parameters).map_err(self.failed()).map(drop)
    }

    fn find<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        statement.query_row(parameters, read).optional().map_err(self.failed())
    }

    fn list<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed())?;
        let rows = statement.query_map(parameters, read).map_err(self.failed())?;
        rows.collect::<rusqlite::Result<_>>().map_err(self.failed())
    }

    fn failed(&self) -> impl Fn(rusqlite::Error) -> FileBusError {
        |source| FileBusError::sqlite(&self.path, source)
    }

    /// Makes the disk full once the file has this many pages.
    #[cfg(test)]
    pub(super) fn limit_pages(&self, pages: u32) {
        let limit = format!("PRAGMA max_page_count = {pages}");
        self.connection.query_row(&limit, [], |_| Ok(())).unwrap();
    }
}

/// A log that may have to be removed.
#[derive(Debug)]
pub(super) struct NamedLog {
    pub(super) id: i64,
    pub(super) name: String,
}

/// Creates the file, if there is none: events of private channels are nobody else's business.
fn create(path: &Path) -> std::io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// SQLite has signed numbers. Offsets, sizes and times are far from the end of their range.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0))
}

fn millis(millis: i64) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
