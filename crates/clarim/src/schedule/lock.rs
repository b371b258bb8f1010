//! What several nodes share, so that a task runs on one.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Error;
use crate::publisher::BoxFuture;

/// Names that one can have at a time.
pub trait Lock: fmt::Debug + Send + Sync + 'static {
    /// Takes the name for this time, at the end of which it is free again. `false`: somebody has it.
    fn acquire<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>>;
}

/// A lock for schedules of one process, and for tests.
///
/// ```
/// use std::time::Duration;
/// use clarim::schedule::{Lock, MemoryLock};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let lock = MemoryLock::default();
/// let minute = Duration::from_secs(60);
/// assert!(lock.acquire("prune", minute).await?);
/// assert!(!lock.acquire("prune", minute).await?);
/// # Ok::<(), clarim::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryLock {
    /// Until when each is taken. The lock is held for a look-up.
    taken: Mutex<HashMap<String, Instant>>,
}

impl Lock for MemoryLock {
    fn acquire<'a>(&'a self, name: &'a str, time: Duration) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let now = Instant::now();
            // No step under this lock can leave a half-done one behind.
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.retain(|_, until| *until > now);
            if taken.contains_key(name) {
                return Ok(false);
            }
            taken.insert(name.to_owned(), now + time);
            Ok(true)
        })
    }
}
