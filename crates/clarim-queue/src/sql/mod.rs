//! Jobs in tables of SQLite or PostgreSQL.
//!
//! A job is one row. `available_at` is the time at which it is due, or, while a worker has reserved it, the
//! end of the lease. So one condition finds jobs that are due, jobs to be retried, and jobs of a dead worker.
//! The number of attempts grows with each reservation and so identifies the owner.

use std::fmt;
#[cfg(feature = "postgres")]
use std::sync::OnceLock;
use std::time::Duration;

use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyPool, AssertSqlSafe, Connection, Row, Transaction};
use tokio::sync::OnceCell;

use crate::error::Error;
use crate::future::BoxFuture;
use crate::storage::{FailedJob, NewJob, QueueSize, ReservedJob, Storage, millis};
use crate::transaction::{Opened, SqlTransaction};
use crate::wakeups::Wakeups;

mod connection;
mod insert;
mod operations;
mod same_database;
mod schema;
mod wakeups;

use insert::{acquire_lock, insert};
#[cfg(feature = "postgres")]
use schema::POSTGRES;
#[cfg(feature = "sqlite")]
use schema::SQLITE;
use schema::{Addition, Dialect, Schema};

/// A queue in tables whose names begin with `clarim_`. It connects on first use, and creates missing tables.
pub struct SqlStorage {
    dialect: Dialect,
    url: String,
    additions: Vec<Addition>,
    pool: OnceCell<AnyPool>,
    /// Identifies the table of jobs, set with the pool.
    #[cfg(feature = "postgres")]
    identity: OnceLock<i64>,
}

/// The last earlier job that shares an order key with `job`. The subquery for each key looks at one row of an
/// index, however many jobs share the key.
const PREDECESSOR: &str = "(
    SELECT MAX((
        SELECT earlier.job FROM clarim_job_channels AS earlier
        WHERE earlier.queue = mine.queue AND earlier.channel = mine.channel
        AND earlier.job < mine.job ORDER BY earlier.job DESC LIMIT 1))
    FROM clarim_job_channels AS mine WHERE mine.job = job.id)";

/// Condition for a job that is reserved by the owner of this attempt.
const OWNED: &str = "id = $1 AND attempts = $2 AND reserved = 1";

