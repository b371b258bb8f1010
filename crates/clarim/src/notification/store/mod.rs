//! The table of notifications.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod routes;
pub(crate) mod row;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;
pub(crate) mod table;
