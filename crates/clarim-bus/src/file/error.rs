//! Why the file of a [`FileBus`](super::FileBus) cannot be used.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;

/// Why the file of a [`FileBus`](super::FileBus) cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileBusError {
    /// Another process has the file open.
    #[error(
        "another process uses {path}; stop it, or give each server a file of its own",
        path = path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is not one of a [`FileBus`](super::FileBus), or was written by a later release.
    #[error(
        "{path} was not written by this release; use its release, or the path of a file that does not exist",
        path = path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// The content of the file is damaged.
    #[error(
        "{path} is damaged ({source}); move it and {path}-wal away and start again, which begins all logs anew",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// SQLite's error.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The disk is full.
    #[error("no space for {path}; free space on its disk", path = path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The disk does not reply.
    #[error(
        "no reply from the disk of {path} within {timeout:?}; check the disk and its load",
        path = path.display()
    )]
    Stalled {
        /// The file.
        path: PathBuf,
        /// The time that was waited.
        timeout: Duration,
    },
    /// The file cannot be opened, read or written.
    #[error(
        "cannot use {path}: {source}; check its disk, and that this user may write to its directory",
        path = path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl FileBusError {
    pub(super) fn unusable(path: &Path, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unusable { path: path.to_owned(), source: source.into() }
    }

    pub(super) fn foreign(path: &Path) -> Self {
        Self::Foreign { path: path.to_owned() }
    }

    pub(super) fn sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse { path },
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged { path, source: error.into() }
            }
            _ => Self::Unusable { path, source: error.into() },
        }
    }
}
