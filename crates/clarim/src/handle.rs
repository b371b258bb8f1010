//! The application's handle on broadcasting.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clarim_protocol::auth::AppKey;
use clarim_queue::{BoxFuture, JobReader, JobSource, Storage};

use crate::broadcasting::broadcaster::Broadcaster;
use crate::broadcasting::pending::{Anonymous, PendingBroadcast};
use crate::broadcasting::publishers;
use crate::channel::IntoChannel;
use crate::encryption::MasterKey;
use crate::error::Error;
use crate::events::event::Broadcast;
use crate::fake::Fake;
use crate::history::{self, PendingHistory, Position};
use crate::jobs::job::BroadcastReader;
use crate::jobs::queue_trait::Queue;
#[cfg(feature = "notifications")]
use crate::notices::{channel::NotificationChannel, notifiable::Notifiable};
#[cfg(feature = "notifications")]
use crate::notification::{message::Notification, send::PendingNotification};
use crate::publisher::publication::Publisher;
use crate::settings::{Connection, Settings};

/// The application's handle on broadcasting. Create one per application; clones are cheap and share
/// everything.
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
    pub(crate) broadcaster: Arc<Broadcaster>,
}

impl Clarim {
    /// Reads the environment; see [`Settings::from_env`]. `BROADCAST_CONNECTION=embedded` starts a server in
    /// this process with the configuration of the command `clarim start`, and needs the feature `config`.
    ///
    /// # Errors
    /// Returns an error with the variable's name and the expected value.
    pub fn from_env() -> Result<Self, Error> {
        let settings = Settings::from_env()?;
        match settings.connection {
            Connection::Embedded => Self::embedded_from_env(settings),
            _ => Self::new(settings),
        }
    }

