//! State that the client, its channels and its driver share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::state::State;
use crate::topic::{Feed, Position, Topic};

/// Maximum number of messages that wait for the driver.
const MAX_UNSENT: usize = 1024;

/// A command for the driver.
#[derive(Debug)]
pub(crate) enum Command {
    Connect,
    Disconnect,
    Want(String),
    Unwant(String),
    Send(String),
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
}

/// The status of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) socket_id: Option<String>,
    /// The error with which the server refused the client.
    pub(crate) refusal: Option<Error>,
    pub(crate) user: Option<Result<String, Error>>,
}

/// Wanted channels, with the number of their handles.
type Topics = HashMap<String, (Arc<Topic>, usize)>;

/// State that the client, its channels and its driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    topics: Mutex<Topics>,
    pub(crate) namespace: String,
    buffer: usize,
    /// Number of messages that wait for the driver.
    unsent: AtomicUsize,
    pub(crate) status: watch::Receiver<Status>,
}

impl Shared {
    pub(crate) fn new(namespace: String, buffer: usize, status: watch::Receiver<Status>) -> Self {
        let topics = Mutex::default();
        Self { topics, namespace, buffer, unsent: AtomicUsize::new(0), status }
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