impl SqlStorage {
    /// A queue in the SQLite file of a URL like `sqlite:queue.sqlite`. The file is created if it is missing.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn sqlite(url: impl Into<String>) -> Self {
        let mut url = url.into();
        if !url.contains("mode=") && !url.contains(":memory:") {
            url.push_str(if url.contains('?') { "&mode=rwc" } else { "?mode=rwc" });
        }
        Self::new(SQLITE, url)
    }

    /// A queue in the PostgreSQL database of a URL like `postgres://user:password@host/database`.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn postgres(url: impl Into<String>) -> Self {
        Self::new(POSTGRES, url.into())
    }

    fn new(dialect: Dialect, url: String) -> Self {
        Self {
            dialect,
            url,
            additions: Vec::new(),
            pool: OnceCell::new(),
            #[cfg(feature = "postgres")]
            identity: OnceLock::new(),
        }
    }

    /// Adds statements that run after the tables are created, such as those that create functions. They run
    /// when the database has an older version of this name, or none, and must not fail for an older one.
    #[must_use]
    pub fn with_objects(
        mut self,
        name: &'static str,
        version: u32,
        statements: impl IntoIterator<Item = String>,
    ) -> Self {
        let statements = statements.into_iter().collect();
        self.additions.push(Addition { name, version: version.into(), statements });
        self
    }

    fn schema(&self) -> Schema<'_> {
        Schema { dialect: &self.dialect, additions: &self.additions }
    }

    async fn pool(&self) -> sqlx::Result<&AnyPool> {
        self.pool.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> sqlx::Result<AnyPool> {
        // If the application has installed other drivers already, connecting reports a missing one.
        let _ = sqlx::any::install_drivers(&[
            #[cfg(feature = "sqlite")]
            sqlx::sqlite::any::DRIVER,
            #[cfg(feature = "postgres")]
            sqlx::postgres::any::DRIVER,
        ]);
        let options = AnyPoolOptions::new()
            .max_connections(self.dialect.connections)
            .acquire_timeout(Duration::from_secs(5));
        let pool = options.connect(&self.url).await?;
        #[cfg(feature = "sqlite")]
        if self.dialect.name == SQLITE.name {
            // With WAL, readers and the writer don't block each other. The mode is stored in the file.
            sqlx::query("PRAGMA journal_mode = WAL").execute(&pool).await?;
        }
        let mut connection = pool.acquire().await?;
        if !self.schema().is_current(&mut *connection).await? {
            let mut transaction = connection.begin_with(self.dialect.begin).await?;
            self.schema().create(&mut *transaction).await?;
            transaction.commit().await?;
        }
        #[cfg(feature = "postgres")]
        if self.dialect.name == POSTGRES.name
            // A database that tells nobody its identifier is not checked.
            && let Ok(Some(identity)) = same_database::identity(&mut *connection).await
        {
            let _ = self.identity.set(identity);
        }
        drop(connection);
        Ok(pool)
    }

    async fn begin(&self) -> sqlx::Result<Transaction<'static, Any>> {
        self.pool().await?.begin_with(self.dialect.begin).await
    }

    async fn insert(&self, job: &NewJob) -> sqlx::Result<bool> {
        let mut transaction = self.begin().await?;
        let inserted = insert(&self.dialect, &mut *transaction, job).await?;
        transaction.commit().await?;
        Ok(inserted)
    }

    /// Inserts a job into a transaction of the application.
    async fn insert_in(
        &self,
        job: &NewJob,
        transaction: SqlTransaction<'_>,
    ) -> Result<bool, Error> {
        let Dialect { name, .. } = self.dialect;
        let database = transaction.database();
        if database != name {
            let problem = format!("the queue is in {name}, the transaction in {database}");
            return Err(same_database::other(&problem));
        }
        let failed = |error| Error::storage_at(name, &self.url, error);
        match transaction.0 {
            #[cfg(feature = "sqlite")]
            Opened::Sqlite(connection) => {
                same_database::check_file(connection, &self.url).await?;
                match insert(&self.dialect, connection, job).await {
                    Err(error) if same_database::is_missing_table(&error) => {}
                    inserted => return inserted.map_err(failed),
                }
                // The queue's own connection would wait for the application's transaction.
                self.schema().create(connection).await.map_err(failed)?;
                insert(&self.dialect, connection, job).await.map_err(failed)
            }
            #[cfg(feature = "postgres")]
            Opened::Postgres(connection) => {
                self.pool().await.map_err(failed)?;
                if let Some(own) = self.identity.get()
                    && same_database::identity(connection).await.map_err(failed)? != Some(*own)
                {
                    let problem = "the transaction's database has another queue, or none";
                    return Err(same_database::other(problem));
                }
                insert(&self.dialect, connection, job).await.map_err(failed)
            }
        }
    }

    async fn take(&self, queue: &str, lease: Duration) -> sqlx::Result<Option<ReservedJob>> {
        loop {
            let first = self.take_first(queue, lease).await?;
            if first.is_some() || !self.set_aside(queue).await? {
                return Ok(first);
            }
        }
    }

    /// Reserves the first of the jobs that have been due longest.
    async fn take_first(&self, queue: &str, lease: Duration) -> sqlx::Result<Option<ReservedJob>> {
        let Dialect { now, skip_taken, .. } = self.dialect;
        let due = self.longest_due(100);
        let row = query(format!(
            "UPDATE clarim_jobs SET attempts = attempts + 1, reserved = 1, available_at = {now} + $2
             WHERE id = (
                 SELECT id FROM clarim_jobs AS job WHERE id IN ({due}) AND {PREDECESSOR} IS NULL
                 ORDER BY available_at, id LIMIT 1 {skip_taken})
             RETURNING id, payload, attempts, unique_key"
        ))
        .bind(queue)
        .bind(millis(lease))
        .fetch_optional(self.pool().await?)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let id = row.try_get::<i64, _>(0)?.unsigned_abs();
        let attempt = u32::try_from(row.try_get::<i64, _>(2)?).unwrap_or(u32::MAX);
        let unique_key = row.try_get(3)?;
        Ok(Some(ReservedJob {
            unique_key,
            ..ReservedJob::new(id, queue, row.try_get(1)?, attempt)
        }))
    }

    /// Sets jobs aside that are due, but not first in the order of a key: they are not looked at again before
    /// their predecessor has ended. Returns whether there may be such jobs.
    async fn set_aside(&self, queue: &str) -> sqlx::Result<bool> {
        let skip_taken = self.dialect.skip_taken;
        let due = self.longest_due(1000);
        let set = query(format!(
            "UPDATE clarim_jobs AS job SET waits_for = {PREDECESSOR}
             WHERE id IN ({due} {skip_taken})"
        ));
        let set = set.bind(queue).execute(self.pool().await?).await;
        match set {
            Ok(set) => Ok(set.rows_affected() > 0),
            // A predecessor has just ended.
            Err(sqlx::Error::Database(error)) if error.is_foreign_key_violation() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Selects the jobs of the queue in the first parameter that have been due longest. With the limit, a
    /// reservation does not take longer the more jobs wait.
    fn longest_due(&self, limit: u32) -> String {
        let now = self.dialect.now;
        format!(
            "SELECT id FROM clarim_jobs WHERE queue = $1 AND waits_for IS NULL
             AND available_at <= {now} ORDER BY available_at, id LIMIT {limit}"
        )
    }

    /// Deletes a job that succeeded or failed, and releases its unique key.
    async fn end(&self, job: &ReservedJob, failed: Option<(&str, &str)>) -> sqlx::Result<bool> {
        let mut transaction = self.begin().await?;
        let deleted = owned(format!("DELETE FROM clarim_jobs WHERE {OWNED}"), job)
            .execute(&mut *transaction)
            .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        if let Some(name) = &job.unique_key {
            unlock_query(name, &job.id.to_string()).execute(&mut *transaction).await?;
        }
        if let Some((payload, error)) = failed {
            let now = self.dialect.now;
            query(format!(
                "INSERT INTO clarim_failed_jobs (id, queue, payload, error, failed_at)
                 VALUES ($1, $2, $3, $4, {now})"
            ))
            .bind(job.id.cast_signed())
            .bind(&job.queue)
            .bind(payload)
            .bind(error)
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        Ok(true)
    }

    /// Boxes the future and converts its error.
    fn boxed<'a, T>(
        &'a self,
        query: impl Future<Output = sqlx::Result<T>> + Send + 'a,
    ) -> BoxFuture<'a, Result<T, Error>> {
        Box::pin(async move {
            query.await.map_err(|error| Error::storage_at(self.dialect.name, &self.url, error))
        })
    }

    /// Runs a statement and returns the number of rows that it changed.
    fn change<'a>(&'a self, query: AnyQuery<'a>) -> BoxFuture<'a, Result<u64, Error>> {
        self.boxed(async move { Ok(query.execute(self.pool().await?).await?.rows_affected()) })
    }

    /// Runs a statement and returns whether it changed a row.
    fn change_one<'a>(&'a self, query: AnyQuery<'a>) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move { Ok(self.change(query).await? > 0) })
    }
}

