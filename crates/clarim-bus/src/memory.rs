//! A bus between the nodes of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::backend::{Backend, Session};
use crate::commands::{Command, Commands, OutgoingMessage};
use crate::error::BusError;
use crate::event::EventSender;

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
pub struct MemoryBus(Arc<Mutex<Subscribers>>);

#[derive(Debug, Default)]
struct Subscribers {
    last_session: u64,
    by_subject: HashMap<Arc<str>, Vec<Subscriber>>,
}

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

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryBus {
    type Session = MemorySession;

    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn connect(&self, events: EventSender) -> Result<MemorySession, BusError> {
        let mut subscribers = self.lock();
        subscribers.last_session += 1;
        let (failures, failed) = unbounded_channel();
        let id = subscribers.last_session;
        Ok(MemorySession { id, bus: self.clone(), events, failures, failed })
    }
}

impl Session for MemorySession {
    async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
        for subject in subjects {
            self.add(subject);
        }
        Ok(())
    }

    async fn run(mut self, commands: &mut Commands) -> BusError {
        loop {
            tokio::select! {
                batch = commands.next_batch() => {
                    for command in batch {
                        self.execute(command);
                    }
                }
                Some(error) = self.failed.recv() => return error,
            }
        }
    }
}

impl MemorySession {
    fn execute(&self, command: Command) {
        match command {
            Command::Subscribe(subject) => self.add(subject),
            Command::Unsubscribe(subject) => self.bus.lock().remove(&subject, self.id),
            Command::Publish(message) => self.publish(message),
        }
    }

    fn add(&self, subject: Arc<str>) {
        let mut subscribers = self.bus.lock();
        subscribers.remove(&subject, self.id);
        let of_subject = subscribers.by_subject.entry(Arc::clone(&subject)).or_default();
        let is_first = of_subject.is_empty();
        let failures = self.failures.clone();
        of_subject.push(Subscriber { session: self.id, events: self.events.clone(), failures });
        // Under the lock: a message must not overtake it.
        self.events.subscribed(subject, is_first);
    }

    fn publish(&self, message: OutgoingMessage) {
        let subscribers = self.bus.lock();
        let mut receivers = 0;
        if let Some((subject, all)) = subscribers.by_subject.get_key_value(message.subject()) {
            for subscriber in all {
                match subscriber.events.message(subject.clone(), message.payload().clone()) {
                    Ok(()) => receivers += 1,
                    // Its session ends, so the gap is reported as a lost connection.
                    Err(error) => drop(subscriber.failures.send(error)),
                }
            }
        }
        message.published(Some(receivers));
    }
}

impl Subscribers {
    fn remove(&mut self, subject: &str, session: u64) {
        if let Some(subscribers) = self.by_subject.get_mut(subject) {
            subscribers.retain(|subscriber| subscriber.session != session);
            if subscribers.is_empty() {
                self.by_subject.remove(subject);
            }
        }
    }
}

impl Drop for MemorySession {
    fn drop(&mut self) {
        self.bus.lock().by_subject.retain(|_, subscribers| {
            subscribers.retain(|subscriber| subscriber.session != self.id);
            !subscribers.is_empty()
        });
    }
}
