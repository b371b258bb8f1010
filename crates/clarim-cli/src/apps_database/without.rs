//! In place of the database where this crate is built without the feature `sql`.

use std::convert::Infallible;

use clarim_config::{AppRow, CreateIfMissing, DatabaseUrl};

/// The setting is refused: this program knows no database.
pub(crate) fn unfit(_: &str) -> Option<String> {
    Some(
        "needs the program `clarim`, or clarim-server with its feature `sql`; this one is built without it: \
         leave the setting out"
            .to_owned(),
    )
}

const NONE: &str = "this program is built without the feature `sql`";

/// No database.
pub(super) struct Database(Option<Infallible>);

impl Database {
    pub(super) fn new(_: &DatabaseUrl) -> Self {
        Self(None)
    }

    pub(super) async fn first(&mut self, _: CreateIfMissing) -> Result<Vec<AppRow>, String> {
        self.again().await
    }

    #[expect(clippy::needless_pass_by_ref_mut, reason = "as it is with the feature")]
    pub(super) async fn again(&mut self) -> Result<Vec<AppRow>, String> {
        match self.0 {
            Some(never) => match never {},
            None => Err(NONE.to_owned()),
        }
    }
}
