//! The client in the application's hands.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clarim_protocol::ChannelKind;
use tokio::sync::{mpsc, oneshot, watch};

use crate::channel::{Channel, Topic};
use crate::driver::Driver;
use crate::{Error, Options, State};

/// Messages of the application that may wait for the driver.
const MAX_UNSENT: usize = 1024;

/// What the driver is told.
#[derive(Debug)]
pub(crate) enum Command {
    Connect,
    Disconnect,
    Want(String),
    Unwant(String),
    Send(String),
    SignIn,
    /// Everything before it has been done.
    Done(oneshot::Sender<()>),
}

/// The way to the driver, which does not keep it alive.
#[derive(Debug, Clone)]
pub(crate) struct Commands(mpsc::WeakUnboundedSender<Command>);

impl Commands {
    pub(crate) fn send(&self, command: Command) -> Result<(), Error> {
        let sender = self.0.upgrade().ok_or(Error::Dropped)?;
        sender.send(command).map_err(|_| Error::Dropped)
    }
}

/// How the connection is.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) socket_id: Option<String>,
    /// Why the server has refused.
    pub(crate) refusal: Option<Error>,
    pub(crate) user: Option<Result<String, Error>>,
}

/// What the client, its channels and its driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Channels that somebody wants, and how many do.
    topics: Mutex<HashMap<String, (Arc<Topic>, usize)>>,
    pub(crate) namespace: String,
    buffer: usize,
    /// Messages of the application that the driver has not taken yet.
    unsent: AtomicUsize,
    status: watch::Receiver<Status>,
}

impl Shared {
    /// Counts a handle; the first one has the channel subscribed.
    pub(crate) fn want(&self, name: &str, commands: &Commands) -> Arc<Topic> {
        let mut topics = self.topics();
        let (topic, handles) = topics
            .entry(name.to_owned())
            .or_insert_with(|| (Arc::new(Topic::new(name.to_owned(), self.buffer)), 0));
        *handles += 1;
        if *handles == 1 {
            // Under the lock, so that it comes in the right order with its opposite. Without a driver there
            // is nothing to be done.
            let _ = commands.send(Command::Want(name.to_owned()));
        }
        topic.clone()
    }

    pub(crate) fn unwant(&self, name: &str, commands: &Commands) {
        let mut topics = self.topics();
        let Some((_, handles)) = topics.get_mut(name) else { return };
        *handles -= 1;
        if *handles == 0 {
            topics.remove(name);
            let _ = commands.send(Command::Unwant(name.to_owned()));
        }
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics().get(name).map(|(topic, _)| topic.clone())
    }

    pub(crate) fn all_topics(&self) -> Vec<Arc<Topic>> {
        self.topics().values().map(|(topic, _)| topic.clone()).collect()
    }

    /// Hands a message to the driver, unless too many wait.
    pub(crate) fn send(&self, text: String, commands: &Commands) -> Result<(), Error> {
        if self.unsent.fetch_add(1, Ordering::Relaxed) >= MAX_UNSENT {
            self.sent();
            return Err(Error::Full(MAX_UNSENT));
        }
        commands.send(Command::Send(text))
    }

