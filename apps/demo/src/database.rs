//! The application's own tables, in SQLite or PostgreSQL with the same statements.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use argon2::{Argon2, PasswordHasher as _};
use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool};

/// Connects, creates the tables and, on first use, the demo users.
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
    seed(&pool).await.context("cannot create the demo users")?;
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

/// Conversations and their members.
const CONVERSATIONS: [(i64, &str, &[i64]); 4] = [
    (1, "Equipe", &[1, 2, 3]),
    (2, "Ana e Bruno", &[1, 2]),
    (3, "Bruno e Carla", &[2, 3]),
    (4, "Ana e Carla", &[1, 3]),
];

/// Documents and their editors.
const DOCUMENTS: [(i64, &str, &[i64]); 3] = [
    (1, "Ata da reunião", &[1, 2, 3]),
    (2, "Plano de lançamento", &[1, 2, 3]),
    (3, "Rascunho de Bruno e Carla", &[2, 3]),
];

async fn seed(pool: &AnyPool) -> Result<()> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(pool).await?;
    if count > 0 {
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    for (id, login, name) in USERS {
        let password = Argon2::default()
            .hash_password(PASSWORD.as_bytes())
            .map_err(|error| anyhow::anyhow!("argon2: {error}"))?
            .to_string();
        // Two processes may start on an empty database at the same time.
        sqlx::query(
            "INSERT INTO users (id, login, name, password) VALUES ($1, $2, $3, $4)
             ON CONFLICT (id) DO NOTHING",
        )
        .bind(id)
        .bind(login)
        .bind(name)
        .bind(password)
        .execute(&mut *tx)
        .await?;
    }
    let conversations = "INSERT INTO conversations (id, title) VALUES ($1, $2)
         ON CONFLICT (id) DO NOTHING";
    let members = "INSERT INTO conversation_members (conversation_id, user_id) VALUES ($1, $2)
         ON CONFLICT (conversation_id, user_id) DO NOTHING";
    seed_shared(&mut tx, &CONVERSATIONS, conversations, members).await?;
    let documents = "INSERT INTO documents (id, title) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING";
    let members = "INSERT INTO document_members (document_id, user_id) VALUES ($1, $2)
         ON CONFLICT (document_id, user_id) DO NOTHING";
    seed_shared(&mut tx, &DOCUMENTS, documents, members).await?;
    tx.commit().await?;
    Ok(())
}

/// Inserts conversations or documents, with their members.
async fn seed_shared(
    tx: &mut AnyConnection,
    all: &[(i64, &'static str, &[i64])],
    insert: &'static str,
    insert_member: &'static str,
) -> Result<()> {
    for (id, title, members) in all {
        sqlx::query(insert).bind(*id).bind(*title).execute(&mut *tx).await?;
        for user in *members {
            sqlx::query(insert_member).bind(*id).bind(*user).execute(&mut *tx).await?;
        }
    }
    Ok(())
}
