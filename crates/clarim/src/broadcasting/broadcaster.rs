//! The state that all clones of a [`Clarim`](crate::Clarim) share.

use std::sync::Arc;

use crate::error::Error;
use crate::events::name::EventName;
use crate::fake::Fake;
use crate::jobs::memory::MemoryQueue;
use crate::jobs::queue_trait::Queue;
use crate::jobs::stored::StoredQueue;
use crate::jobs::target::Target;
use crate::publisher::publication::Publisher;
use crate::settings::Settings;

pub(crate) struct Broadcaster {
    pub(crate) settings: Settings,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) fake: Option<Fake>,
    /// The publisher with the application's notification channels; `publisher` is the same.
    #[cfg(feature = "notifications")]
    pub(crate) notifications: Arc<crate::notices::router::NotificationRouter>,
    #[cfg(feature = "embedded")]
    pub(crate) server: Option<clarim_server::Server>,
}

impl Broadcaster {
    /// The state of a handle without an embedded server. Without a `queue`, it is that of the settings.
    pub(crate) fn new(
        settings: Settings,
        publisher: Arc<dyn Publisher>,
        queue: Option<Arc<dyn Queue>>,
        fake: Option<Fake>,
    ) -> Self {
        #[cfg(feature = "notifications")]
        let notifications = Arc::new(crate::notices::router::NotificationRouter::new(publisher));
        #[cfg(feature = "notifications")]
        let publisher: Arc<dyn Publisher> = notifications.clone();
        let queue = queue.unwrap_or_else(|| match settings.queue.storage() {
            Some(storage) => Arc::new(StoredQueue::new(storage)),
            None => Arc::new(MemoryQueue::new(publisher.clone())),
        });
        Self {
            settings,
            publisher,
            queue,
            fake,
            #[cfg(feature = "notifications")]
            notifications,
            #[cfg(feature = "embedded")]
            server: None,
        }
    }

    /// Logs the error of a broadcast that must not fail.
    pub(crate) fn log_error(&self, event: &EventName, result: Result<(), Error>) {
        if let Err(error) = result {
            let event = event.full(&self.settings.namespace);
            tracing::error!(event, %error, "broadcast failed");
        }
    }

    /// The application's queue.
    pub(crate) fn queue(&self) -> Target<'_> {
        Target::Queue(&*self.queue)
    }

    /// A transaction of the application. A fake stores nothing, so it needs none.
    #[cfg(any(feature = "sqlite", feature = "postgres"))]
    pub(crate) fn transaction<'t>(
        &'t self,
        transaction: clarim_queue::SqlTransaction<'t>,
    ) -> Result<Target<'t>, Error> {
        if self.fake.is_some() {
            return Ok(self.queue());
        }
        let Some(storage) = self.queue.storage() else {
            let problem = "the queue is in memory; broadcasts in a transaction need sqlite or postgres, and the transaction's database";
            return Err(Error::setting("QUEUE_CONNECTION", problem));
        };
        Ok(Target::Transaction { storage, transaction })
    }
}
