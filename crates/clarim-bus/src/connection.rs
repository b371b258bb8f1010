//! A node's end of a connection to a bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::AbortHandle;

use crate::commands::{Command, Commands, LogRead, OutgoingEntry, OutgoingMessage, Pending};
use crate::event::{BusEvent, EventSender, PublishId};
use crate::log::{IdempotencyKey, Log, PageLimit};

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
        let pending = self.pending(id, payload.len() + subject.len());
        self.send(Command::Publish(OutgoingMessage::new(subject, payload, pending)));
    }

    /// Follows the log with this name. [`BusEvent::Following`] comes when the server has confirmed it, then a
    /// [`BusEvent::Entry`] for each entry that is appended. It outlives a loss of the connection. Entries
    /// that were appended while it was lost are found with [`read`](Self::read).
    pub fn follow(&mut self, log: &str) {
        self.send(Command::Follow(log.into()));
    }

    /// Stops following a log. Entries already on their way may still be received.
    pub fn unfollow(&mut self, log: &str) {
        self.send(Command::Unfollow(log.into()));
    }

    /// Appends `payload` to `log`, and delivers it to all connections that follow the log, including this
    /// one, unless the log has accepted the same `key` within
    /// [`IDEMPOTENCY_WINDOW`](crate::IDEMPOTENCY_WINDOW).
    /// [`BusEvent::Appended`], [`BusEvent::Refused`] or [`BusEvent::Lost`] follows with the same `id`.
    /// Entries of one connection keep their order. Never waits, see [`has_room`](Self::has_room).
    pub fn append(
        &mut self,
        log: &Log,
        payload: Bytes,
        key: Option<IdempotencyKey>,
        id: PublishId,
    ) {
        let pending = self.pending(id, payload.len() + log.name().len());
        self.send(Command::Append(OutgoingEntry::new(log, payload, key, pending)));
    }

    /// Reads the entries of `log` after an offset. [`BusEvent::Page`], [`BusEvent::Refused`] or
    /// [`BusEvent::Lost`] follows with the same `id`. The page has every entry that was
    /// reported before, with [`BusEvent::Appended`] or [`BusEvent::Entry`].
    pub fn read(&mut self, log: &Log, after: u64, limit: PageLimit, id: PublishId) {
        let pending = self.pending(id, log.name().len());
        self.send(Command::Read(LogRead::new(log, after, limit, pending)));
    }

    /// Whether less than 16 MiB of messages and entries wait to be sent or confirmed. To bound memory,
    /// publish no more while it is `false`. It is `true` again after an outcome such as
    /// [`BusEvent::Published`].
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
        self.unread.fetch_sub(event.weight(), Ordering::Relaxed);
        event
    }

    fn pending(&self, id: PublishId, bytes: usize) -> Pending {
        Pending::new(id, bytes, self.events.clone(), Arc::clone(&self.unconfirmed))
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
