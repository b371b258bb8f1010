//! SQLite, which stores ids and times as text that sorts like them.

use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow};
use sqlx::types::Json;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::row::{ACQUIRE_TIMEOUT, StoredNotification};

pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("migrations/sqlite-1.sql")];

pub(crate) async fn connect(url: &str) -> sqlx::Result<sqlx::SqlitePool> {
    let options = SqliteConnectOptions::from_str(url)?.create_if_missing(true);
    let pool = SqlitePoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
    if url.contains(":memory:") {
        // Each connection has its own database, which is dropped with it.
        let pool = pool.max_connections(1).idle_timeout(None).max_lifetime(None);
        pool.connect_with(options).await
    } else {
        // With WAL, readers and the writer don't block each other.
        pool.connect_with(options.journal_mode(SqliteJournalMode::Wal)).await
    }
}

pub(crate) fn id(id: Uuid) -> Hyphenated {
    id.hyphenated()
}

/// A time as text of fixed length.
pub(crate) fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

pub(crate) fn stored(row: &SqliteRow) -> sqlx::Result<StoredNotification> {
    Ok(StoredNotification {
        id: row.try_get::<Hyphenated, _>("id")?.into_uuid(),
        notification_type: row.try_get("type")?,
        data: row.try_get::<Json<_>, _>("data")?.0,
        read_at: row.try_get("read_at")?,
        created_at: row.try_get("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_sort_as_text() {
        let at = |millis| time(DateTime::from_timestamp_millis(millis).unwrap());
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert!(at(1_000) < at(1_500));
        assert!(at(1_120) < at(1_123));
        assert!(at(1_123) < time(crate::notification::store::row::FAR_FUTURE));
    }
}
