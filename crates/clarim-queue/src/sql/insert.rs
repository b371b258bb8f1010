//! Storing of jobs, by the queue itself and in a transaction of the application.

use std::time::Duration;

use super::connection::{Connection, Value};
use super::schema::Dialect;
use crate::storage::{Keep, NewJob, Unique, millis};

/// Inserts a job in the transaction of this connection, or replaces the identical one that waits. Returns
/// `false` if the job is dropped.
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
    if let Some(Unique { key, keep: Keep::Latest }) = &job.unique
        && replace(dialect, connection, &unique_lock(key), &job.payload).await?
    {
        return Ok(true);
    }
    let unique_key = job.unique.as_ref().map(|unique| unique_lock(&unique.key));
    let values = vec![
        text(&job.queue),
        text(&job.payload),
        number(job.delay),
        Value::Text(unique_key.clone()),
    ];
    let id = connection.fetch(insert, values).await?.ok_or(sqlx::Error::RowNotFound)?;
    let lock = match (&unique_key, &job.unique) {
        (Some(name), Some(Unique { keep: Keep::First(time), .. })) => {
            let lock = format!("{} RETURNING CAST(1 AS BIGINT)", acquire_lock(dialect));
            connection.fetch(lock, vec![text(name), text(&id.to_string()), number(*time)]).await?
        }
        (Some(name), Some(Unique { keep: Keep::Latest, .. })) => {
            let own = "UPDATE clarim_locks SET owner = $2 WHERE name = $1
                       RETURNING CAST(1 AS BIGINT)";
            connection.fetch(own.to_owned(), vec![text(name), text(&id.to_string())]).await?
        }
        _ => Some(1),
    };
    if lock.is_none() {
        // The transaction may be the application's, so it can't be rolled back.
        let delete = "DELETE FROM clarim_jobs WHERE id = $1".to_owned();
        connection.fetch(delete, vec![Value::Number(id)]).await?;
        return Ok(false);
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

/// Replaces the payload of the job that has the lock, if it waits. Returns `false` if there is none. The
/// lock's row makes transactions with identical jobs wait for each other.
async fn replace(
    dialect: &Dialect,
    connection: &mut dyn Connection,
    lock: &str,
    payload: &str,
) -> sqlx::Result<bool> {
    let now = dialect.now;
    let find = format!(
        "INSERT INTO clarim_locks (name, owner, until) VALUES ($1, '0', {now} + $2)
             ON CONFLICT (name) DO UPDATE SET until = excluded.until
             RETURNING CAST(owner AS BIGINT)"
    );
    let owner = connection.fetch(find, vec![text(lock), number(Duration::MAX)]).await?;
    let update = "UPDATE clarim_jobs SET payload = $2
             WHERE id = $1 AND reserved = 0 AND unique_key = $3 RETURNING id";
    let values = vec![Value::Number(owner.unwrap_or_default()), text(payload), text(lock)];
    Ok(connection.fetch(update.to_owned(), values).await?.is_some())
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

fn text(text: &str) -> Value {
    Value::Text(Some(text.to_owned()))
}

fn number(time: Duration) -> Value {
    Value::Number(millis(time))
}
