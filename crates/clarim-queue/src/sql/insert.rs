//! Storing of jobs, by the queue itself and in a transaction of the application.

use super::connection::{Connection, Value};
use super::schema::Dialect;
use crate::storage::{NewJob, Unique, millis};

/// Inserts a job in the transaction of this connection. Returns `false` if the job is unique and an
/// identical one is waiting.
pub(super) async fn insert(
    dialect: &Dialect,
    connection: &mut dyn Connection,
    job: &NewJob,
) -> sqlx::Result<bool> {
    let now = dialect.now;
    let insert = format!(
        "INSERT INTO clarim_jobs (queue, payload, available_at, created_at, unique_key)
             VALUES ($1, $2, {now} + $3, {now}, $4) RETURNING id"
    );
    let text = |text: &str| Value::Text(Some(text.to_owned()));
    let unique_key = job.unique.as_ref().map(|unique| unique_lock(&unique.key));
    let values = vec![
        text(&job.queue),
        text(&job.payload),
        Value::Number(millis(job.delay)),
        Value::Text(unique_key.clone()),
    ];
    let id = connection.fetch(insert, values).await?.ok_or(sqlx::Error::RowNotFound)?;
    if let (Some(name), Some(Unique { time, .. })) = (&unique_key, &job.unique) {
        let lock = format!("{} RETURNING CAST(1 AS BIGINT)", acquire_lock(dialect));
        let values = vec![text(name), text(&id.to_string()), Value::Number(millis(*time))];
        if connection.fetch(lock, values).await?.is_none() {
            // The transaction may be the application's, so it can't be rolled back.
            let delete = "DELETE FROM clarim_jobs WHERE id = $1".to_owned();
            connection.fetch(delete, vec![Value::Number(id)]).await?;
            return Ok(false);
        }
    }
    if !job.order_keys.is_empty() {
        let texts = dialect.texts;
        let keys = serde_json::Value::from(job.order_keys.as_slice()).to_string();
        let insert = format!(
            "INSERT INTO clarim_job_channels (job, queue, channel)
                 SELECT $1, $2, value FROM {texts}"
        );
        let values = vec![Value::Number(id), text(&job.queue), text(&keys)];
        connection.fetch(insert, values).await?;
    }
    Ok(true)
}

/// Acquires a lock that is free or expired.
pub(super) fn acquire_lock(dialect: &Dialect) -> String {
    let now = dialect.now;
    format!(
        "INSERT INTO clarim_locks (name, owner, until) VALUES ($1, $2, {now} + $3)
             ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
             WHERE clarim_locks.until <= {now}"
    )
}

/// The name of the lock that makes a job unique.
fn unique_lock(text: &str) -> String {
    format!("unique:{text}")
}
