//! A bus between the nodes of one process.

mod logs;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::backend::{Backend, Session};
use crate::commands::{Command, Commands, LogRead, OutgoingEntry, OutgoingMessage};
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::{Log, LogEntry, LogSupport};
use logs::{Append, Logs};

/// A bus between connections of one process. Clones are the same bus.
///
/// ```
/// use clarim_bus::{Bus, BusEvent, MemoryBus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let bus = Bus::new(MemoryBus::new());
/// let mut a = bus.connect();
/// let mut b = bus.connect();
/// b.subscribe("news");
/// assert!(matches!(b.next().await, BusEvent::Connected));
/// assert!(matches!(b.next().await, BusEvent::Subscribed { is_first: true, .. }));
/// a.publish("news", "hello".into(), 1);
/// assert!(matches!(b.next().await, BusEvent::Message { .. }));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryBus(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    last_session: u64,
    subscribers: Subscribers,
    followers: Subscribers,
    logs: Logs,
}

/// Subscribers of each subject, or followers of each log.
#[derive(Debug, Default)]
struct Subscribers(HashMap<Arc<str>, Vec<Subscriber>>);

#[derive(Debug)]
struct Subscriber {
    session: u64,
    events: EventSender,
    failures: UnboundedSender<BusError>,
}

/// A connection to a [`MemoryBus`].
#[derive(Debug)]
pub struct MemorySession {
    id: u64,
    bus: MemoryBus,
    events: EventSender,
    /// Reports from publishers that this session has too many unread messages.
    failures: UnboundedSender<BusError>,
    failed: UnboundedReceiver<BusError>,
}

impl MemoryBus {
    /// A bus without connections.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Loses the data of all logs, as a server without persistence does when it restarts.
    pub fn lose_logs(&self) {
        self.lock().logs.clear();
    }

    /// Delivers an entry of a log that is stored elsewhere.
    #[cfg(feature = "file")]
    pub(crate) fn deliver(&self, log: &str, entry: &LogEntry) {
        self.lock().followers.deliver(log, entry);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBus {
    type Session = MemorySession;

    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn connect(&self, events: EventSender) -> Result<MemorySession, BusError> {
        let mut state = self.lock();
        state.last_session += 1;
        let (failures, failed) = unbounded_channel();
        let id = state.last_session;
        Ok(MemorySession { id, bus: self.clone(), events, failures, failed })
    }

    async fn check_logs(&self, _log: &Log) -> Result<LogSupport, BusError> {
        Ok(LogSupport::Kept)
    }
}

impl Session for MemorySession {
    async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
        for subject in subjects {
            self.add(subject);
        }
        Ok(())
    }

    async fn follow(&mut self, logs: Vec<Arc<str>>) -> Result<(), BusError> {
        for log in logs {
            self.follow_log(log);
        }
        Ok(())
    }

    async fn run(mut self, commands: &mut Commands) -> BusError {
        loop {
            tokio::select! {
                batch = commands.next_batch() => {
                    for command in batch {
                        if let Err(error) = self.execute(command) {
                            return error;
                        }
                    }
                }
                error = self.failed() => return error,
            }
        }
    }
}

impl MemorySession {
    /// Waits until a publisher reports that this session has too many unread messages. Cancel safe.
    pub(crate) async fn failed(&mut self) -> BusError {
        // This session has a sender, too.
        self.failed.recv().await.unwrap_or(BusError::Closed)
    }

    pub(crate) fn execute(&self, command: Command) -> Result<(), BusError> {
        match command {
            Command::Subscribe(subject) => self.add(subject),
            Command::Unsubscribe(subject) => self.bus.lock().subscribers.remove(&subject, self.id),
            Command::Publish(message) => self.publish(message),
            Command::Follow(log) => self.follow_log(log),
            Command::Unfollow(log) => self.bus.lock().followers.remove(&log, self.id),
            Command::Append(entry) => self.append(entry),
            Command::Read(read) => return self.read(read),
        }
        Ok(())
    }

    fn add(&self, subject: Arc<str>) {
        let mut state = self.bus.lock();
        let is_first = state.subscribers.add(&subject, self.subscriber());
        // Under the lock: a message must not overtake it.
        self.events.subscribed(subject, is_first);
    }

    fn follow_log(&self, log: Arc<str>) {
        let mut state = self.bus.lock();
        state.followers.add(&log, self.subscriber());
        // Under the lock: an entry must not overtake it.
        self.events.following(log);
    }

    fn subscriber(&self) -> Subscriber {
        let failures = self.failures.clone();
        Subscriber { session: self.id, events: self.events.clone(), failures }
    }

    fn publish(&self, message: OutgoingMessage) {
        let state = self.bus.lock();
        let receivers = state.subscribers.send(message.subject(), |subject, events| {
            events.message(subject.clone(), message.payload().clone())
        });
        message.published(Some(receivers));
    }

    fn append(&self, outgoing: OutgoingEntry) {
        let mut state = self.bus.lock();
        let log = outgoing.log();
        match state.logs.append(log, outgoing.payload().clone(), outgoing.key()) {
            Append::Stored(entry) => {
                // Under the lock, which gave it its offset: entries arrive in order.
                state.followers.deliver(log.name(), &entry);
                outgoing.appended(entry.position, false);
            }
            Append::Duplicate(first) => outgoing.appended(first, true),
        }
    }

    fn read(&self, read: LogRead) -> Result<(), BusError> {
        let page = self.bus.lock().logs.read(read.log(), read.after(), read.limit());
        read.page(page)
    }
}

impl Subscribers {
    /// Adds a subscriber once. Returns whether the subject had none.
    fn add(&mut self, subject: &Arc<str>, subscriber: Subscriber) -> bool {
        self.remove(subject, subscriber.session);
        let of_subject = self.0.entry(subject.clone()).or_default();
        of_subject.push(subscriber);
        of_subject.len() == 1
    }

    fn remove(&mut self, subject: &str, session: u64) {
        if let Some(subscribers) = self.0.get_mut(subject) {
            subscribers.retain(|subscriber| subscriber.session != session);
            if subscribers.is_empty() {
                self.0.remove(subject);
            }
        }
    }

    fn remove_session(&mut self, session: u64) {
        self.0.retain(|_, subscribers| {
            subscribers.retain(|subscriber| subscriber.session != session);
            !subscribers.is_empty()
        });
    }

    /// Reports an entry to the followers of a log.
    fn deliver(&self, log: &str, entry: &LogEntry) {
        self.send(log, |name, events| events.entry(name.clone(), entry.clone()));
    }

    /// Reports an event to the subscribers of a subject. Returns to how many.
    fn send(
        &self,
        subject: &str,
        report: impl Fn(&Arc<str>, &EventSender) -> Result<(), BusError>,
    ) -> u32 {
        let mut receivers = 0;
        if let Some((subject, all)) = self.0.get_key_value(subject) {
            for subscriber in all {
                match report(subject, &subscriber.events) {
                    Ok(()) => receivers += 1,
                    // Its session ends, so the gap is reported as a lost connection.
                    Err(error) => drop(subscriber.failures.send(error)),
                }
            }
        }
        receivers
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        let mut state = self.bus.lock();
        state.subscribers.remove_session(self.id);
        state.followers.remove_session(self.id);
    }
}
