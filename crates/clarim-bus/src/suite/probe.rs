//! A connection whose events a test waits for.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{sleep, timeout};

use crate::bus::Bus;
use crate::connection::Connection;
use crate::error::BusError;
use crate::event::{BusEvent, PublishId};
use crate::log::{IdempotencyKey, Log, LogEntry, LogPage, PageLimit, Position};

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

/// The outcome of an append.
#[derive(Debug)]
pub enum Appended {
    /// The log has the entry.
    At(AppendedAt),
    /// The server has refused it.
    Refused(BusError),
    /// It is not known whether the log has it.
    Lost,
}

/// Where a log has an entry.
#[derive(Debug, Clone, Copy)]
pub struct AppendedAt {
    /// Its position.
    pub position: Position,
    /// Whether it is an earlier entry with the same key.
    pub is_duplicate: bool,
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

    /// Follows a log, and waits for the confirmation.
    pub async fn follow(&mut self, wanted: &Log) {
        self.connection.follow(wanted.name());
        let is_confirmation =
            |event: &BusEvent| matches!(event, BusEvent::Following { log } if log == wanted.name());
        self.wait("a confirmed follow", is_confirmation).await;
    }

    /// Stops following a log, without waiting.
    pub fn unfollow(&mut self, log: &Log) {
        self.connection.unfollow(log.name());
    }

    /// Appends without waiting.
    pub fn append(
        &mut self,
        log: &Log,
        payload: impl Into<Bytes>,
        key: Option<IdempotencyKey>,
        id: PublishId,
    ) {
        self.connection.append(log, payload.into(), key, id);
    }

    /// Appends, and waits until the log has the entry.
    pub async fn append_one(
        &mut self,
        log: &Log,
        payload: impl Into<Bytes>,
        key: Option<IdempotencyKey>,
        id: PublishId,
    ) -> AppendedAt {
        self.append(log, payload, key, id);
        self.position(id).await
    }

    /// Waits until the log has an entry, and returns where.
    pub async fn position(&mut self, id: PublishId) -> AppendedAt {
        match self.appended(id).await {
            Appended::At(at) => at,
            other => panic!("entry {id}: {other:?}"),
        }
    }

    /// Waits for the outcome of an append or a read.
    pub async fn appended(&mut self, wanted: PublishId) -> Appended {
        let is_outcome = |event: &BusEvent| match event {
            BusEvent::Appended { id, .. }
            | BusEvent::Refused { id, .. }
            | BusEvent::Lost { id } => *id == wanted,
            _ => false,
        };
        match self.wait("the outcome of an append", is_outcome).await {
            BusEvent::Appended { position, is_duplicate, .. } => {
                Appended::At(AppendedAt { position, is_duplicate })
            }
            BusEvent::Refused { error, .. } => Appended::Refused(error),
            _ => Appended::Lost,
        }
    }

    /// The next entries of a log that it follows.
    pub async fn entries(&mut self, wanted: &Log, count: usize) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        while entries.len() < count {
            let is_entry = |event: &BusEvent| match event {
                BusEvent::Entry { log, .. } => log == wanted.name(),
                _ => false,
            };
            if let BusEvent::Entry { entry, .. } = self.wait("an entry", is_entry).await {
                entries.push(entry);
            }
        }
        entries
    }

    /// Asks for entries of a log, without waiting.
    pub fn request_page(&mut self, log: &Log, after: u64, limit: PageLimit, id: PublishId) {
        self.connection.read(log, after, limit, id);
    }

    /// Reads entries of a log.
    pub async fn read(
        &mut self,
        log: &Log,
        after: u64,
        limit: PageLimit,
        id: PublishId,
    ) -> LogPage {
        self.request_page(log, after, limit, id);
        let is_outcome = |event: &BusEvent| match event {
            BusEvent::Page { id: of, .. }
            | BusEvent::Refused { id: of, .. }
            | BusEvent::Lost { id: of } => *of == id,
            _ => false,
        };
        match self.wait("a page", is_outcome).await {
            BusEvent::Page { page, .. } => page,
            other => panic!("{other:?}"),
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
