//! Apps in a table of SQLite or PostgreSQL, in addition to those of the files.
//!
//! No client or backend waits for the database: the rows are in memory, and read again regularly. [`Table`]
//! decides which of them are in force.

mod error;
mod opening;
#[cfg(feature = "sql")]
mod sql;
mod table;
mod watcher;
#[cfg(not(feature = "sql"))]
mod without;

pub(crate) use opening::{HOW_TO_ADD, open, read_table};
pub(crate) use table::{Change, Table};
pub(crate) use watcher::{INTERVAL, Watcher};

#[cfg(feature = "sql")]
use sql as database;
#[cfg(not(feature = "sql"))]
use without as database;

pub(crate) use database::url_problem;
