//! What operators see and do: sizes of queues, clearing, restarts of workers.

use std::time::Duration;

use sqlx::Row;

use super::{AnyQuery, SqlStorage, query, unlock_query};
use crate::storage::QueueSize;

/// The name of the counter of restarts.
const RESTARTS: &str = "restarts";

pub(super) async fn count(storage: &SqlStorage) -> sqlx::Result<Vec<QueueSize>> {
    let now = storage.dialect.now;
    let due = format!("available_at <= {now}");
    let rows = query(format!(
        "SELECT queue, COUNT(CASE WHEN {due} THEN 1 END),
         COUNT(CASE WHEN NOT ({due}) AND reserved = 0 THEN 1 END),
         COUNT(CASE WHEN NOT ({due}) AND reserved = 1 THEN 1 END),
         {now} - MIN(CASE WHEN {due} THEN created_at END)
         FROM clarim_jobs GROUP BY queue ORDER BY queue"
    ))
    .fetch_all(storage.pool().await?)
    .await?;
    rows.iter()
        .map(|row| {
            let number = |place: usize| row.try_get::<i64, _>(place).map(i64::unsigned_abs);
            let oldest: Option<i64> = row.try_get(4)?;
            Ok(QueueSize {
                oldest: oldest.map(|age| Duration::from_millis(age.max(0).unsigned_abs())),
                ..QueueSize::new(row.try_get(0)?, number(1)?, number(2)?, number(3)?)
            })
        })
        .collect()
}

/// Deletes the waiting jobs of a queue. A job that a transaction of a worker has locked is left out at
/// first, since the two would wait for each other, and then looked at again.
pub(super) async fn delete_waiting(storage: &SqlStorage, queue: &str) -> sqlx::Result<u64> {
    /// More rounds than a queue needs whose workers are slow to commit.
    const ROUNDS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);

    let mut deleted = 0;
    for _ in 0..ROUNDS {
        deleted += delete_unlocked(storage, queue).await?;
        let count = format!("SELECT COUNT(*) FROM clarim_jobs WHERE {}", waiting(storage));
        let left = query(count).bind(queue).fetch_one(storage.pool().await?).await?;
        if left.try_get::<i64, _>(0)? == 0 {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(deleted)
}

async fn delete_unlocked(storage: &SqlStorage, queue: &str) -> sqlx::Result<u64> {
    let waiting = waiting(storage);
    let skip_referred = storage.dialect.skip_referred;
    let mut transaction = storage.begin().await?;
    let jobs = query(format!(
        "DELETE FROM clarim_jobs WHERE id IN (
             SELECT id FROM clarim_jobs WHERE {waiting} {skip_referred})
         RETURNING id, unique_key"
    ));
    let jobs = jobs.bind(queue).fetch_all(&mut *transaction).await?;
    for job in &jobs {
        if let Some(name) = job.try_get::<Option<&str>, _>(1)? {
            let owner = job.try_get::<i64, _>(0)?.to_string();
            unlock_query(name, &owner).execute(&mut *transaction).await?;
        }
    }
    transaction.commit().await?;
    Ok(jobs.len() as u64)
}

/// Condition for the jobs of the queue in the first parameter that no worker is running.
fn waiting(storage: &SqlStorage) -> String {
    let now = storage.dialect.now;
    format!("queue = $1 AND (reserved = 0 OR available_at <= {now})")
}

pub(super) async fn count_restarts(storage: &SqlStorage) -> sqlx::Result<u64> {
    let count = "SELECT value FROM clarim_counters WHERE name = $1";
    let row = sqlx::query(count).bind(RESTARTS).fetch_optional(storage.pool().await?).await?;
    row.map_or(Ok(0), |row| row.try_get::<i64, _>(0).map(i64::unsigned_abs))
}

pub(super) fn count_restart<'q>() -> AnyQuery<'q> {
    let count = "INSERT INTO clarim_counters (name, value) VALUES ($1, 1)
                 ON CONFLICT (name) DO UPDATE SET value = clarim_counters.value + 1";
    sqlx::query(count).bind(RESTARTS)
}
