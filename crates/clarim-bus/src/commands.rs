//! The commands of a connection's owner to its session.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::event::{BusEvent, EventSender, MESSAGE_OVERHEAD, PublishId};

/// Maximum number of commands that are returned together.
const BATCH: usize = 256;

/// A request of the connection's owner.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// Subscribe to a subject, and report it with [`EventSender::subscribed`] when the server has confirmed
    /// it.
    Subscribe(Arc<str>),
    /// Cancel a subscription.
    Unsubscribe(Arc<str>),
    /// Send a message, and report it with [`OutgoingMessage::published`].
    Publish(OutgoingMessage),
}

/// A message to be published. Dropping it unconfirmed reports it as [`BusEvent::Lost`].
#[derive(Debug)]
pub struct OutgoingMessage {
    subject: Box<str>,
    payload: Bytes,
    id: PublishId,
    events: EventSender,
    /// Bytes of all messages of this connection that are not confirmed.
    unconfirmed: Arc<AtomicUsize>,
    /// The event to report when it is dropped.
    outcome: BusEvent,
}

impl OutgoingMessage {
    /// A message that counts against `unconfirmed` until it is confirmed or lost.
    pub(crate) fn new(
        subject: &str,
        payload: Bytes,
        id: PublishId,
        events: EventSender,
        unconfirmed: Arc<AtomicUsize>,
    ) -> Self {
        unconfirmed.fetch_add(weight(subject, &payload), Ordering::Relaxed);
        let outcome = BusEvent::Lost { id };
        Self { subject: subject.into(), payload, id, events, unconfirmed, outcome }
    }

    /// The subject to publish on.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The message itself.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Reports that the server has accepted the message, and how many connections received it if the server
    /// counts them.
    pub fn published(mut self, receivers: Option<u32>) {
        self.outcome = BusEvent::Published { id: self.id, receivers };
    }
}

impl Drop for OutgoingMessage {
    fn drop(&mut self) {
        // Before the report, so that its receiver sees the room.
        self.unconfirmed.fetch_sub(weight(&self.subject, &self.payload), Ordering::Relaxed);
        let lost = BusEvent::Lost { id: self.id };
        self.events.send(std::mem::replace(&mut self.outcome, lost));
    }
}

fn weight(subject: &str, payload: &Bytes) -> usize {
    payload.len() + subject.len() + MESSAGE_OVERHEAD
}

/// The commands of a connection's owner, in the order they were given.
#[derive(Debug)]
pub struct Commands {
    receiver: UnboundedReceiver<Command>,
    subscriptions: HashSet<Arc<str>>,
}

impl Commands {
    pub(crate) fn new(receiver: UnboundedReceiver<Command>) -> Self {
        Self { receiver, subscriptions: HashSet::new() }
    }

    /// The next commands, as many as are waiting, but at most 256. Cancel safe.
    pub async fn next_batch(&mut self) -> Vec<Command> {
        let mut batch = Vec::new();
        if self.receiver.recv_many(&mut batch, BATCH).await == 0 {
            // The owner is gone, and its drop aborts this task.
            std::future::pending().await
        }
        for command in &batch {
            record(&mut self.subscriptions, command);
        }
        batch
    }

    /// Whether the owner wants messages of this subject.
    #[must_use]
    pub fn is_subscribed(&self, subject: &str) -> bool {
        self.subscriptions.contains(subject)
    }

    /// Every subject that the owner wants messages of.
    pub(crate) fn subscriptions(&self) -> &HashSet<Arc<str>> {
        &self.subscriptions
    }

    /// Waits for `operation` while there is no connection. Messages that are published until then are lost.
    pub(crate) async fn disconnected_until<T>(&mut self, operation: impl Future<Output = T>) -> T {
        tokio::pin!(operation);
        loop {
            tokio::select! {
                // An operation that is ready at once, as in memory, must lose nothing.
                biased;
                output = &mut operation => return output,
                Some(command) = self.receiver.recv() => record(&mut self.subscriptions, &command),
            }
        }
    }
}

fn record(subscriptions: &mut HashSet<Arc<str>>, command: &Command) {
    match command {
        Command::Subscribe(subject) => {
            subscriptions.insert(subject.clone());
        }
        Command::Unsubscribe(subject) => {
            subscriptions.remove(subject);
        }
        Command::Publish(_) => {}
    }
}
