//! Connections on which the statements of the queue run: those of its own pool, and those of applications.

use sqlx::{AssertSqlSafe, Row};

use crate::future::BoxFuture;

/// A parameter of a statement.
pub(super) enum Value {
    Text(Option<String>),
    Number(i64),
}

/// A connection of any driver. The statements consist of constants and of texts of the program, so no value
/// can be injected.
pub(super) trait Connection: Send {
    /// Runs a statement.
    fn execute(&mut self, statement: String) -> BoxFuture<'_, sqlx::Result<()>>;

    /// Runs a statement, and returns the number in the first column of its first row, if there is one.
    fn fetch(
        &mut self,
        statement: String,
        values: Vec<Value>,
    ) -> BoxFuture<'_, sqlx::Result<Option<i64>>>;
}

macro_rules! connection {
    ($connection:ty) => {
        impl Connection for $connection {
            fn execute(&mut self, statement: String) -> BoxFuture<'_, sqlx::Result<()>> {
                Box::pin(async move {
                    sqlx::query(AssertSqlSafe(statement)).execute(self).await.map(drop)
                })
            }

            fn fetch(
                &mut self,
                statement: String,
                values: Vec<Value>,
            ) -> BoxFuture<'_, sqlx::Result<Option<i64>>> {
                Box::pin(async move {
                    let mut query = sqlx::query(AssertSqlSafe(statement));
                    for value in values {
                        query = match value {
                            Value::Text(text) => query.bind(text),
                            Value::Number(number) => query.bind(number),
                        };
                    }
                    let row = query.fetch_optional(self).await?;
                    row.map_or(Ok(None), |row| row.try_get(0))
                })
            }
        }
    };
}

connection!(sqlx::AnyConnection);
#[cfg(feature = "postgres")]
connection!(sqlx::PgConnection);
#[cfg(feature = "sqlite")]
connection!(sqlx::SqliteConnection);
