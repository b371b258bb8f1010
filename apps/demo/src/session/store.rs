//! Sessions in the application's database. The published stores need another version of sqlx.

use async_trait::async_trait;
use sqlx::AnyPool;
use time::OffsetDateTime;
use tower_sessions::SessionStore;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store::{Error, Result};

use super::USER;
use crate::database::now;

/// Maximum number of a user's sessions. The oldest are deleted.
const MAX_SESSIONS: i64 = 100;

#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    db: AnyPool,
}

impl Sessions {
    pub(crate) fn new(db: AnyPool) -> Self {
        Self { db }
    }

    /// Deletes the oldest sessions of a user with too many.
    pub(super) async fn prune_user(db: &AnyPool, user: i64) -> sqlx::Result<()> {
        sqlx::query(
            "DELETE FROM sessions WHERE user_id = $1 AND id NOT IN (
                 SELECT id FROM sessions WHERE user_id = $1 ORDER BY expires_at DESC LIMIT $2)",
        )
        .bind(user)
        .bind(MAX_SESSIONS - 1)
        .execute(db)
        .await
        .map(drop)
    }

    /// Deletes expired sessions.
    pub(crate) async fn prune(db: &AnyPool) -> sqlx::Result<()> {
        let query = sqlx::query("DELETE FROM sessions WHERE expires_at < $1").bind(now());
        query.execute(db).await.map(drop)
    }

    async fn write(&self, statement: &'static str, record: &Record) -> Result<()> {
        sqlx::query(statement)
            .bind(record.id.to_string())
            .bind(serde_json::to_string(record).map_err(broken)?)
            .bind(milliseconds(record.expiry_date))
            .bind(record.data.get(USER).and_then(serde_json::Value::as_i64))
            .execute(&self.db)
            .await
            .map(drop)
            .map_err(broken)
    }
}

fn milliseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Backend(error.to_string())
}

#[async_trait]
impl SessionStore for Sessions {
    async fn create(&self, record: &mut Record) -> Result<()> {
        // IDs are 128 random bits, so a duplicate is an error.
        let insert = "INSERT INTO sessions (id, data, expires_at, user_id) VALUES ($1, $2, $3, $4)";
        self.write(insert, record).await
    }

    async fn save(&self, record: &Record) -> Result<()> {
        let upsert = "INSERT INTO sessions (id, data, expires_at, user_id) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET data = excluded.data, expires_at = excluded.expires_at,
             user_id = excluded.user_id";
        self.write(upsert, record).await
    }

    async fn load(&self, id: &Id) -> Result<Option<Record>> {
        let data: Option<String> =
            sqlx::query_scalar("SELECT data FROM sessions WHERE id = $1 AND expires_at > $2")
                .bind(id.to_string())
                .bind(now())
                .fetch_optional(&self.db)
                .await
                .map_err(broken)?;
        data.map(|data| serde_json::from_str(&data).map_err(broken)).transpose()
    }

    async fn delete(&self, id: &Id) -> Result<()> {
        let query = sqlx::query("DELETE FROM sessions WHERE id = $1").bind(id.to_string());
        query.execute(&self.db).await.map(drop).map_err(broken)
    }
}
