//! The table of notifications.

#[cfg(feature = "postgres")]
mod postgres;
mod routes;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;
use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::types::Json;
use uuid::Uuid;

use super::notifiable::Recipient;
use super::{Notice, Notifiable, NotificationChannel};
use crate::Error;
use crate::publisher::BoxFuture;

/// How long a request waits for a connection when the database is gone, where the pool is ours.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// Notifications in a table of SQLite or PostgreSQL. Cloning is cheap.
///
/// Everything is asked for one user, and somebody else's notification is not found.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// # use clarim::notification::{Notifiable, Notifications, Page};
/// # struct User(u64);
/// # impl Notifiable for User {
/// #     fn notifiable_id(&self) -> String { self.0.to_string() }
/// # }
/// # let user = User(7);
/// let table = Notifications::connect("sqlite::memory:").await?;
/// table.migrate().await?;
///
/// let page = table.all(&user, Page::of(20)).await?;
/// if let Some(last) = page.last() {
///     let next = table.all(&user, Page::of(20).before(last)).await?;
/// }
/// assert_eq!(table.count_unread(&user).await?, 0);
/// table.mark_all_as_read(&user).await?;
/// # Ok::<(), clarim::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Notifications {
    database: Database,
}

#[derive(Debug, Clone)]
enum Database {
    #[cfg(feature = "postgres")]
    Postgres(sqlx::PgPool),
    #[cfg(feature = "sqlite")]
    Sqlite(sqlx::SqlitePool),
}

/// A notification that was kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredNotification {
    /// The same as in the broadcast.
    pub id: Uuid,
    /// Its type: `App\Notifications\InvoicePaid`. As JSON it is called `type`, as in the broadcast.
    #[serde(rename = "type")]
    pub notification_type: String,
    /// What [`to_array`](super::Notification::to_array) has said.
    pub data: Value,
    /// Since when it is read.
    pub read_at: Option<DateTime<Utc>>,
    /// Since when it is there.
    pub created_at: DateTime<Utc>,
}

/// A part of a list whose first is the newest. What comes meanwhile moves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    limit: u32,
    before: (DateTime<Utc>, Uuid),
}

/// The end of the year 9999: later times have more digits, which as text don't sort.
const FAR: DateTime<Utc> =
    DateTime::from_timestamp(253_402_300_799, 0).expect("it is a time that chrono has");

impl Page {
    /// The newest, at most so many.
    #[must_use]
    pub fn of(limit: u32) -> Self {
        Self { limit, before: (FAR, Uuid::max()) }
    }

    /// Those before this one, which was the last of another page.
    #[must_use]
    pub fn before(self, last: &StoredNotification) -> Self {
        Self { before: (last.created_at, last.id), ..self }
    }
}

/// The newest fifteen.
impl Default for Page {
    fn default() -> Self {
        Self::of(15)
    }
}

/// The same code for the database that it is: `$dialect` has its types, and its connections are `$pool`.
macro_rules! on {
    ($table:expr, |$pool:ident| $run:expr) => {
        match &$table.database {
            #[cfg(feature = "postgres")]
            Database::Postgres($pool) => $run,
            #[cfg(feature = "sqlite")]
            Database::Sqlite($pool) => $run,
        }
    };
    ($table:expr, |$dialect:ident, $pool:ident| $run:expr) => {
        match &$table.database {
            #[cfg(feature = "postgres")]
            Database::Postgres($pool) => {
                use self::postgres as $dialect;
                $run
            }
            #[cfg(feature = "sqlite")]
            Database::Sqlite($pool) => {
                use self::sqlite as $dialect;
                $run
            }
        }
    };
}

/// Part of the statements: of one user.
macro_rules! select {
    ($condition:literal) => {
        concat!(
            "SELECT id, type, data, read_at, created_at FROM notifications ",
            "WHERE notifiable_type = $1 AND notifiable_id = $2 AND ",
            $condition
        )
    };
}

const ALL: &str = select!("(created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5");
const UNREAD: &str = select!(
    "read_at IS NULL AND (created_at, id) < ($3, $4) ORDER BY created_at DESC, id DESC LIMIT $5"
);
const ONE: &str = select!("id = $3");

impl Notifications {
    /// In the database of this pool, an `sqlx::SqlitePool` or an `sqlx::PgPool`.
    pub fn new(pool: impl Into<Self>) -> Self {
        pool.into()
    }

