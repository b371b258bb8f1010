//! Notifications in a database.

use chrono::Utc;
use clarim_queue::BoxFuture;
use sqlx::SqlSafeStr;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::types::Json;
use uuid::Uuid;

#[cfg(feature = "postgres")]
use super::postgres;
use super::row::{Page, StoredNotification};
#[cfg(feature = "sqlite")]
use super::sqlite;
use crate::error::Error;
use crate::notices::channel::NotificationChannel;
use crate::notices::notifiable::{Notifiable, Recipient};
use crate::publisher::publication::Notice;

/// Notifications in a table of SQLite or PostgreSQL. Clones are cheap and share the pool.
///
/// Every method is for one user and does not find the notifications of others.
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

/// Runs the same code for either database, with `$dialect` as its module and `$pool` as its connections.
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
                use postgres as $dialect;
                $run
            }
            #[cfg(feature = "sqlite")]
            Database::Sqlite($pool) => {
                use sqlite as $dialect;
                $run
            }
        }
    };
}

/// A query for notifications of one user.
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
    /// Uses the database of this pool, an `sqlx::SqlitePool` or an `sqlx::PgPool`.
    pub fn new(pool: impl Into<Self>) -> Self {
        pool.into()
    }

    /// Connects to the database of a URL like `sqlite:app.sqlite`, whose file is created if it is missing, or
    /// `postgres://user:password@host/database`.
    ///
    /// # Errors
    /// Returns an error if the URL is invalid or the database can't be reached.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let connected = match url.split_once(':').map(|(scheme, _)| scheme) {
            #[cfg(feature = "sqlite")]
            Some("sqlite") => sqlite::connect(url).await.map(Self::new),
            #[cfg(feature = "postgres")]
            Some("postgres" | "postgresql") => postgres::connect(url).await.map(Self::new),
            // The URL may contain a password and must not be shown.
            _ => {
                let problem =
                    "is unknown; expected sqlite:… or postgres://…, with the feature of that name";
                return Err(Error::setting("DATABASE_URL", problem));
            }
        };
        connected.map_err(database_error)
    }

    /// Connects to the database in the variable `DATABASE_URL`.
    ///
    /// # Errors
    /// Returns an error if the variable is missing, or [`connect`](Self::connect) does.
    pub async fn from_env() -> Result<Self, Error> {
        match std::env::var("DATABASE_URL") {
            Ok(url) => Self::connect(url.trim()).await,
            Err(_) => Err(Error::setting(
                "DATABASE_URL",
                "is missing; expected sqlite:app.sqlite or postgres://user:password@host/database",
            )),
        }
    }

    /// Creates or updates the table `notifications`. Its migrations are recorded separately from those of the
    /// application.
    ///
    /// # Errors
    /// Returns an error if the database can't be reached or has another table of that name.
    pub async fn migrate(&self) -> Result<(), Error> {
        let done = on!(self, |dialect, pool| migrations(dialect::MIGRATIONS).run(pool).await);
        done.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => {
                database_error(error)
            }
            other => Error::Database { source: Box::new(other), hint: "", temporary: false },
        })
    }

    /// Lists a user's notifications, newest first.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn all(
        &self,
        of: &(impl Notifiable + ?Sized),
        page: Page,
    ) -> Result<Vec<StoredNotification>, Error> {
        self.list(ALL, Recipient::of(of), page).await
    }

    /// Lists a user's unread notifications, newest first.
    ///
    /// # Errors
    /// Returns an error if the database fails.
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
            let rows = query.fetch_all(pool).await.map_err(database_error)?;
            let rows: sqlx::Result<_> = rows.iter().map(dialect::stored).collect();
            rows.map_err(database_error)
        })
    }

    /// Finds a user's notification by id.
    ///
    /// # Errors
    /// Returns an error if the database fails.
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
            let row = query.fetch_optional(pool).await.map_err(database_error)?;
            row.as_ref().map(dialect::stored).transpose().map_err(database_error)
        })
    }

    /// Counts a user's unread notifications.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn count_unread(&self, of: &(impl Notifiable + ?Sized)) -> Result<u64, Error> {
        const STATEMENT: &str = "SELECT COUNT(*) FROM notifications
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND read_at IS NULL";
        let of = Recipient::of(of);
        let count: sqlx::Result<i64> = on!(self, |pool| {
            let query = sqlx::query_scalar(STATEMENT);
            query.bind(of.notifiable_type).bind(of.notifiable_id).fetch_one(pool).await
        });
        count.map(i64::unsigned_abs).map_err(database_error)
    }

    /// Marks a notification as read, unless it already is. Returns `false` if the user has none with this id.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn mark_as_read(
        &self,
        of: &(impl Notifiable + ?Sized),
        id: Uuid,
    ) -> Result<bool, Error> {
        // Keeps an earlier time, and still counts the row as affected.
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
            let done = query.execute(pool).await.map_err(database_error)?;
            Ok(done.rows_affected() > 0)
        })
    }

    /// Marks several notifications as read. Returns the number of those that the user has.
    ///
    /// # Errors
    /// Returns an error if the database fails. Some may be marked then.
    pub async fn mark_several_as_read(
        &self,
        of: &(impl Notifiable + ?Sized),
        ids: &[Uuid],
    ) -> Result<u64, Error> {
        let mut found = 0;
        for id in ids {
            found += u64::from(self.mark_as_read(of, *id).await?);
        }
        Ok(found)
    }

    /// Marks all of a user's notifications as read and returns the number of those that were not.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn mark_all_as_read(&self, of: &(impl Notifiable + ?Sized)) -> Result<u64, Error> {
        const STATEMENT: &str = "UPDATE notifications SET updated_at = $3, read_at = $3
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND read_at IS NULL";
        let of = Recipient::of(of);
        on!(self, |dialect, pool| {
            let query = sqlx::query(STATEMENT)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::time(Utc::now()));
            let done = query.execute(pool).await.map_err(database_error)?;
            Ok(done.rows_affected())
        })
    }

    /// Deletes a notification. Returns `false` if the user has none with this id.
    ///
    /// # Errors
    /// Returns an error if the database fails.
    pub async fn delete(&self, of: &(impl Notifiable + ?Sized), id: Uuid) -> Result<bool, Error> {
        const STATEMENT: &str = "DELETE FROM notifications
            WHERE notifiable_type = $1 AND notifiable_id = $2 AND id = $3";
        let of = Recipient::of(of);
        on!(self, |dialect, pool| {
            let query = sqlx::query(STATEMENT)
                .bind(of.notifiable_type)
                .bind(of.notifiable_id)
                .bind(dialect::id(id));
            let done = query.execute(pool).await.map_err(database_error)?;
            Ok(done.rows_affected() > 0)
        })
    }

    /// Writes a row, unless it exists: a job may run twice.
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
            query.execute(pool).await.map(drop).map_err(database_error)
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

/// Converts the driver's error, without the statement.
fn database_error(error: sqlx::Error) -> Error {
    let code = match &error {
        sqlx::Error::Database(error) => error.code().unwrap_or_default().into_owned(),
        _ => String::new(),
    };
    let missing_in_sqlite = code == "1" && error.to_string().contains("no such table");
    let is_missing = missing_in_sqlite || code == "42P01";
    let hint = if is_missing { "; create the table with Notifications::migrate" } else { "" };
    let unreachable = matches!(
        error,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed
    );
    let temporary = unreachable || is_temporary(&code);
    Error::Database { source: Box::new(error), hint, temporary }
}

/// Whether a database's code is for a temporary error. PostgreSQL's codes have five characters, and these
/// classes are connections, conflicts, lack of resources, and a server that starts or stops. SQLite's codes
/// are numbers whose lowest byte is 5 or 6 if the database is busy or locked.
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
    fn temporary_errors_are_recognized_by_code() {
        for code in ["08006", "40001", "53300", "55P03", "57P03", "5", "517", "6"] {
            assert!(is_temporary(code), "{code}");
        }
        for code in ["42P01", "23505", "1", "13", ""] {
            assert!(!is_temporary(code), "{code}");
        }
    }
}
