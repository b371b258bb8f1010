//! Documents in the database: a snapshot, and the updates since then.

use serde::Serialize;
use sqlx::any::Any;
use sqlx::{AnyPool, Executor, FromRow};
use ts_rs::TS;

use super::content::{Content, Problem, compute, encode};
use crate::database::now;
use crate::error::{ApiError, ApiResult};

/// Number of updates after which a new snapshot is made.
const MAX_UPDATES: i64 = 100;

/// A document in a list.
#[derive(Debug, Clone, Serialize, FromRow, TS)]
pub(crate) struct Document {
    id: i64,
    title: String,
    /// Milliseconds since 1970. 0: never.
    edited_at: i64,
}

/// The documents of a user, last edited first.
pub(super) async fn documents(db: &AnyPool, user: i64) -> sqlx::Result<Vec<Document>> {
    sqlx::query_as(
        "SELECT id, title, edited_at FROM documents JOIN document_members ON document_id = id
         WHERE user_id = $1 ORDER BY edited_at DESC, id",
    )
    .bind(user)
    .fetch_all(db)
    .await
}

pub(super) async fn is_member(db: &AnyPool, document: i64, user: i64) -> sqlx::Result<bool> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT user_id FROM document_members WHERE document_id = $1 AND user_id = $2",
    )
    .bind(document)
    .bind(user)
    .fetch_optional(db)
    .await?;
    Ok(found.is_some())
}

/// Creates a document for all users.
pub(super) async fn create(db: &AnyPool, title: &str) -> sqlx::Result<Document> {
    let edited_at = now();
    let mut tx = db.begin().await?;
    let id: i64 = sqlx::query_scalar(
        "INSERT INTO documents (id, title, edited_at)
         SELECT COALESCE(MAX(id), 0) + 1, $1, $2 FROM documents RETURNING id",
    )
    .bind(title)
    .bind(edited_at)
    .fetch_one(&mut *tx)
    .await?;
    sqlx::query("INSERT INTO document_members (document_id, user_id) SELECT $1, id FROM users")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Document { id, title: title.to_owned(), edited_at })
}

/// The snapshot and the later updates, and the sequence number of the last one.
pub(super) async fn updates(
    db: impl Executor<'_, Database = Any>,
    document: i64,
) -> sqlx::Result<(Vec<String>, i64)> {
    // One statement, so that a new snapshot cannot come in between.
    let rows: Vec<(i64, String)> = sqlx::query_as(
        "SELECT snapshot_seq AS seq, snapshot AS data FROM documents
         WHERE id = $1 AND snapshot IS NOT NULL
         UNION ALL SELECT seq, data FROM document_updates WHERE document_id = $1 ORDER BY seq",
    )
    .bind(document)
    .fetch_all(db)
    .await?;
    let last = rows.last().map_or(0, |(seq, _)| *seq);
    Ok((rows.into_iter().map(|(_, data)| data).collect(), last))
}

/// Stores an update if it is valid and complete, and returns its sequence number.
pub(super) async fn add(
    db: &AnyPool,
    document: i64,
    author: i64,
    update: Vec<u8>,
) -> ApiResult<i64> {
    let mut tx = db.begin().await?;
    // This comes first because it locks the document until the transaction ends.
    let (seq, snapshot_seq): (i64, i64) = sqlx::query_as(
        "UPDATE documents SET last_seq = last_seq + 1, edited_at = $2 WHERE id = $1
         RETURNING last_seq, snapshot_seq",
    )
    .bind(document)
    .bind(now())
    .fetch_one(&mut *tx)
    .await?;
    let (stored, _) = updates(&mut *tx, document).await?;
    let is_long = seq - snapshot_seq >= MAX_UPDATES;
    let data = encode(&update);
    let snapshot = compute(move || {
        let content = Content::of(&stored)?;
        content.add(&update)?;
        Ok(is_long.then(|| encode(&content.everything())))
    })
    .await?;
    match snapshot {
        Some(snapshot) => {
            sqlx::query("UPDATE documents SET snapshot = $2, snapshot_seq = $3 WHERE id = $1")
                .bind(document)
                .bind(snapshot)
                .bind(seq)
                .execute(&mut *tx)
                .await?;
            sqlx::query("DELETE FROM document_updates WHERE document_id = $1")
                .bind(document)
                .execute(&mut *tx)
                .await?;
        }
        None => {
            sqlx::query(
                "INSERT INTO document_updates (document_id, seq, author_id, data)
                 VALUES ($1, $2, $3, $4)",
            )
            .bind(document)
            .bind(seq)
            .bind(author)
            .bind(data)
            .execute(&mut *tx)
            .await?;
        }
    }
    tx.commit().await?;
    Ok(seq)
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid("update", problem.code())
    }
}
