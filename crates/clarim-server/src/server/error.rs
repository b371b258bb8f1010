//! Why a server did not start.

use std::error::Error;
use std::io;

use clarim_hub::snapshot::SnapshotError;

use crate::config::ServerConfig;

/// An error that keeps a server from starting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address can't be listened on.
    #[error("{source}")]
    Listen {
        /// The system's error, with the address and what to do.
        source: io::Error,
    },
    /// The certificate or its key can't be used.
    #[error("{source}")]
    Tls {
        /// The error, with the file.
        source: io::Error,
    },
    /// The configuration needs a feature that is not built in.
    #[error(
        "`{feature}` is configured, but clarim-server was built without the feature `{feature}`; \
         add it in Cargo.toml, or remove the setting"
    )]
    MissingFeature {
        /// The feature of `clarim-server`.
        feature: &'static str,
    },
    /// The directory of webhooks can't be used.
    #[error(
        "cannot keep webhooks in {directory}: {source}; give each server a writable directory of its own"
    )]
    WebhookDirectory {
        /// The directory.
        directory: String,
        /// The system's error.
        source: io::Error,
    },
    /// The file of the histories can't be used.
    #[error("cannot keep histories: {source}")]
    HistoryFile {
        /// Why, with the path and what to do.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bus of a cluster and a file are to keep the histories.
    #[error(
        "a cluster keeps histories on its bus, not in a file; remove the path of the histories, or the cluster"
    )]
    HistoryStores,
    /// The exporter of traces can't be used.
    #[error("cannot export traces: {source}; check the URL and the variables OTEL_*")]
    Traces {
        /// The exporter's error.
        source: io::Error,
    },
    /// What a predecessor has handed over can't be used.
    #[error("cannot go on for the previous process: {source}")]
    Handover {
        /// The error in the snapshot.
        source: SnapshotError,
    },
    /// The operating system refuses a thread, a socket or random bytes.
    #[error("cannot start the server: {source}; check the limits of threads and open files")]
    System {
        /// The system's error.
        source: io::Error,
    },
}

impl StartError {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Listen { .. } => "listen",
            Self::Tls { .. } => "tls",
            Self::MissingFeature { .. } => "missing_feature",
            Self::WebhookDirectory { .. } => "webhook_directory",
            Self::HistoryFile { .. } => "history_file",
            Self::HistoryStores => "history_stores",
            Self::Traces { .. } => "traces",
            Self::Handover { .. } => "handover",
            Self::System { .. } => "system",
        }
    }

    pub(super) fn webhook_dir(config: &ServerConfig, source: io::Error) -> Self {
        let directory = config.webhook_dir.iter().map(|path| path.display().to_string()).collect();
        Self::WebhookDirectory { directory, source }
    }

    pub(super) fn system(source: io::Error) -> Self {
        Self::System { source }
    }
}

impl From<StartError> for io::Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Listen { source } | StartError::Tls { source } => source,
            error => Self::other(error),
        }
    }
}