    /// Uses these settings.
    ///
    /// # Errors
    /// Returns an error if a setting is missing or invalid.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Self::builder(settings).build()
    }

    /// Begins a handle with a custom publisher or queue.
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

    /// Creates a handle for tests, which sends nothing and records everything in the [`Fake`]. Authorization
    /// works, with the key `key` and the secret `secret`.
    #[must_use]
    pub fn fake() -> (Self, Fake) {
        let fake = Fake::default();
        let settings = Settings::default()
            .app_key(AppKey::new("key", "secret"))
            .master_key(MasterKey::new(*b"the master key of a fake; 32 by."));
        let publisher: Arc<dyn Publisher> = Arc::new(fake.clone());
        let builder = Self::builder(settings);
        (Builder { fake: Some(fake.clone()), ..builder }.with(publisher), fake)
    }

    /// Starts a server in this process, on its own threads, and publishes to it without HTTP, as the first of
    /// `apps`. Clients connect at the application's address once its router has [`routes`](Self::routes).
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
    /// let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
    /// clarim::embedded::serve(listener, router, clarim.drained(stop)).await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Returns an error if there is no app, or the server can't start.
    #[cfg(feature = "embedded")]
    pub fn embedded(
        server: crate::embedded::ServerConfig,
        apps: Vec<crate::embedded::App>,
    ) -> Result<Self, Error> {
        let app = crate::embedded::first_app(&apps)?;
        let server =
            clarim_server::Server::without_port(server, apps).map_err(crate::embedded::failed)?;
        Ok(Self::with_server(Settings::default(), server, &app))
    }

    /// Publishes to a server that runs in this process, as `app`, which must be one of the server's. The
    /// server replaces what the settings say about the connection and the app.
    ///
    /// ```no_run
    /// use clarim::embedded::{App, Server, ServerConfig};
    /// use clarim::{Clarim, Settings};
    ///
    /// let app = App::new("100001", "key", "secret");
    /// // With its own port
    /// let server = Server::start(ServerConfig::default(), vec![app.clone()], false)?;
    /// let clarim = Clarim::with_server(Settings::default(), server, &app);
    /// # Ok::<(), clarim::embedded::StartError>(())
    /// ```
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn with_server(
        settings: Settings,
        server: clarim_server::Server,
        app: &crate::embedded::App,
    ) -> Self {
        let settings = Settings {
            connection: Connection::Embedded,
            app_id: app.id.clone(),
            app_key: Some(app.key.clone()),
            max_data_bytes: app.limits.event_data_bytes,
            ..settings
        };
        let publisher = crate::publisher::embedded::EmbeddedPublisher::new(
            server.publisher(),
            settings.app_id.clone(),
        );
        let builder = Self::builder(settings);
        Builder { server: Some(server), ..builder }.with(Arc::new(publisher))
    }

    /// The embedded server's routes: `/app/{key}`, where clients connect (clients without WebSockets use
    /// `/pusher/app/{key}/…`), and `/apps/{id}/…`, where other backends publish. Merge them into the
    /// application's router; don't nest them, since requests are signed with their whole path. A prefix is
    /// set by [`ServerConfig::path`](crate::embedded::ServerConfig::path). Without an embedded server
    /// there are no routes.
    #[cfg(feature = "embedded")]
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        self.server().map(crate::embedded::routes).unwrap_or_default()
    }

    /// Waits for `signal`, and disconnects the embedded server's clients over its
    /// [drain time](crate::embedded::ServerConfig::drain), with a code that makes them reconnect. Pass it to
    /// axum's `with_graceful_shutdown`, which otherwise cuts all connections at once, without a close frame:
    ///
    /// ```no_run
    /// use axum::Router;
    /// use clarim::Clarim;
    /// use tokio::signal::unix::{SignalKind, signal};
    ///
    /// # use tokio::net::TcpListener;
    /// # async fn run(clarim: Clarim, listener: TcpListener, router: Router) -> std::io::Result<()> {
    /// let mut terminate = signal(SignalKind::terminate())?;
    /// let stop = async move {
    ///     terminate.recv().await;
    /// };
    /// axum::serve(listener, router).with_graceful_shutdown(clarim.drained(stop)).await
    /// # }
    /// ```
    ///
    /// Meanwhile the application still answers requests, and clients that reconnect too early are asked to
    /// wait for a second. Without an embedded server this is `signal` alone.
    #[cfg(feature = "embedded")]
    pub fn drained<S>(&self, signal: S) -> impl Future<Output = ()> + Send + 'static + use<S>
    where
        S: Future<Output = ()> + Send + 'static,
    {
        let clarim = self.clone();
        async move {
            signal.await;
            if let Some(server) = clarim.server() {
                server.stop();
                server.drained().await;
            }
        }
    }

    #[cfg(feature = "config")]
    fn embedded_from_env(settings: Settings) -> Result<Self, Error> {
        // Another process of the application has the server, on the port that this one would listen on.
        #[cfg(feature = "cli")]
        if ["queue", "schedule"].into_iter().any(crate::variables::is_command) {
            return Self::new(crate::embedded::over_http_from_env(settings)?);
        }
        let (server, app) = crate::embedded::server_from_env()?;
        Ok(Self::with_server(settings, server, &app))
    }

    #[cfg(not(feature = "config"))]
    fn embedded_from_env(_: Settings) -> Result<Self, Error> {
        Err(publishers::needs_embedded())
    }

    /// The embedded server, if there is one.
    #[cfg(feature = "embedded")]
    #[must_use]
    pub fn server(&self) -> Option<&clarim_server::Server> {
        self.broadcaster.server.as_ref()
    }

    /// Broadcasts an event. Await the result.
    pub fn broadcast<E: Broadcast + Send + 'static>(&self, event: E) -> PendingBroadcast<E> {
        PendingBroadcast::new(self.broadcaster.clone(), event)
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
    pub fn on(&self, channel: impl IntoChannel) -> Anonymous {
        Anonymous::new(self.broadcaster.clone(), channel)
    }

    /// Reads a page of the history of a channel; see [`history`](crate::history). Await the result.
    pub fn history(&self, channel: impl IntoChannel) -> PendingHistory {
        PendingHistory::new(self.publisher(), channel)
    }

    /// Returns the position behind the last event of a channel. A page that subscribes since this position
    /// gets every later event; see [`history`](crate::history).
    ///
    /// # Errors
    /// Returns an error if the channel's name is invalid, or the server can't be reached or has no history
    /// rule for it.
    pub fn position(
        &self,
        channel: impl IntoChannel,
    ) -> BoxFuture<'static, Result<Position, Error>> {
        history::position(self.publisher(), channel)
    }

    /// Notifies a user; see [`notification`](crate::notification). Await the result.
    ///
    /// ```
    /// use clarim::Clarim;
    /// use clarim::notification::{Notifiable, Notification};
    /// use serde::Serialize;
    ///
    /// struct User(u64);
    ///
    /// impl Notifiable for User {
    ///     fn notifiable_id(&self) -> String {
    ///         self.0.to_string()
    ///     }
    /// }
    ///
    /// #[derive(Serialize)]
    /// struct Welcome {
    ///     name: String,
    /// }
    ///
    /// impl Notification<User> for Welcome {}
    ///
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// let (clarim, fake) = Clarim::fake();
    /// clarim.notify(&User(7), Welcome { name: "Ana".to_owned() }).await?;
    /// fake.assert_notified::<Welcome>(&User(7), |sent| sent.name == "Ana");
    /// # Ok::<(), clarim::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Returns [`Error::Notification`] with the deliveries that failed. All others succeeded.
    #[cfg(feature = "notifications")]
    pub fn notify<N, T>(&self, to: &N, notification: T) -> PendingNotification
    where
        N: Notifiable + ?Sized,
        T: Notification<N>,
    {
        self.notify_all([to], notification)
    }

    /// Notifies several users. Each gets a notification with its own id. Await the result.
    ///
    /// # Errors
    /// Returns [`Error::Notification`] with the deliveries that failed. All others succeeded.
    #[cfg(feature = "notifications")]
    pub fn notify_all<'a, N, T>(
        &self,
        to: impl IntoIterator<Item = &'a N>,
        notification: T,
    ) -> PendingNotification
    where
        N: Notifiable + ?Sized + 'a,
        T: Notification<N>,
    {
        PendingNotification::new(self.broadcaster.clone(), to, notification)
    }

    /// Adds a notification channel under this name, for [`Via::channel`](crate::notification::Via::channel).
    /// Call it at start; all clones of this handle get the channel.
    #[cfg(feature = "notifications")]
    #[must_use]
    pub fn with_notification_channel(
        self,
        name: impl Into<String>,
        channel: impl NotificationChannel,
    ) -> Self {
        self.broadcaster.notifications.add(name.into(), Arc::new(channel));
        self
    }

    /// Adds the table for [`Via::Database`](crate::notification::Via::Database). Call it at start; all clones
    /// of this handle get the table.
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
    #[cfg(all(feature = "notifications", any(feature = "postgres", feature = "sqlite")))]
    #[must_use]
    pub fn with_notifications(
        self,
        table: crate::notification::store::table::Notifications,
    ) -> Self {
        self.with_notification_channel(crate::notices::channel::Via::Database.name(), table)
    }

    /// Waits until no queued broadcast is left that would be lost with this process. While the server is
    /// unreachable, this takes as long as the broadcasts are retried; before the process ends, use
    /// [`idle_within`](Self::idle_within).
    pub async fn idle(&self) {
        self.broadcaster.queue.idle().await;
    }

    /// Waits like [`idle`](Self::idle), at most for this time. Await it before the process ends, with less
    /// time than the supervisor allows for a shutdown.
    ///
    /// # Errors
    /// Returns [`Error::NotIdle`] with the number of broadcasts that are lost with this process.
    pub async fn idle_within(&self, limit: Duration) -> Result<(), Error> {
        let queue = &self.broadcaster.queue;
        let idle = tokio::time::timeout(limit, queue.idle()).await;
        idle.map_err(|_| Error::NotIdle { jobs: queue.waiting(), limit })
    }

    /// The queue. Its locks are shared by all processes that have the same queue.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        self.broadcaster.queue.clone()
    }

    /// The queue's storage.
    ///
    /// # Errors
    /// Returns an error if the queue is in memory.
    pub fn storage(&self) -> Result<Arc<dyn Storage>, Error> {
        self.broadcaster.queue.storage().ok_or_else(|| {
            Error::setting(
                "QUEUE_CONNECTION",
                "the queue is in the application's memory and needs no worker; a worker needs sqlite, postgres or redis",
            )
        })
    }

    /// The publisher, with the application's notification channels.
    #[must_use]
    pub fn publisher(&self) -> Arc<dyn Publisher> {
        self.broadcaster.publisher.clone()
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.broadcaster.settings
    }
}

