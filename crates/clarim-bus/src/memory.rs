//! A bus within one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{Bus, Event, Ticket};

/// A bus between connections of one process.
///
/// ```
/// use clarim_bus::{Bus, Event, MemoryBus};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let bus = MemoryBus::new();
/// let (mut a, mut b) = (bus.connect(), bus.connect());
/// b.subscribe("news");
/// a.publish("news", "hello".into(), 1);
/// assert_eq!(b.next().await, Event::Up);
/// assert!(matches!(b.next().await, Event::Subscribed { is_first: true, .. }));
/// assert!(matches!(b.next().await, Event::Message { .. }));
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryBus(Arc<Mutex<Subjects>>);

#[derive(Debug, Default)]
struct Subjects {
    next: u64,
    subscribers: HashMap<Arc<str>, Vec<(u64, UnboundedSender<Event>)>>,
}

/// A connection to a [`MemoryBus`].
#[derive(Debug)]
pub struct MemoryConnection {
    id: u64,
    bus: MemoryBus,
    sender: UnboundedSender<Event>,
    events: UnboundedReceiver<Event>,
}

impl MemoryBus {
    /// A bus that nobody is connected to.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A connection, which is up at once.
    #[must_use]
    pub fn connect(&self) -> MemoryConnection {
        let (sender, events) = unbounded_channel();
        let mut subjects = self.subjects();
        subjects.next += 1;
        // The receiver is in the same struct.
        let _ = sender.send(Event::Up);
        MemoryConnection { id: subjects.next, bus: self.clone(), sender, events }
    }

    fn subjects(&self) -> MutexGuard<'_, Subjects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subjects {
    fn remove(&mut self, subject: &str, id: u64) {
        if let Some(subscribers) = self.subscribers.get_mut(subject) {
            subscribers.retain(|(other, _)| *other != id);
            if subscribers.is_empty() {
                self.subscribers.remove(subject);
            }
        }
    }
}

impl Bus for MemoryConnection {
    fn subscribe(&mut self, subject: &str) {
        let mut subjects = self.bus.subjects();
        subjects.remove(subject, self.id);
        let subject: Arc<str> = subject.into();
        let subscribers = subjects.subscribers.entry(subject.clone()).or_default();
        let is_first = subscribers.is_empty();
        subscribers.push((self.id, self.sender.clone()));
        let _ = self.sender.send(Event::Subscribed { subject, is_first });
    }

    fn unsubscribe(&mut self, subject: &str) {
        self.bus.subjects().remove(subject, self.id);
    }

    fn publish(&mut self, subject: &str, message: Bytes, ticket: Ticket) {
        let subjects = self.bus.subjects();
        let subscribers = subjects.subscribers.get_key_value(subject);
        let mut receivers = 0;
        for (subject, (_, subscriber)) in
            subscribers.into_iter().flat_map(|(subject, all)| all.iter().map(move |s| (subject, s)))
        {
            let (subject, message) = (subject.clone(), message.clone());
            // A connection that has gone is on its way out of the list.
            receivers += u32::from(subscriber.send(Event::Message { subject, message }).is_ok());
        }
        let _ = self.sender.send(Event::Published { ticket, receivers: Some(receivers) });
    }

    async fn next(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Drop for MemoryConnection {
    fn drop(&mut self) {
        let mut subjects = self.bus.subjects();
        let id = self.id;
        subjects.subscribers.retain(|_, subscribers| {
            subscribers.retain(|(other, _)| *other != id);
            !subscribers.is_empty()
        });
    }
}
