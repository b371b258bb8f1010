//! The replacement of the database in a program without the feature `sql`.

use std::convert::Infallible;

use clarim_config::{AppRow, CreateIfMissing, DatabaseUrl};

use super::error::DatabaseError;

/// The setting is refused.
pub(crate) fn url_problem(_: &str) -> Option<String> {
    let what = "needs a program with the feature `sql` of clarim-cli; remove the setting, or build with the feature";
    Some(what.to_owned())
}

/// No database.
pub(super) struct Database(Option<Infallible>);

impl Database {
    pub(super) fn new(_: &DatabaseUrl) -> Self {
        Self(None)
    }

    pub(super) async fn read_first(
        &mut self,
        _: CreateIfMissing,
    ) -> Result<Vec<AppRow>, DatabaseError> {
        self.read().await
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same signature as with the feature")]
    pub(super) async fn read(&mut self) -> Result<Vec<AppRow>, DatabaseError> {
        match self.0 {
            Some(never) => match never {},
            None => Err(DatabaseError::NotBuilt),
        }
    }
}