impl Storage for SqlStorage {
    fn push<'a>(&'a self, job: &'a NewJob) -> BoxFuture<'a, Result<bool, Error>> {
        self.boxed(self.insert(job))
    }

    fn push_in<'a>(
        &'a self,
        job: &'a NewJob,
        transaction: SqlTransaction<'a>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(self.insert_in(job, transaction))
    }

    fn wakeups(&self) -> Wakeups {
        let (sender, wakeups) = Wakeups::channel();
        match self.dialect.name {
            #[cfg(feature = "postgres")]
            name if name == POSTGRES.name => {
                tokio::spawn(wakeups::listen(self.url.clone(), sender));
            }
            // The databases of other connections are others.
            _ if self.url.contains(":memory:") || self.url.contains("mode=memory") => {}
            #[cfg(feature = "sqlite")]
            _ => {
                tokio::spawn(wakeups::watch(self.url.clone(), sender));
            }
            #[cfg(not(feature = "sqlite"))]
            _ => {}
        }
        wakeups
    }

    fn reserve<'a>(
        &'a self,
        queue: &'a str,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Option<ReservedJob>, Error>> {
        self.boxed(self.take(queue, lease))
    }

    fn extend<'a>(
        &'a self,
        job: &'a ReservedJob,
        lease: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let now = self.dialect.now;
        let text = format!("UPDATE clarim_jobs SET available_at = {now} + $3 WHERE {OWNED}");
        self.change_one(owned(text, job).bind(millis(lease)))
    }

    fn complete<'a>(&'a self, job: &'a ReservedJob) -> BoxFuture<'a, Result<bool, Error>> {
        if job.unique_key.is_some() {
            return self.boxed(self.end(job, None));
        }
        self.change_one(owned(format!("DELETE FROM clarim_jobs WHERE {OWNED}"), job))
    }

    fn release<'a>(
        &'a self,
        job: &'a ReservedJob,
        payload: &'a str,
        after: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let now = self.dialect.now;
        let text = format!(
            "UPDATE clarim_jobs SET payload = $3, available_at = {now} + $4, reserved = 0 WHERE {OWNED}"
        );
        self.change_one(owned(text, job).bind(payload).bind(millis(after)))
    }

    fn fail<'a>(
        &'a self,
        job: &'a ReservedJob,
        payload: &'a str,
        error: &'a str,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.boxed(self.end(job, Some((payload, error))))
    }

    fn failed(&self) -> BoxFuture<'_, Result<Vec<FailedJob>, Error>> {
        self.boxed(async {
            let all =
                "SELECT id, queue, payload, error, failed_at FROM clarim_failed_jobs ORDER BY id";
            let rows = sqlx::query(all).fetch_all(self.pool().await?).await?;
            rows.iter().map(failed_job).collect()
        })
    }

    fn forget(&self, id: u64) -> BoxFuture<'_, Result<bool, Error>> {
        let text = "DELETE FROM clarim_failed_jobs WHERE id = $1";
        self.change_one(sqlx::query(text).bind(id.cast_signed()))
    }

    fn flush(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.change(sqlx::query("DELETE FROM clarim_failed_jobs"))
    }

    fn sizes(&self) -> BoxFuture<'_, Result<Vec<QueueSize>, Error>> {
        self.boxed(operations::count(self))
    }

    fn clear<'a>(&'a self, queue: &'a str) -> BoxFuture<'a, Result<u64, Error>> {
        self.boxed(operations::delete_waiting(self, queue))
    }

    fn request_restart(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.change(operations::count_restart()).await.map(drop) })
    }

    fn restarts(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.boxed(operations::count_restarts(self))
    }

    fn lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let acquire = query(acquire_lock(&self.dialect));
        self.change_one(acquire.bind(name).bind(owner).bind(millis(time)))
    }

    fn extend_lock<'a>(
        &'a self,
        name: &'a str,
        owner: &'a str,
        time: Duration,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        let now = self.dialect.now;
        let text = format!(
            "UPDATE clarim_locks SET until = {now} + $3
             WHERE name = $1 AND owner = $2 AND until > {now}"
        );
        self.change_one(query(text).bind(name).bind(owner).bind(millis(time)))
    }

    fn unlock<'a>(&'a self, name: &'a str, owner: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.change(unlock_query(name, owner)).await.map(drop) })
    }
}