    /// In the database of a URL like `sqlite:app.sqlite`, whose file is made when it is missing, or
    /// `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// When the URL is not one, or the database can't be reached.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let connected = match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => sqlite::connect(url).await.map(Self::new),
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => postgres::connect(url).await.map(Self::new),
            // It may have a password in it, and is not told.
            _ => {
                let what =
                    "is unknown; expected sqlite:… or postgres://…, with the feature of that name";
                return Err(Error::Setting {
                    name: "DATABASE_URL".to_owned(),
                    what: what.to_owned(),
                });
            }
        };
        connected.map_err(|error| broken(&error))
    }

    /// In the database that `DATABASE_URL` names.
    ///
    /// # Errors
    /// Without it, and as [`connect`](Self::connect).
    pub async fn from_env() -> Result<Self, Error> {
        match std::env::var("DATABASE_URL") {
            Ok(url) => Self::connect(url.trim()).await,
            Err(_) => Err(Error::Setting {
                name: "DATABASE_URL".to_owned(),
                what: "is missing; expected sqlite:app.sqlite or postgres://user:password@host/database"
                    .to_owned(),
            }),
        }
    }

    /// Makes the table `notifications`, or brings it up to date. What has been done is noted in a table
    /// apart from that of the application's own migrations.
    ///
    /// # Errors
    /// When the database can't be reached, or has another table of that name.
    pub async fn migrate(&self) -> Result<(), Error> {
        let done = on!(self, |dialect, pool| migrations(dialect::MIGRATIONS).run(pool).await);
        done.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                broken(&error)
            }
            other => Error::Database { cause: other.to_string(), temporary: false },
        })
    }

    /// All of a user, newest first.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn all(
        &self,
        of: &(impl Notifiable + ?Sized),
        page: Page,
    ) -> Result<Vec<StoredNotification>, Error> {
        self.list(ALL, Recipient::of(of), page).await
    }

    /// Those of a user that are not read yet, newest first.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn unread(
        &self,
        of: &(impl Notifiable + ?Sized),
        page: Page,
    ) -> Result<Vec<StoredNotification>, Error> {
        self.list(UNREAD, Recipient::of(of), page).await
    }

    async fn list(
        &self,
        statement: &'static str,
        of: Recipient,
        page: Page,
    ) -> Result<Vec<StoredNotification>, Error> {
        let Page { limit, before: (time, id) } = page;
        on!(self, |dialect, pool| {
            let query = sqlx::query(statement)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::time(time))
                .bind(dialect::id(id))
                .bind(i64::from(limit));
            let rows = query.fetch_all(pool).await.map_err(|error| broken(&error))?;
            let rows: sqlx::Result<_> = rows.iter().map(dialect::stored).collect();
            rows.map_err(|error| broken(&error))
        })
    }

    /// The one of this id, if it is this user's.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn find(
        &self,
        of: &(impl Notifiable + ?Sized),
        id: Uuid,
    ) -> Result<Option<StoredNotification>, Error> {
        let of = Recipient::of(of);
        on!(self, |dialect, pool| {
            let query = sqlx::query(ONE)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::id(id));
            let row = query.fetch_optional(pool).await.map_err(|error| broken(&error))?;
            row.as_ref().map(dialect::stored).transpose().map_err(|error| broken(&error))
        })
    }

    /// How many a user has not read yet.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn count_unread(&self, of: &(impl Notifiable + ?Sized)) -> Result<u64, Error> {
        const STATEMENT: &str = "SELECT COUNT(*) FROM notifications
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND read_at IS NULL";
        let of = Recipient::of(of);
        let count: sqlx::Result<i64> = on!(self, |pool| {
            let query = sqlx::query_scalar(STATEMENT);
            query.bind(of.notifiable_type).bind(of.notifiable_id).fetch_one(pool).await
        });
        count.map(i64::unsigned_abs).map_err(|error| broken(&error))
    }

    /// Notes that it has been read; that it was read before changes nothing. `false`: the user has none
    /// of this id.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn mark_as_read(
        &self,
        of: &(impl Notifiable + ?Sized),
        id: Uuid,
    ) -> Result<bool, Error> {
        // That it was read before is kept, and yet a row is counted
        const STATEMENT: &str = "UPDATE notifications SET
            updated_at = CASE WHEN read_at IS NULL THEN $4 ELSE updated_at END,
            read_at = COALESCE(read_at, $4)
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND id = $3";
        let of = Recipient::of(of);
        on!(self, |dialect, pool| {
            let query = sqlx::query(STATEMENT)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::id(id))
                .bind(dialect::time(Utc::now()));
            let done = query.execute(pool).await.map_err(|error| broken(&error))?;
            Ok(done.rows_affected() > 0)
        })
    }

    /// Notes that all have been read. How many had not been.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn mark_all_as_read(&self, of: &(impl Notifiable + ?Sized)) -> Result<u64, Error> {
        const STATEMENT: &str = "UPDATE notifications SET updated_at = $3, read_at = $3
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND read_at IS NULL";
        let of = Recipient::of(of);
        on!(self, |dialect, pool| {
            let query = sqlx::query(STATEMENT)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::time(Utc::now()));
            let done = query.execute(pool).await.map_err(|error| broken(&error))?;
            Ok(done.rows_affected())
        })
    }

    /// Deletes one. `false`: the user has none of this id.
    ///
    /// # Errors
    /// When the database can't be asked.
    pub async fn delete(&self, of: &(impl Notifiable + ?Sized), id: Uuid) -> Result<bool, Error> {
        const STATEMENT: &str = "DELETE FROM notifications
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND id = $3";
        let of = Recipient::of(of);
        on!(self, |dialect, pool| {
            let query = sqlx::query(STATEMENT)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::id(id));
            let done = query.execute(pool).await.map_err(|error| broken(&error))?;
            Ok(done.rows_affected() > 0)
        })
    }

    /// Writes a row, unless it is there already: a job may be run twice.
    async fn insert(&self, notice: &Notice) -> Result<(), Error> {
        const STATEMENT: &str = "INSERT INTO notifications
            (id, type, notifiable_type, notifiable_id, data, created_at, updated_at)
            VALUES ($1, $2, $3, $4, $5, $6, $6) ON CONFLICT (id) DO NOTHING";
        on!(self, |dialect, pool| {
            let query = sqlx::query(STATEMENT)
                .bind(dialect::id(notice.id))
                .bind(&notice.notification_type)
                .bind(&notice.notifiable_type)
                .bind(&notice.notifiable_id)
                .bind(Json(&notice.data))
                .bind(dialect::time(Utc::now()));
            query.execute(pool).await.map(drop).map_err(|error| broken(&error))
        })
    }
}

