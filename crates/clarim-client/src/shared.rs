//! State that the client, its channels and its driver share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use crate::error::Error;
use crate::options::Options;
use crate::state::State;
use crate::topic::{Feed, Position, Topic};

/// Maximum number of messages that wait for the driver.
const MAX_UNSENT: usize = 1024;

/// Timeout for a connection and an answer of the server, beside the time for an authorization.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A command for the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Connect,
    Disconnect,
    Want(String),
    Unwant(String),
    Send(String),
    /// Subscribes again to a channel whose subscription was refused.
    Retry(String),
    SignIn,
    /// Replies when all earlier commands have been executed.
    Flush(oneshot::Sender<()>),
}

/// Sends commands to the driver, without keeping it alive.
#[derive(Debug, Clone)]
pub(crate) struct Commands(pub(crate) mpsc::WeakUnboundedSender<Command>);

impl Commands {
    pub(crate) fn send(&self, command: Command) -> Result<(), Error> {
        let sender = self.0.upgrade().ok_or(Error::Dropped)?;
        sender.send(command).map_err(|_| Error::Dropped)
    }

    /// Waits until all earlier commands have taken effect.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        let (done, is_done) = oneshot::channel();
        self.send(Command::Flush(done))?;
        is_done.await.map_err(|_| Error::Dropped)
    }
}

/// The status of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) socket_id: Option<String>,
    /// Why there is no connection.
    pub(crate) cause: Option<Error>,
    pub(crate) user: Option<Result<String, Error>>,
}

impl Status {
    /// The error for callers who need a connection.
    fn error(&self) -> Error {
        match (self.state, self.cause.clone()) {
            (State::Failed, Some(refusal)) => refusal,
            (state, cause) => Error::NotConnected { state, cause: cause.map(Box::new) },
        }
    }
}

/// Wanted channels, with the number of their handles.
type Topics = HashMap<String, (Arc<Topic>, usize)>;

/// State that the client, its channels and its driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    topics: Mutex<Topics>,
    pub(crate) namespace: String,
    buffer: usize,
    /// Timeout for a connection, an authorization and the server's answer together.
    answer_timeout: Duration,
    /// Number of messages that wait for the driver.
    unsent: AtomicUsize,
    pub(crate) status: watch::Receiver<Status>,
}

impl Shared {
    pub(crate) fn new(options: &Options, status: watch::Receiver<Status>) -> Self {
        Self {
            topics: Mutex::default(),
            namespace: options.namespace.clone(),
            buffer: options.buffer,
            answer_timeout: options.authorization_timeout + ANSWER_TIMEOUT,
            unsent: AtomicUsize::new(0),
            status,
        }
    }

    /// Adds a handle. The first one subscribes to the channel.
    pub(crate) fn want(&self, name: &str, commands: &Commands) -> Feed {
        let mut topics = self.topics();
        if let Some((topic, handles)) = topics.get_mut(name) {
            *handles += 1;
            return topic.listen();
        }
        self.subscribe(&mut topics, name, None, commands)
    }

    /// Adds the first handle of a channel, whose subscription starts at this position.
    pub(crate) fn want_since(
        &self,
        name: &str,
        position: Position,
        commands: &Commands,
    ) -> Result<Feed, Error> {
        let mut topics = self.topics();
        if topics.contains_key(name) {
            return Err(Error::AlreadySubscribed { channel: name.to_owned() });
        }
        Ok(self.subscribe(&mut topics, name, Some(position), commands))
    }

    fn subscribe(
        &self,
        topics: &mut Topics,
        name: &str,
        since: Option<Position>,
        commands: &Commands,
    ) -> Feed {
        let topic = Arc::new(Topic::new(name.to_owned(), self.buffer, since));
        topics.insert(name.to_owned(), (topic.clone(), 1));
        // Before the driver subscribes, so that the handle gets everything.
        let feed = topic.listen();
        // Sent under the lock, so that it keeps its order with `Unwant`. Without a driver there is nothing to
        // subscribe.
        let _ = commands.send(Command::Want(name.to_owned()));
        feed
    }

    /// Removes a handle. The last one unsubscribes from the channel.
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

    /// Sends a message through the driver, unless too many wait.
    pub(crate) fn send(&self, text: String, commands: &Commands) -> Result<(), Error> {
        if self.unsent.fetch_add(1, Ordering::Relaxed) >= MAX_UNSENT {
            self.sent();
            return Err(Error::Full { limit: MAX_UNSENT });
        }
        commands.send(Command::Send(text))
    }

    /// Counts a message that the driver has taken.
    pub(crate) fn sent(&self) {
        self.unsent.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> State {
        self.status.borrow().state
    }

    /// The error for callers who need a connection.
    pub(crate) fn no_connection(&self) -> Error {
        self.status.borrow().error()
    }

    /// Waits until there is no connection, and none is to be expected in a moment.
    pub(crate) async fn down(&self) -> Error {
        let mut status = self.status.clone();
        let down = status.wait_for(|status| status.state.is_down()).await;
        down.map_or(Error::Dropped, |status| status.error())
    }

    /// Waits until no answer about a channel or the user is to be expected any more: there is no connection,
    /// or the server does not answer. Some servers ignore what they do not know.
    pub(crate) async fn no_answer(&self, subject: &str) -> Error {
        let limit = self.answer_timeout;
        let no_answer = |_| Error::NoAnswer { subject: subject.to_owned(), limit };
        timeout(limit, self.down()).await.unwrap_or_else(no_answer)
    }

    /// Waits until the driver has ended.
    pub(crate) async fn gone(&self) {
        let mut status = self.status.clone();
        while status.changed().await.is_ok() {}
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        // Every step under this lock leaves the map whole, so poisoning can be ignored.
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