/// Leaves out the URL, which may contain a password.
impl fmt::Debug for SqlStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStorage").field("dialect", &self.dialect.name).finish_non_exhaustive()
    }
}

type AnyQuery<'q> = Query<'q, Any, AnyArguments>;

/// The statement consists of constants of this file only, so no value can be injected.
fn query<'q>(text: String) -> AnyQuery<'q> {
    sqlx::query(AssertSqlSafe(text))
}

/// A statement with the parameters of [`OWNED`].
fn owned<'q>(text: String, job: &ReservedJob) -> AnyQuery<'q> {
    query(text).bind(job.id.cast_signed()).bind(i64::from(job.attempt))
}

fn unlock_query<'q>(name: &str, owner: &str) -> AnyQuery<'q> {
    let text = "DELETE FROM clarim_locks WHERE name = $1 AND owner = $2";
    sqlx::query(text).bind(name.to_owned()).bind(owner.to_owned())
}

fn failed_job(row: &AnyRow) -> sqlx::Result<FailedJob> {
    let id: i64 = row.try_get(0)?;
    let failed_at: i64 = row.try_get(4)?;
    Ok(FailedJob::new(
        id.unsigned_abs(),
        row.try_get(1)?,
        row.try_get(2)?,
        row.try_get(3)?,
        failed_at.unsigned_abs(),
    ))
}
