//! PostgreSQL, which has types for ids, times and JSON.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::{PgPoolOptions, PgRow};
use sqlx::types::Json;
use uuid::Uuid;

use super::row::{ACQUIRE_TIMEOUT, StoredNotification};

pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("migrations/postgres-1.sql")];

pub(crate) async fn connect(url: &str) -> sqlx::Result<sqlx::PgPool> {
    PgPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).connect(url).await
}

pub(crate) fn id(id: Uuid) -> Uuid {
    id
}

pub(crate) fn time(time: DateTime<Utc>) -> DateTime<Utc> {
    time
}

pub(crate) fn stored(row: &PgRow) -> sqlx::Result<StoredNotification> {
    Ok(StoredNotification {
        id: row.try_get("id")?,
        notification_type: row.try_get("type")?,
        data: row.try_get::<Json<_>, _>("data")?.0,
        read_at: row.try_get("read_at")?,
        created_at: row.try_get("created_at")?,
    })
}
