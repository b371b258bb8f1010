//! The application's handle on broadcasting.

use std::fmt;
use std::sync::Arc;

use clarim_protocol::auth::AppKey;
use serde_json::Value;

use crate::pending::{Anonymous, PendingBroadcast};
use crate::publisher::{Fake, HttpPublisher, LogPublisher, NullPublisher, Publisher};
use crate::queue::{MemoryQueue, Queue, Storage, StoredQueue};
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

    /// Starts a server in this process, on threads of its own, and publishes into it without HTTP, as the
    /// first of `apps`. Clients reach it at the application's own address, once its router has
    /// [`routes`](Self::routes).
    ///
    /// ```no_run
    /// use axum::Router;
    /// use clarim::Clarim;
    /// use clarim::embedded::{App, ServerConfig};
    ///
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let app = App::new("100001", "key", "secret");
    /// let clarim = Clarim::embedded(ServerConfig::default(), vec![app])?;
    /// let router = Router::new().merge(clarim.routes());
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    /// axum::serve(listener, router).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Without an app.
    #[cfg(feature = "embedded")]
    pub fn embedded(
        server: clarim_server::config::ServerConfig,
        apps: Vec<clarim_server::App>,
    ) -> Result<Self, Error> {
        let app = first(&apps)?;
        let server = clarim_server::Server::without_port(server, apps).map_err(broken)?;
        Ok(Self::with_server(Settings::default(), server, &app))
    }

    /// Publishes into a server that was started in this process, as `app`, which is one of the server's.
    /// What the settings say of the server is taken from it.
    ///
    /// ```no_run
    /// use clarim::embedded::{App, Server, ServerConfig};
    /// use clarim::{Clarim, Settings};
    ///
    /// let app = App::new("100001", "key", "secret");
    /// // With a port of its own
    /// let server = Server::start(ServerConfig::default(), vec![app.clone()], false)?;
    /// let clarim = Clarim::with_server(Settings::default(), server, &app);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn with_server(
        settings: Settings,
        server: clarim_server::Server,
        app: &clarim_server::App,
    ) -> Self {
        let settings = Settings {
            connection: Connection::Embedded,
            app_id: app.id.clone(),
            app_key: Some(app.key.clone()),
            max_data_bytes: app.limits.event_data_bytes,
            ..settings
        };
        let publisher =
            crate::publisher::EmbeddedPublisher::new(server.publisher(), settings.app_id.clone());
        let builder = Self::builder(settings);
        Builder { server: Some(server), ..builder }.with(Arc::new(publisher))
    }

    /// The server's routes for the application's router: `/app/{key}`, to which clients connect (those
    /// without WebSockets to `/pusher/app/{key}/…`), and `/apps/{id}/…`, where other backends publish. To be
    /// merged, not nested, for requests are signed with their whole path; a prefix is
    /// [`ServerConfig::path`](clarim_server::config::ServerConfig::path). Without a server in this
    /// process there are none.
    #[cfg(feature = "embedded")]
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let Some(server) = &self.inner.server else { return axum::Router::new() };
        let service = server.http_service();
        let path = service.path().to_owned();
        let answer = axum::routing::any(move |request: axum::extract::Request| {
            let service = service.clone();
            async move { service.call(request).await }
        });
        axum::Router::new()
            .route(&format!("{path}/app/{{key}}"), answer.clone())
            .route(&format!("{path}/pusher/app/{{*rest}}"), answer.clone())
            .route(&format!("{path}/apps/{{*rest}}"), answer)
    }

    #[cfg(feature = "config")]
    fn embedded_from_env(settings: Settings) -> Result<Self, Error> {
        use clarim_config::{Config, ConfigSources, Flags};
        let found =
            Config::load(&Flags::default(), &ConfigSources::of_process()).map_err(broken)?;
        for warning in &found.warnings {
            tracing::warn!("{warning}");
        }
        let app = first(&found.apps)?;
        let server =
            clarim_server::Server::start(found.server, found.apps, false).map_err(broken)?;
        Ok(Self::with_server(settings, server, &app))
    }

    #[cfg(not(feature = "config"))]
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

    /// What queued broadcasts go through, and whose locks are for all who have the same one.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        self.inner.queue.clone()
    }

    /// Where its queue keeps the jobs.
    ///
    /// # Errors
    /// When it keeps none.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, Error> {
        self.inner.queue.storage().ok_or_else(|| Error::Setting {
            name: "QUEUE_CONNECTION".to_owned(),
            what: "the queue is in the memory of the application, which runs its jobs itself; a worker needs sqlite, postgres or redis"
                .to_owned(),
        })
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

    /// Queued broadcasts go through this, whatever the settings say.
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
            (None, Connection::Bus) => over_the_bus(&self.settings)?,
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
        let queue = self.queue.unwrap_or_else(|| match self.settings.queue.storage() {
            Some(storage) => Arc::new(StoredQueue::new(storage)),
            None => Arc::new(MemoryQueue::new(publisher.clone())),
        });
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

/// The app of the server as which the application publishes.
#[cfg(feature = "embedded")]
fn first(apps: &[clarim_server::App]) -> Result<clarim_server::App, Error> {
    apps.first().cloned().ok_or_else(|| broken("it has no app"))
}

#[cfg(feature = "embedded")]
fn broken(cause: impl fmt::Display) -> Error {
    Error::Embedded { cause: cause.to_string(), temporary: false }
}

#[cfg(feature = "bus")]
fn over_the_bus(settings: &Settings) -> Result<Arc<dyn Publisher>, Error> {
    let bus = settings.bus.clone().ok_or_else(|| Error::Setting {
        name: "bus".to_owned(),
        what: "is missing; a connection over the bus needs its address".to_owned(),
    })?;
    let publisher =
        crate::publisher::BusPublisher::new(bus, settings.app_id.clone(), settings.timeout);
    Ok(Arc::new(publisher))
}

#[cfg(not(feature = "bus"))]
fn over_the_bus(_: &Settings) -> Result<Arc<dyn Publisher>, Error> {
    let what = "publishing over the bus needs the feature `bus` of the crate clarim".to_owned();
    Err(Error::Setting { name: "BROADCAST_CONNECTION".to_owned(), what })
}

fn needs_feature() -> Error {
    Error::Setting {
        name: "BROADCAST_CONNECTION".to_owned(),
        what: "embedded needs the feature `embedded` of the crate clarim and Clarim::embedded, or the feature `config` \
               and Clarim::from_env"
            .to_owned(),
    }
}

/// A payload that is `null` until one is given.
pub(crate) type Payload = serde_json::Result<Value>;
