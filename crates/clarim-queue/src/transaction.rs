//! Transactions of the application.

use std::fmt;

/// An open transaction of the application, for [`Storage::push_in`](crate::Storage::push_in): made from a
/// `&mut sqlx::Transaction` of SQLite or PostgreSQL.
///
/// A function that has a connection in a transaction, not the transaction, begins a nested one:
/// `connection.begin()` sets a savepoint.
pub struct SqlTransaction<'t>(pub(crate) Opened<'t>);

/// The connection of a transaction.
pub(crate) enum Opened<'t> {
    #[cfg(feature = "sqlite")]
    Sqlite(&'t mut sqlx::SqliteConnection),
    #[cfg(feature = "postgres")]
    Postgres(&'t mut sqlx::PgConnection),
}

#[cfg(feature = "sqlite")]
impl<'t> From<&'t mut sqlx::Transaction<'_, sqlx::Sqlite>> for SqlTransaction<'t> {
    fn from(transaction: &'t mut sqlx::Transaction<'_, sqlx::Sqlite>) -> Self {
        Self(Opened::Sqlite(transaction))
    }
}

#[cfg(feature = "postgres")]
impl<'t> From<&'t mut sqlx::Transaction<'_, sqlx::Postgres>> for SqlTransaction<'t> {
    fn from(transaction: &'t mut sqlx::Transaction<'_, sqlx::Postgres>) -> Self {
        Self(Opened::Postgres(transaction))
    }
}

impl SqlTransaction<'_> {
    /// The same transaction, for a part of its time.
    #[must_use]
    pub fn reborrow(&mut self) -> SqlTransaction<'_> {
        SqlTransaction(match &mut self.0 {
            #[cfg(feature = "sqlite")]
            Opened::Sqlite(connection) => Opened::Sqlite(connection),
            #[cfg(feature = "postgres")]
            Opened::Postgres(connection) => Opened::Postgres(connection),
        })
    }

    /// The kind of database: `sqlite` or `postgres`.
    pub(crate) fn database(&self) -> &'static str {
        match &self.0 {
            #[cfg(feature = "sqlite")]
            Opened::Sqlite(_) => "sqlite",
            #[cfg(feature = "postgres")]
            Opened::Postgres(_) => "postgres",
        }
    }
}

impl fmt::Debug for SqlTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqlTransaction").field(&self.database()).finish()
    }
}
