//! Webhooks on disk: they survive a crash, and days without their endpoint.
//!
//! The directory holds a queue of requests for each endpoint, and a journal of the occupants that backends
//! know of.

mod occupants;
mod queue;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;

use clarim_hub::{Apps, ChannelEvent};
use clarim_queue::{SqlStorage, Storage};

use crate::clock::now_ms;
use crate::config::Webhook;
use crate::sync::DropCounter;
use occupants::Occupants;
pub(super) use queue::DurableQueue;

/// The directory of a server's webhooks. One server at a time uses it.
#[derive(Debug)]
pub(super) struct WebhookDirectory {
    storage: Arc<dyn Storage>,
    /// Absent in a cluster, where other nodes report the leaves of a node that has crashed.
    occupants: Option<Occupants>,
    /// When it was opened, in milliseconds since 1970.
    opened_ms: u64,
    /// Errors of the journal.
    failures: DropCounter,
    /// Locked while the server runs.
    _lock: File,
}

impl WebhookDirectory {
    /// Opens the directory, or creates it with access for its owner only.
    pub(super) fn open(path: &Path, is_clustered: bool) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(path)?;
        let lock = File::create(path.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another server uses it"),
            TryLockError::Error(error) => error,
        })?;
        let file = path.join("queue.sqlite");
        let storage = Arc::new(SqlStorage::sqlite(format!("sqlite:{}", file.display())));
        let journal = path.join("occupants");
        let occupants = if is_clustered {
            // It would be out of date by the time this node is alone again.
            fs::remove_file(journal).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            None
        } else {
            Some(Occupants::open(journal)?)
        };
        Ok(Self {
            storage,
            occupants,
            opened_ms: now_ms(),
            failures: DropCounter::default(),
            _lock: lock,
        })
    }

    /// The queue of an endpoint. `twins` is the number of endpoints of the app before it with the same URL.
    pub(super) fn queue(&self, app: &str, webhook: &Webhook, twins: usize) -> DurableQueue {
        DurableQueue::new(self.storage.clone(), app, webhook, twins, self.opened_ms)
    }

    /// The leaves of everything that the run before had reported to be there.
    pub(super) fn leaves(&mut self, apps: &Apps) -> Vec<ChannelEvent> {
        self.occupants.as_mut().map_or_else(Vec::new, |occupants| occupants.leaves(apps))
    }

    /// Records an event that is about to be sent.
    pub(super) fn record(&mut self, apps: &Apps, event: &ChannelEvent) {
        let Some(occupants) = &mut self.occupants else { return };
        let Err(error) = occupants.record(apps, event) else { return };
        if let Some(count) = self.failures.add() {
            tracing::error!(
                %error,
                count,
                "cannot write the journal of webhooks; after a crash, some leaves will not be reported"
            );
        }
    }
}
