//! The state that all clones of a [`Clarim`](crate::Clarim) share.

use std::sync::Arc;

use crate::fake::Fake;
use crate::jobs::queue_trait::Queue;
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
