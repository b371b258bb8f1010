//! The commands of a connection's owner to its session.

mod log;
mod message;
mod pending;

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

pub use log::{LogRead, OutgoingEntry};
pub use message::OutgoingMessage;
pub(crate) use pending::Pending;

/// Maximum number of commands that are returned together.
const BATCH: usize = 256;

/// A request of the connection's owner.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Subscribe to a subject, and report it with [`EventSender::subscribed`](crate::EventSender::subscribed)
    /// when the server has confirmed it.
    Subscribe(Arc<str>),
    /// Cancel a subscription.
    Unsubscribe(Arc<str>),
    /// Send a message, and report it with [`OutgoingMessage::published`].
    Publish(OutgoingMessage),
    /// Report the entries of a log from now on with [`EventSender::entry`](crate::EventSender::entry), after
    /// [`EventSender::following`](crate::EventSender::following).
    Follow(Arc<str>),
    /// Report the entries of a log no longer.
    Unfollow(Arc<str>),
    /// Append an entry to a log, and report it with [`OutgoingEntry::appended`].
    Append(OutgoingEntry),
    /// Read entries of a log, and report them with [`LogRead::page`].
    Read(LogRead),
}

/// The commands of a connection's owner, in the order they were given.
#[derive(Debug)]
pub struct Commands {
    receiver: UnboundedReceiver<Command>,
    wanted: Wanted,
}

/// The subjects and logs that the owner wants to receive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) subjects: HashSet<Arc<str>>,
    pub(crate) logs: HashSet<Arc<str>>,
}

impl Commands {
    pub(crate) fn new(receiver: UnboundedReceiver<Command>) -> Self {
        Self { receiver, wanted: Wanted::default() }
    }

    /// The next commands, as many as are waiting, but at most 256. Cancel safe.
    pub async fn next_batch(&mut self) -> Vec<Command> {
        let mut batch = Vec::new();
        if self.receiver.recv_many(&mut batch, BATCH).await == 0 {
            // The owner is gone, and its drop aborts this task.
            std::future::pending().await
        }
        for command in &batch {
            self.wanted.record(command);
        }
        batch
    }

    /// Whether the owner wants messages of this subject.
    #[must_use]
    pub fn is_subscribed(&self, subject: &str) -> bool {
        self.wanted.subjects.contains(subject)
    }

    /// Whether the owner wants entries of this log.
    #[must_use]
    pub fn is_following(&self, log: &str) -> bool {
        self.wanted.logs.contains(log)
    }

    /// Everything that the owner wants to receive.
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Waits for `operation` while there is no connection. Messages that are published until then are lost.
    pub(crate) async fn disconnected_until<T>(&mut self, operation: impl Future<Output = T>) -> T {
        tokio::pin!(operation);
        loop {
            tokio::select! {
                // An operation that is ready at once, as in memory, must lose nothing.
                biased;
                output = &mut operation => return output,
                Some(command) = self.receiver.recv() => self.wanted.record(&command),
            }
        }
    }
}

impl Wanted {
    fn record(&mut self, command: &Command) {
        match command {
            Command::Subscribe(subject) => drop(self.subjects.insert(subject.clone())),
            Command::Unsubscribe(subject) => drop(self.subjects.remove(subject)),
            Command::Follow(log) => drop(self.logs.insert(log.clone())),
            Command::Unfollow(log) => drop(self.logs.remove(log)),
            Command::Publish(_) | Command::Append(_) | Command::Read(_) => {}
        }
    }

    /// The subjects and logs that `other` does not have.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self {
            subjects: self.subjects.difference(&other.subjects).cloned().collect(),
            logs: self.logs.difference(&other.logs).cloned().collect(),
        }
    }
}
