//! Documents in the database: a snapshot, and the updates since then.

use anyhow::anyhow;
use serde::Serialize;
use sqlx::{AnyPool, FromRow};
use ts_rs::TS;

use super::content::{Outcome, Problem, Task, Work};
use super::sandbox::{self, Failure};
use crate::database::now;
use crate::error::{ApiError, ApiResult};

/// Number of updates after which a new snapshot is made.
const MAX_UPDATES: i64 = 100;
/// Attempts to store an update while others store theirs. Each time, another one has succeeded.
const MAX_TRIES: u32 = 20;

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
    let id: i64 = loop {
        let insert = sqlx::query_scalar(
            "INSERT INTO documents (id, title, edited_at)
             SELECT COALESCE(MAX(id), 0) + 1, $1, $2 FROM documents WHERE true
             ON CONFLICT (id) DO NOTHING RETURNING id",
        );
        // Nothing is returned if another request has just taken the number.
        if let Some(id) = insert.bind(title).bind(edited_at).fetch_optional(&mut *tx).await? {
            break id;
        }
    };
    sqlx::query("INSERT INTO document_members (document_id, user_id) SELECT $1, id FROM users")
        .bind(id)
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(Document { id, title: title.to_owned(), edited_at })
}

pub(super) async fn rename(db: &AnyPool, document: i64, title: &str) -> sqlx::Result<()> {
    let query = sqlx::query("UPDATE documents SET title = $2 WHERE id = $1");
    query.bind(document).bind(title.to_owned()).execute(db).await.map(drop)
}