    /// The driver has taken one.
    pub(crate) fn sent(&self) {
        self.unsent.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> State {
        self.status.borrow().state
    }

    /// Returns when the driver has ended.
    pub(crate) async fn gone(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    fn topics(&self) -> MutexGuard<'_, HashMap<String, (Arc<Topic>, usize)>> {
        // No step under this lock can leave a half-done one behind.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a server, which comes back by itself, and the channels on it. Cloning is cheap; when the
/// last clone is dropped the connection is closed, and all its channels end.
///
/// ```no_run
/// use clarim_client::{Client, HttpAuthorizer, Options};
///
/// # async fn run() -> Result<(), clarim_client::Error> {
/// let options = Options::new("my-key")
///     .host("127.0.0.1", 8080)
///     .authorizer(HttpAuthorizer::new("http://127.0.0.1:8000/broadcasting/auth")?);
/// let client = Client::connect(options)?;
/// let mut room = client.join("room.1");
/// room.subscribed().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Client {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

impl Client {
    /// Begins to connect, in a task of the current runtime.
    ///
    /// # Errors
    /// When the options can't be meant so.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn connect(options: Options) -> Result<Self, Error> {
        let url = options.url()?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let status =
            Status { state: State::Initialized, socket_id: None, refusal: None, user: None };
        let (sender, status) = watch::channel(status);
        let shared = Arc::new(Shared {
            topics: Mutex::default(),
            namespace: options.namespace.clone(),
            buffer: options.buffer,
            unsent: AtomicUsize::new(0),
            status,
        });
        let driver = Driver::new(options, url, shared.clone(), sender);
        tokio::spawn(driver.run(inbox));
        let client = Self { commands, shared };
        client.reconnect();
        Ok(client)
    }

    /// Connects again after [`disconnect`](Self::disconnect), or after the server has refused.
    pub fn reconnect(&self) {
        self.tell(Command::Connect);
    }

    /// Ends the connection. Channels stay, and are subscribed again after [`reconnect`](Self::reconnect).
    pub fn disconnect(&self) {
        self.tell(Command::Disconnect);
    }

    /// A public channel.
    #[must_use]
    pub fn channel(&self, name: &str) -> Channel {
        self.open(ChannelKind::Public, name)
    }

    /// A private channel; the name is without its prefix, here and below.
    #[must_use]
    pub fn private(&self, name: &str) -> Channel {
        self.open(ChannelKind::Private, name)
    }

    /// A private channel whose events only its subscribers can read.
    #[must_use]
    pub fn encrypted_private(&self, name: &str) -> Channel {
        self.open(ChannelKind::Encrypted, name)
    }

    /// A presence channel.
    #[must_use]
    pub fn join(&self, name: &str) -> Channel {
        self.open(ChannelKind::Presence, name)
    }

    /// Signs in as the authorizer's user, now and on each connection to come. The channel is the one on which
    /// this user is told things, wherever it is connected.
    ///
    /// # Errors
    /// When the application or the server refuses, or when the client is refused as a whole.
    pub async fn sign_in(&self) -> Result<Channel, Error> {
        self.tell(Command::SignIn);
        let mut status = self.shared.status.clone();
        let decided = |status: &Status| status.user.is_some() || status.refusal.is_some();
        let decided = status.wait_for(decided).await.map_err(|_| Error::Dropped)?.clone();
        match (decided.user, decided.refusal) {
            (Some(user), _) => Ok(self.open(ChannelKind::User, &user?)),
            (None, refusal) => Err(refusal.unwrap_or(Error::Dropped)),
        }
    }

    /// Waits until there is a connection.
    ///
    /// # Errors
    /// When the server has refused for good, or the client was disconnected.
    pub async fn connected(&self) -> Result<(), Error> {
        // What was asked for just now counts.
        let (done, is_done) = oneshot::channel();
        self.tell(Command::Done(done));
        is_done.await.map_err(|_| Error::Dropped)?;
        let mut status = self.shared.status.clone();
        let decided = |status: &Status| {
            matches!(status.state, State::Connected | State::Failed | State::Disconnected)
        };
        let decided = status.wait_for(decided).await.map_err(|_| Error::Dropped)?.clone();
        match (decided.state, decided.refusal) {
            (State::Connected, _) => Ok(()),
            (_, Some(refusal)) => Err(refusal),
            (state, None) => Err(Error::NotConnected(state)),
        }
    }

    /// How the connection is.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Waits for another state than `known`.
    pub async fn state_after(&self, known: State) -> State {
        let mut status = self.shared.status.clone();
        match status.wait_for(|status| status.state != known).await {
            Ok(status) => status.state,
            // The client lives as long as this borrows it: its driver has been lost with its runtime.
            Err(_) => State::Disconnected,
        }
    }

    /// The connection's id, to be left out when this client's own backend broadcasts (`X-Socket-ID`).
    #[must_use]
    pub fn socket_id(&self) -> Option<String> {
        self.shared.status.borrow().socket_id.clone()
    }

    fn open(&self, kind: ChannelKind, name: &str) -> Channel {
        let commands = Commands(self.commands.downgrade());
        Channel::new(&format!("{}{name}", kind.prefix()), self.shared.clone(), commands)
    }

    fn tell(&self, command: Command) {
        // Without a driver, whose runtime has ended, there is nothing to be done.
        let _ = self.commands.send(command);
    }
}
