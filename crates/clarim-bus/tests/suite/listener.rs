//! A connection that a test can ask what has come.

use std::collections::VecDeque;
use std::time::Duration;

use clarim_bus::{Address, Bus, Connection, Event};
use tokio::time::timeout;

/// Longer than any bus needs, also when it has to be found again.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Listener {
    pub(crate) bus: Connection,
    /// What has come while something else was waited for.
    pub(crate) seen: VecDeque<Event>,
}

impl Listener {
    /// A connection that is up.
    pub(crate) async fn new(address: &Address) -> Self {
        let mut listener = Self { bus: address.connect(), seen: VecDeque::new() };
        listener.wait("the connection", |event| *event == Event::Up).await;
        listener
    }

    /// Listens, from when this returns on. Whether the bus says that nobody had before.
    pub(crate) async fn subscribe(&mut self, wanted: &str) -> bool {
        self.bus.subscribe(wanted);
        let is_it = |event: &Event| match event {
            Event::Subscribed { subject, .. } => **subject == *wanted,
            _ => false,
        };
        let event = self.wait("a subscription", is_it).await;
        matches!(event, Event::Subscribed { is_first: true, .. })
    }

    /// Waits for an event, and keeps what comes before it.
    pub(crate) async fn wait(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) -> Event {
        let at = self.seen.iter().position(&is_it);
        if let Some(event) = at.and_then(|at| self.seen.remove(at)) {
            return event;
        }
        let come = async {
            loop {
                let event = self.bus.next().await;
                if is_it(&event) {
                    return event;
                }
                self.seen.push_back(event);
            }
        };
        let come = timeout(PATIENCE, come).await;
        come.unwrap_or_else(|_| panic!("{what} did not come, but {:?}", self.seen))
    }

    /// The next messages on a subject.
    pub(crate) async fn messages(&mut self, subject: &str, count: usize) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let is_it = |event: &Event| match event {
                Event::Message { subject: of, .. } => &**of == subject,
                _ => false,
            };
            if let Event::Message { message, .. } = self.wait("a message", is_it).await {
                messages.push(message.to_vec());
            }
        }
        messages
    }

    /// What becomes of a published message: how many have got it, or that it is lost.
    pub(crate) async fn fate(&mut self, ticket: u64) -> Option<Option<u32>> {
        let is_it = |event: &Event| match event {
            Event::Published { ticket: of, .. } | Event::Lost { ticket: of } => *of == ticket,
            _ => false,
        };
        match self.wait("the fate of a message", is_it).await {
            Event::Published { receivers, .. } => Some(receivers),
            _ => None,
        }
    }

    /// What has come up to now.
    pub(crate) async fn drain(&mut self) -> Vec<Event> {
        self.drain_into().await;
        self.seen.drain(..).collect()
    }

    /// Keeps what has come up to now.
    pub(crate) async fn drain_into(&mut self) {
        while let Ok(event) = timeout(Duration::from_millis(200), self.bus.next()).await {
            self.seen.push_back(event);
        }
    }
}