/// The settings, for [`Channels::routes`](crate::authorization::Channels::routes).
impl AsRef<Settings> for Clarim {
    fn as_ref(&self) -> &Settings {
        self.settings()
    }
}

impl JobSource for Clarim {
    type Error = Error;

    fn job_storage(&self) -> Result<Arc<dyn Storage>, Error> {
        self.storage()
    }

    fn job_reader(&self) -> Arc<dyn JobReader> {
        Arc::new(BroadcastReader::new(self.publisher()))
    }
}

impl fmt::Debug for Clarim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clarim")
            .field("settings", &self.broadcaster.settings)
            .field("publisher", &self.broadcaster.publisher)
            .field("queue", &self.broadcaster.queue)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Clarim`] with a custom publisher or queue.
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
    /// Sets the publisher, whatever the settings say.
    #[must_use]
    pub fn publisher(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher: Some(publisher), ..self }
    }

    /// Sets the queue, whatever the settings say.
    #[must_use]
    pub fn queue(self, queue: Arc<dyn Queue>) -> Self {
        Self { queue: Some(queue), ..self }
    }

    /// Builds the handle.
    ///
    /// # Errors
    /// Returns an error if a setting is missing or invalid.
    pub fn build(mut self) -> Result<Clarim, Error> {
        let publisher = match self.publisher.take() {
            Some(publisher) => publisher,
            None => publishers::of_settings(&self.settings)?,
        };
        Ok(self.with(publisher))
    }

    fn with(self, publisher: Arc<dyn Publisher>) -> Clarim {
        let queue = self.queue;
        let broadcaster = Broadcaster::new(self.settings, publisher, queue, self.fake);
        #[cfg(feature = "embedded")]
        let broadcaster = Broadcaster { server: self.server, ..broadcaster };
        Clarim { broadcaster: Arc::new(broadcaster) }
    }
}
