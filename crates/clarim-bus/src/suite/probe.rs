//! A connection whose events a test waits for.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::bus::Bus;
use crate::connection::Connection;
use crate::event::{BusEvent, PublishId};

/// Longer than any backend needs, also to connect again after a failover.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A time in which an event that is already on its way arrives.
const QUIET: Duration = Duration::from_millis(200);

/// A connection that keeps the events that a test does not wait for yet.
#[derive(Debug)]
pub struct Probe {
    connection: Connection,
    waiting: VecDeque<BusEvent>,
}

/// The outcome of a published message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The bus has accepted it, and counted this many receivers if it counts them.
    Published(Option<u32>),
    /// It was not accepted, or not confirmed.
    Lost,
}

impl Probe {
    /// A connection that may not be up yet.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        Self { connection: bus.connect(), waiting: VecDeque::new() }
    }

    /// A connection that is up.
    pub async fn connect(bus: &Bus) -> Self {
        let mut probe = Self::new(bus);
        probe.connected().await;
        probe
    }

    /// Waits for [`BusEvent::Connected`].
    pub async fn connected(&mut self) {
        let is_connected = |event: &BusEvent| matches!(event, BusEvent::Connected);
        self.wait("the connection", is_connected).await;
    }

    /// Waits for [`BusEvent::Disconnected`] and returns the error's text.
    pub async fn disconnected(&mut self) -> String {
        let is_disconnected = |event: &BusEvent| matches!(event, BusEvent::Disconnected(_));
        match self.wait("the loss of the connection", is_disconnected).await {
            BusEvent::Disconnected(error) => error.to_string(),
            _ => String::new(),
        }
    }

    /// Subscribes, waits for the confirmation, and returns whether it says that the subject had no subscriber
    /// before.
    pub async fn subscribe(&mut self, wanted: &str) -> bool {
        self.request_subscription(wanted);
        let is_confirmation = |event: &BusEvent| match event {
            BusEvent::Subscribed { subject, .. } => **subject == *wanted,
            _ => false,
        };
        let event = self.wait("a confirmed subscription", is_confirmation).await;
        matches!(event, BusEvent::Subscribed { is_first: true, .. })
    }

    /// Subscribes without waiting.
    pub fn request_subscription(&mut self, subject: &str) {
        self.connection.subscribe(subject);
    }

    /// Unsubscribes without waiting.
    pub fn unsubscribe(&mut self, subject: &str) {
        self.connection.unsubscribe(subject);
    }

    /// Publishes without waiting.
    pub fn publish(&mut self, subject: &str, payload: impl Into<Bytes>, id: PublishId) {
        self.connection.publish(subject, payload.into(), id);
    }

    /// Whether more messages may be published: see [`Connection::has_room`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.connection.has_room()
    }

    /// Publishes until a message is accepted, each with its number as payload, and returns that payload.
    pub async fn publish_until_accepted(&mut self, subject: &str, first: PublishId) -> String {
        let mut id = first;
        loop {
            self.publish(subject, id.to_string(), id);
            if self.outcome(id).await != Outcome::Lost {
                return id.to_string();
            }
            id += 1;
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for the outcome of a published message.
    pub async fn outcome(&mut self, wanted: PublishId) -> Outcome {
        let is_outcome = |event: &BusEvent| match event {
            BusEvent::Published { id, .. } | BusEvent::Lost { id } => *id == wanted,
            _ => false,
        };
        match self.wait("the outcome of a message", is_outcome).await {
            BusEvent::Published { receivers, .. } => Outcome::Published(receivers),
            _ => Outcome::Lost,
        }
    }

    /// The payloads of the next messages on a subject.
    pub async fn messages(&mut self, wanted: &str, count: usize) -> Vec<Bytes> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let is_message = |event: &BusEvent| match event {
                BusEvent::Message { subject, .. } => **subject == *wanted,
                _ => false,
            };
            if let BusEvent::Message { payload, .. } = self.wait("a message", is_message).await {
                messages.push(payload);
            }
        }
        messages
    }

    /// Asserts that the next messages on a subject are these.
    pub async fn expect_messages<T>(&mut self, subject: &str, expected: &[T])
    where
        T: AsRef<[u8]> + Debug,
    {
        let messages = self.messages(subject, expected.len()).await;
        for (message, expected) in messages.iter().zip(expected) {
            assert_eq!(message[..], *expected.as_ref(), "on the subject {subject}");
        }
    }

    /// Waits for an event, and keeps those that come before it.
    pub async fn wait(&mut self, what: &str, matches: impl Fn(&BusEvent) -> bool) -> BusEvent {
        let at = self.waiting.iter().position(&matches);
        if let Some(event) = at.and_then(|at| self.waiting.remove(at)) {
            return event;
        }
        let next = async {
            loop {
                let event = self.connection.next().await;
                if matches(&event) {
                    return event;
                }
                self.waiting.push_back(event);
            }
        };
        let next = timeout(TIMEOUT, next).await;
        next.unwrap_or_else(|_| panic!("{what}: not within {TIMEOUT:?}, but {:?}", self.waiting))
    }

    /// Reads until nothing has come for a while, and returns what is waiting.
    pub async fn drain(&mut self) -> Vec<BusEvent> {
        while let Ok(event) = timeout(QUIET, self.connection.next()).await {
            self.waiting.push_back(event);
        }
        self.waiting.drain(..).collect()
    }
}
