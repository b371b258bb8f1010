//! The application's handle on broadcasting.

use std::fmt;
use std::sync::Arc;

use clarim_protocol::auth::AppKey;
use serde_json::Value;

use crate::pending::{Anonymous, PendingBroadcast};
use crate::publisher::{Fake, HttpPublisher, LogPublisher, NullPublisher, Publisher};
use crate::queue::{MemoryQueue, Queue};
use crate::settings::Connection;
use crate::{Broadcast, Channel, Error, MasterKey, Settings};

/// Broadcasts events. One per application; cloning is cheap.
///
/// ```
/// use clarim::{Broadcast, Clarim, Settings};
/// use serde::Serialize;
///
/// #[derive(Serialize, Broadcast)]
/// #[broadcast(channel = "news")]
/// struct Published {
///     title: String,
/// }
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// // Clarim::from_env() in an application
/// let clarim = Clarim::new(Settings::default())?;
/// clarim.broadcast(Published { title: "Olá".to_owned() }).await?;
/// # Ok::<(), clarim::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Clarim {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) publisher: Arc<dyn Publisher>,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) fake: Option<Fake>,
    /// What stands before the publisher.
    #[cfg(feature = "notifications")]
    pub(crate) outlet: Arc<crate::notification::Outlet>,
    #[cfg(feature = "embedded")]
    server: Option<clarim_server::Server>,
}

impl Clarim {
    /// As the variables of the process say; see [`Settings::from_env`]. With
    /// `BROADCAST_CONNECTION=embedded` a server is started in this process, with the settings that the
    /// command `clarim start` would find.
    ///
    /// # Errors
    /// With the name of the variable, and what would be right.
    pub fn from_env() -> Result<Self, Error> {
        let settings = Settings::from_env()?;
        match settings.connection {
            Connection::Embedded => Self::embedded_from_env(settings),
            _ => Self::new(settings),
        }
    }

    /// As the settings say.
    ///
    /// # Errors
    /// With the setting that is wrong.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Self::builder(settings).build()
    }

    /// With a publisher or a queue of one's own.
    #[must_use]
    pub fn builder(settings: Settings) -> Builder {
        Builder {
            settings,
            publisher: None,
            queue: None,
            fake: None,
            #[cfg(feature = "embedded")]
            server: None,
        }
    }

    /// For tests: nothing is sent, everything is remembered by the [`Fake`]. Authorization works, with
    /// the key `key` and the secret `secret`.
    #[must_use]
    pub fn fake() -> (Self, Fake) {
        let fake = Fake::default();
        let settings = Settings {
            app_key: Some(AppKey::new("key", "secret")),
            master_key: Some(MasterKey::new(*b"the master key of a fake; 32 by.")),
            ..Settings::default()
        };
        let publisher: Arc<dyn Publisher> = Arc::new(fake.clone());
        let builder = Self::builder(settings);
        (Builder { fake: Some(fake.clone()), ..builder }.with(publisher), fake)
    }

    /// Starts a server in this process, on threads and a port of its own, and publishes into it without
    /// HTTP, as the first of `apps`.
    ///
    /// ```no_run
    /// use clarim::Clarim;
    /// use clarim::embedded::{App, ServerSettings};
    ///
    /// let app = App::new("100001", "key", "secret");
    /// let clarim = Clarim::embedded(ServerSettings::default(), vec![app])?;
    /// # Ok::<(), clarim::Error>(())
    /// ```
    ///
    /// # Errors
    /// Without an app, or when the port is taken.
    #[cfg(feature = "embedded")]
    pub fn embedded(
        server: clarim_server::settings::ServerSettings,
        apps: Vec<clarim_server::App>,
    ) -> Result<Self, Error> {
        Self::embedded_with(Settings::default(), server, apps)
    }

    /// The same with settings of this side: namespace, master key, limits.
    ///
    /// # Errors
    /// Without an app, or when the port is taken.
    #[cfg(feature = "embedded")]
    pub fn embedded_with(
        settings: Settings,
        server: clarim_server::settings::ServerSettings,
        apps: Vec<clarim_server::App>,
    ) -> Result<Self, Error> {
        let broken = |cause: String| Error::Embedded { cause, temporary: false };
        let app = apps.first().ok_or_else(|| broken("it has no app".to_owned()))?;
        let settings = Settings {
            connection: Connection::Embedded,
            app_id: app.id.clone(),
            app_key: Some(app.key.clone()),
            max_data_bytes: app.limits.event_data_bytes,
            ..settings
        };
        let server = clarim_server::Server::start(server, apps, false)
            .map_err(|error| broken(error.to_string()))?;
        let publisher =
            crate::publisher::EmbeddedPublisher::new(server.publisher(), settings.app_id.clone());
        let builder = Self::builder(settings);
        Ok(Builder { server: Some(server), ..builder }.with(Arc::new(publisher)))
    }

    #[cfg(feature = "embedded")]
    fn embedded_from_env(settings: Settings) -> Result<Self, Error> {
        use clarim_server::settings::{Flags, Settings as Server, Surroundings};
        let found = Server::load(&Flags::default(), &Surroundings::current())
            .map_err(|error| Error::Embedded { cause: error.to_string(), temporary: false })?;
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        Self::embedded_with(settings, found.server, found.apps)
    }

    #[cfg(not(feature = "embedded"))]
    fn embedded_from_env(_: Settings) -> Result<Self, Error> {
        Err(needs_feature())
    }

    /// The server in this process.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn server(&self) -> Option<&clarim_server::Server> {
        self.inner.server.as_ref()
    }

    /// Broadcasts an event when the result is awaited.
    pub fn broadcast<E: Broadcast + Send + 'static>(&self, event: E) -> PendingBroadcast<E> {
        PendingBroadcast::new(self.clone(), event)
    }

    /// Begins an event without a type.
    ///
    /// ```
    /// use clarim::{Channel, Clarim};
    /// use serde_json::json;
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let (clarim, fake) = Clarim::fake();
    /// clarim.on(Channel::private("orders.7")).name("order.shipped").with(json!({ "order": 7 })).send().await?;
    /// # fake.assert_broadcast_as("order.shipped", |sent| sent.data["order"] == 7);
    /// # Ok::<(), clarim::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on(&self, channel: impl Into<Channel>) -> Anonymous {
        Anonymous::new(self.clone(), channel.into())
    }

    /// Returns when no queued broadcast waits that would be lost with this process. To be awaited before
    /// the process ends.
    pub async fn idle(&self) {
        self.inner.queue.idle().await;
    }

    /// What publishes: for the worker of a queue.
    #[must_use]
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        self.inner.publisher.clone()
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
}

