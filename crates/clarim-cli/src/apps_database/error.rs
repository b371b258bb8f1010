//! Errors of the database.

use std::io;
use std::time::Duration;

/// Why the rows could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the file cannot be created: {0}")]
    File(#[from] io::Error),
    #[cfg(feature = "sql")]
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    #[cfg(not(feature = "sql"))]
    #[error("this program is built without the feature `sql`")]
    NotBuilt,
}
