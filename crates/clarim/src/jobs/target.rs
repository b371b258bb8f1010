//! The place where queued jobs are put.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use std::sync::Arc;

#[cfg(any(feature = "sqlite", feature = "postgres"))]
use clarim_queue::{SqlTransaction, Storage};

use super::job::Job;
use super::queue_trait::Queue;
use crate::error::Error;

/// The place where queued jobs are put.
pub(crate) enum Target<'t> {
    /// The application's queue.
    Queue(&'t dyn Queue),
    /// A transaction of the application, in the database of the queue's storage.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    Transaction { storage: Arc<dyn Storage>, transaction: SqlTransaction<'t> },
}

impl Target<'_> {
    pub(crate) async fn push(&mut self, job: Job) -> Result<(), Error> {
        match self {
            Self::Queue(queue) => queue.push(job).await,
            #[cfg(any(feature = "sqlite", feature = "postgres"))]
            Self::Transaction { storage, transaction } => {
                if !storage.push_in(&job.to_stored()?, transaction.reborrow()).await? {
                    tracing::debug!(
                        event = job.event,
                        "event dropped: an identical event is waiting"
                    );
                }
                Ok(())
            }
        }
    }
}