impl fmt::Debug for Clarim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clarim")
            .field("settings", &self.inner.settings)
            .field("publisher", &self.inner.publisher)
            .field("queue", &self.inner.queue)
            .finish_non_exhaustive()
    }
}

/// Makes a [`Clarim`] with parts of one's own.
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
    publisher: Option<Arc<dyn Publisher>>,
    queue: Option<Arc<dyn Queue>>,
    fake: Option<Fake>,
    #[cfg(feature = "embedded")]
    server: Option<clarim_server::Server>,
}

impl Builder {
    /// Publishes through this, whatever the settings say.
    #[must_use]
    pub fn publisher(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher: Some(publisher), ..self }
    }

    /// Queued broadcasts go through this instead of a [`MemoryQueue`].
    #[must_use]
    pub fn queue(self, queue: Arc<dyn Queue>) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Makes it.
    ///
    /// # Errors
    /// With the setting that is wrong.
    pub fn build(mut self) -> Result<Clarim, Error> {
        let publisher: Arc<dyn Publisher> = match (self.publisher.take(), self.settings.connection)
        {
            (Some(publisher), _) => publisher,
            (None, Connection::Http) => Arc::new(HttpPublisher::new(&self.settings)?),
            (None, Connection::Log) => Arc::new(LogPublisher),
            (None, Connection::Null) => Arc::new(NullPublisher),
            (None, Connection::Embedded) => return Err(needs_feature()),
        };
        Ok(self.with(publisher))
    }

    fn with(self, publisher: Arc<dyn Publisher>) -> Clarim {
        #[cfg(feature = "notifications")]
        let outlet = Arc::new(crate::notification::Outlet::new(publisher));
        #[cfg(feature = "notifications")]
        let publisher: Arc<dyn Publisher> = outlet.clone();
        let queue = self.queue.unwrap_or_else(|| Arc::new(MemoryQueue::new(publisher.clone())));
        let inner = Inner {
            settings: self.settings,
            publisher,
            queue,
            fake: self.fake,
            #[cfg(feature = "notifications")]
            outlet,
            #[cfg(feature = "embedded")]
            server: self.server,
        };
        Clarim { inner: Arc::new(inner) }
    }
}

fn needs_feature() -> Error {
    Error::Setting {
        name: "BROADCAST_CONNECTION".to_owned(),
        what: "embedded needs the feature `embedded` of the crate clarim, and Clarim::embedded or Clarim::from_env"
            .to_owned(),
    }
}

/// A payload that is `null` until one is given.
pub(crate) type Payload = serde_json::Result<Value>;
