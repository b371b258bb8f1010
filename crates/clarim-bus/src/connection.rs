//! A node's end of a connection to a bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use crate::commands::{Command, Commands, OutgoingMessage};
use crate::event::{BusEvent, EventSender, MESSAGE_OVERHEAD, PublishId};

/// Bytes of messages that wait to be sent or confirmed, above which the owner should wait.
const MAX_UNCONFIRMED: usize = 16 << 20;

/// A node's connection to a bus, kept up by a task of its own. Dropping it disconnects.
///
/// No method waits or fails except [`next`](Self::next), which returns what happens.
#[derive(Debug)]
pub struct Connection {
    commands: UnboundedSender<Command>,
    received: UnboundedReceiver<BusEvent>,
    events: EventSender,
    unread: Arc<AtomicUsize>,
    unconfirmed: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Connection {
    /// Spawns the task that `run` returns.
    pub(crate) fn spawn<F>(run: impl FnOnce(Commands, EventSender) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (commands, requested) = unbounded_channel();
        let (sender, received) = unbounded_channel();
        let unread = Arc::default();
        let events = EventSender::new(sender, Arc::clone(&unread));
        let task = tokio::spawn(run(Commands::new(requested), events.clone())).abort_handle();
        Self { commands, received, events, unread, unconfirmed: Arc::default(), task }
    }

    /// Subscribes to `subject`. [`BusEvent::Subscribed`] follows when the server has confirmed it: messages
    /// published from then on are received. The subscription outlives a loss of the connection.
    pub fn subscribe(&mut self, subject: &str) {
        self.send(Command::Subscribe(subject.into()));
    }

    /// Cancels a subscription. Messages already on their way may still be received.
    pub fn unsubscribe(&mut self, subject: &str) {
        self.send(Command::Unsubscribe(subject.into()));
    }

    /// Publishes `payload` to all subscribers of `subject`, including this connection. Messages of one
    /// connection on one subject keep their order, and each is sent at most once. [`BusEvent::Published`] or
    /// [`BusEvent::Lost`] follows with the same `id`. Never waits, see [`has_room`](Self::has_room).
    pub fn publish(&mut self, subject: &str, payload: Bytes, id: PublishId) {
        let events = self.events.clone();
        let unconfirmed = Arc::clone(&self.unconfirmed);
        let message = OutgoingMessage::new(subject, payload, id, events, unconfirmed);
        self.send(Command::Publish(message));
    }

    /// Whether less than 16 MiB of messages wait to be sent or confirmed. To bound memory, publish no more
    /// while it is `false`. It is `true` again after a [`BusEvent::Published`] or [`BusEvent::Lost`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unconfirmed.load(Ordering::Relaxed) < MAX_UNCONFIRMED
    }

    /// Waits for the next event. Cancel safe.
    pub async fn next(&mut self) -> BusEvent {
        let Some(event) = self.received.recv().await else {
            // `events` keeps the channel open.
            return std::future::pending().await;
        };
        if let BusEvent::Message { payload, .. } = &event {
            self.unread.fetch_sub(payload.len() + MESSAGE_OVERHEAD, Ordering::Relaxed);
        }
        event
    }

    fn send(&self, command: Command) {
        // The task lives as long as this end.
        let _ = self.commands.send(command);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}
