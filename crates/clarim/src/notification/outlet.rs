//! Everything through which something leaves the application.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Notice, NotificationChannel};
use crate::publisher::{BoxFuture, Publication, Publisher};
use crate::{Clarim, Error};

/// A publisher that knows the channels of notifications too.
#[derive(Debug)]
pub(crate) struct Outlet {
    publisher: Arc<dyn Publisher>,
    /// By name. Written when the application starts; the lock is held for a look-up.
    channels: RwLock<HashMap<String, Arc<dyn NotificationChannel>>>,
}

impl Outlet {
    pub(crate) fn new(publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher, channels: RwLock::default() }
    }

    fn channel(&self, name: &str) -> Option<Arc<dyn NotificationChannel>> {
        self.channels.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

impl Publisher for Outlet {
    fn publish<'a>(&'a self, batch: &'a [Publication]) -> BoxFuture<'a, Result<(), Error>> {
        self.publisher.publish(batch)
    }

    fn notify<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), Error>> {
        match self.channel(&notice.via) {
            Some(channel) => Box::pin(async move { channel.send(notice).await }),
            None => self.publisher.notify(notice),
        }
    }
}

impl Clarim {
    /// Notifications may go through this, under this name: [`Via::channel`](super::Via::channel). For when
    /// the application starts; all clones of this handle know it.
    #[must_use]
    pub fn with_notification_channel(
        self,
        name: impl Into<String>,
        channel: impl NotificationChannel,
    ) -> Self {
        let mut channels =
            self.inner.outlet.channels.write().unwrap_or_else(PoisonError::into_inner);
        channels.insert(name.into(), Arc::new(channel));
        drop(channels);
        self
    }

    /// [`Via::Database`](super::Via::Database) is this table. For when the application starts; all clones
    /// of this handle know it.
    ///
    /// ```no_run
    /// use clarim::Clarim;
    /// use clarim::notification::Notifications;
    ///
    /// # async fn run() -> Result<(), clarim::Error> {
    /// let table = Notifications::from_env().await?;
    /// table.migrate().await?;
    /// let clarim = Clarim::from_env()?.with_notifications(table);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    #[must_use]
    pub fn with_notifications(self, table: super::Notifications) -> Self {
        self.with_notification_channel(super::Via::Database.name(), table)
    }
}