impl NotificationChannel for Notifications {
    fn send<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.insert(notice))
    }
}

#[cfg(feature = "sqlite")]
impl From<sqlx::SqlitePool> for Notifications {
    fn from(pool: sqlx::SqlitePool) -> Self {
        Self { database: Database::Sqlite(pool) }
    }
}

#[cfg(feature = "postgres")]
impl From<sqlx::PgPool> for Notifications {
    fn from(pool: sqlx::PgPool) -> Self {
        Self { database: Database::Postgres(pool) }
    }
}

fn migrations<const N: usize>(statements: [&'static str; N]) -> Migrator {
    let migration = |(version, sql): (i64, &'static str)| {
        let sql = sql.into_sql_str();
        Migration::new(version, "notifications".into(), MigrationType::Simple, sql, false)
    };
    let mut migrator = Migrator::with_migrations((1..).zip(statements).map(migration).collect());
    migrator.dangerous_set_table_name("_clarim_notifications_migrations");
    migrator
}

/// The database's error as one of ours, without what was asked.
fn broken(error: &sqlx::Error) -> Error {
    let code = match error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        _ => String::new(),
    };
    let mut cause = error.to_string();
    let missing_in_sqlite = code == "1" && cause.contains("no such table");
    if missing_in_sqlite || code == "42P01" {
        cause.push_str(" (Notifications::migrate makes it)");
    }
    let unreachable = matches!(
        error,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed
    );
    Error::Database { cause, temporary: unreachable || is_temporary(&code) }
}

/// PostgreSQL's codes have five characters: those of connections, conflicts, lack of resources, and of a
/// server that starts or stops. SQLite's are numbers, of which the lowest byte says that it is busy.
fn is_temporary(code: &str) -> bool {
    if code.len() == 5 {
        return ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class));
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_temporary() {
        for code in ["08006", "40001", "53300", "55P03", "57P03", "5", "517", "6"] {
            assert!(is_temporary(code), "{code}");
        }
        for code in ["42P01", "23505", "1", "13", ""] {
            assert!(!is_temporary(code), "{code}");
        }
    }
}
