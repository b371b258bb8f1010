//! The application's own tables, in SQLite or PostgreSQL with the same statements.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use sqlx::AnyPool;
use sqlx::any::AnyPoolOptions;

/// Connects and creates the tables.
pub(crate) async fn open(url: &str) -> Result<AnyPool> {
    sqlx::any::install_default_drivers();
    let is_sqlite = url.starts_with("sqlite:");
    // Creates a missing file, as the library does for its own tables.
    let url = match is_sqlite && !url.contains('?') {
        true => format!("{url}?mode=rwc"),
        false => url.to_owned(),
    };
    let pool = AnyPoolOptions::new()
        .max_connections(8)
        .connect(&url)
        .await
        .context("cannot open the database of DATABASE_URL")?;
    if is_sqlite {
        // Readers do not wait for writers. The mode is stored in the file.
        sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await?;
    }
    sqlx::migrate!().run(&pool).await.context("cannot create the tables")?;
    Ok(pool)
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The demo users, with the password `clarim`.
pub(crate) const USERS: [(i64, &str, &str); 3] =
    [(1, "ana", "Ana Souza"), (2, "bruno", "Bruno Lima"), (3, "carla", "Carla Dias")];
pub(crate) const PASSWORD: &str = "clarim";