/// Deletes a document with all its content.
pub(super) async fn delete(db: &AnyPool, document: i64) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    for statement in [
        // Locks the document, so that no update comes in between.
        "UPDATE documents SET last_seq = -1 WHERE id = $1",
        "DELETE FROM document_updates WHERE document_id = $1",
        "DELETE FROM rejected_updates WHERE document_id = $1",
        "DELETE FROM document_members WHERE document_id = $1",
        "DELETE FROM documents WHERE id = $1",
    ] {
        sqlx::query(statement).bind(document).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// What is stored of a document's content.
struct Stored {
    /// A snapshot, if there is one, and the later updates.
    updates: Vec<String>,
    /// The sequence number of each.
    seqs: Vec<i64>,
    snapshot_seq: i64,
    last_seq: i64,
}

impl Stored {
    async fn load(db: &AnyPool, document: i64) -> sqlx::Result<Self> {
        // One statement, so that a new snapshot cannot come in between.
        let rows: Vec<(i64, Option<String>, i64, i64)> = sqlx::query_as(
            "SELECT snapshot_seq AS seq, snapshot AS data, snapshot_seq, last_seq FROM documents
             WHERE id = $1
             UNION ALL SELECT seq, data, snapshot_seq, last_seq FROM document_updates
             JOIN documents ON id = document_id WHERE document_id = $1 ORDER BY seq",
        )
        .bind(document)
        .fetch_all(db)
        .await?;
        let (snapshot_seq, last_seq) =
            rows.first().map(|row| (row.2, row.3)).ok_or(sqlx::Error::RowNotFound)?;
        let stored = rows.into_iter().filter_map(|(seq, data, ..)| Some((seq, data?)));
        let (seqs, updates) = stored.unzip();
        Ok(Self { updates, seqs, snapshot_seq, last_seq })
    }

    fn task(&self, work: Work) -> Task {
        Task { stored: self.updates.clone(), work }
    }
}

/// Finds what a page with this state vector lacks, and the sequence number of the last update in it.
pub(super) async fn compare(
    db: &AnyPool,
    document: i64,
    state: String,
) -> ApiResult<(Outcome, i64)> {
    let mut stored = Stored::load(db, document).await?;
    let mut outcome = sandbox::run(&stored.task(Work::Compare { state: state.clone() })).await;
    // The state vector is well-formed, so this is about what is stored.
    let is_broken = matches!(outcome, Err(Failure::Crashed | Failure::Rejected(_)));
    if is_broken && repair(db, document, &stored).await? {
        stored = Stored::load(db, document).await?;
        outcome = sandbox::run(&stored.task(Work::Compare { state })).await;
    }
    Ok((outcome?, stored.last_seq))
}

/// Stores an update if it is valid and complete. Returns what it changed, and its sequence number.
pub(super) async fn add(
    db: &AnyPool,
    document: i64,
    author: i64,
    update: String,
) -> ApiResult<(String, i64)> {
    let mut is_repaired = false;
    for _ in 0..MAX_TRIES {
        let stored = Stored::load(db, document).await?;
        let outcome = sandbox::run(&stored.task(Work::Add { update: update.clone() })).await;
        let is_crash = matches!(outcome, Err(Failure::Crashed));
        if is_crash && !is_repaired && repair(db, document, &stored).await? {
            is_repaired = true;
            continue;
        }
        let outcome = outcome?;
        // The database is not locked while the other process works.
        if let Some(seq) = insert(db, document, author, &stored, &outcome).await? {
            return Ok((outcome.update, seq));
        }
    }
    Err(ApiError::Unavailable(anyhow!("document {document} has too many editors at this moment")))
}

/// Stores an update, and a snapshot in the place of many. Returns `None` if the document has changed since.
async fn insert(
    db: &AnyPool,
    document: i64,
    author: i64,
    stored: &Stored,
    outcome: &Outcome,
) -> sqlx::Result<Option<i64>> {
    let mut tx = db.begin().await?;
    // This comes first because it locks the document until the transaction ends.
    let seq: Option<i64> = sqlx::query_scalar(
        "UPDATE documents SET last_seq = last_seq + 1, edited_at = $3
         WHERE id = $1 AND last_seq = $2 RETURNING last_seq",
    )
    .bind(document)
    .bind(stored.last_seq)
    .bind(now())
    .fetch_optional(&mut *tx)
    .await?;
    let Some(seq) = seq else { return Ok(None) };
    if seq - stored.snapshot_seq >= MAX_UPDATES {
        sqlx::query("UPDATE documents SET snapshot = $2, snapshot_seq = $3 WHERE id = $1")
            .bind(document)
            .bind(&outcome.everything)
            .bind(seq)
            .execute(&mut *tx)
            .await?;
        sqlx::query("DELETE FROM document_updates WHERE document_id = $1")
            .bind(document)
            .execute(&mut *tx)
            .await?;
    } else {
        sqlx::query(
            "INSERT INTO document_updates (document_id, seq, author_id, data)
             VALUES ($1, $2, $3, $4)",
        )
        .bind(document)
        .bind(seq)
        .bind(author)
        .bind(&outcome.update)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(Some(seq))
}

/// Takes stored updates with which the document cannot be loaded out of it. Pages that have the document open
/// send what is missing then. Returns whether there were any.
///
/// [`add`] stores none, but earlier versions did, and another version of the library may crash where this one
/// does not.
async fn repair(db: &AnyPool, document: i64, stored: &Stored) -> ApiResult<bool> {
    let is_fatal = async |updates: &[String]| {
        let outcome = sandbox::run(&Task { stored: updates.to_vec(), work: Work::Load }).await;
        match outcome {
            Ok(_) => Ok(false),
            Err(Failure::Crashed | Failure::Rejected(_)) => Ok(true),
            Err(failure) => Err(ApiError::from(failure)),
        }
    };
    if !is_fatal(&stored.updates).await? {
        return Ok(false);
    }
    let mut kept = Vec::new();
    for (seq, data) in stored.seqs.iter().zip(&stored.updates) {
        kept.push(data.clone());
        if is_fatal(&kept).await? {
            kept.pop();
            reject(db, document, *seq, data).await?;
            tracing::error!(
                document,
                seq,
                "stored update moved to rejected_updates: the document cannot be loaded with it"
            );
        }
    }
    Ok(true)
}

async fn reject(db: &AnyPool, document: i64, seq: i64, data: &str) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    sqlx::query(
        "INSERT INTO rejected_updates (document_id, seq, data, rejected_at)
         VALUES ($1, $2, $3, $4) ON CONFLICT (document_id, seq) DO NOTHING",
    )
    .bind(document)
    .bind(seq)
    .bind(data)
    .bind(now())
    .execute(&mut *tx)
    .await?;
    sqlx::query("DELETE FROM document_updates WHERE document_id = $1 AND seq = $2")
        .bind(document)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE documents SET snapshot = NULL WHERE id = $1 AND snapshot_seq = $2")
        .bind(document)
        .bind(seq)
        .execute(&mut *tx)
        .await?;
    tx.commit().await
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::Invalid("update", problem.code())
    }
}
