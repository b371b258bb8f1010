//! A session with NATS.
//!
//! NATS confirms neither a publish nor a subscription. So the session has an inbox, a subject of its own, and
//! publishes a sequence number there behind each batch: when the number comes back, the server has processed
//! everything before it.
//!
//! NATS does not count the receivers of a message either, but it answers a request without subscribers with
//! "no responders". So each subscription is preceded by an empty request, the probe, on its subject, which
//! every subscriber ignores: if it has no responders, the subscription is the subject's first one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event as ClientEvent, StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{BoxStream, SelectAll, StreamExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::error::NatsError;
use super::logs::Logs;
use super::streams::{entries_subject, published_entry};
use super::subject::escape;
use crate::backend::Session;
use crate::commands::{Command, Commands, OutgoingMessage};
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::LogEntry;

/// Timeout of a connection attempt and of a confirmation. Without a reply for this long, the server is frozen
/// or cannot be reached.
pub(super) const TIMEOUT: Duration = Duration::from_secs(3);

/// Time between two health checks of the server.
pub(super) const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A connection to NATS.
pub(crate) struct NatsSession {
    client: Client,
    client_events: UnboundedReceiver<ClientEvent>,
    events: EventSender,
    /// Prefix of the session's own subjects.
    inbox: String,
    replies: Subscriber,
    last_sequence: u64,
    last_probe: u64,
    /// Probes that had no responders.
    without_responders: HashSet<u64>,
    /// Batches that the server has not confirmed.
    unconfirmed: VecDeque<Batch>,
    messages: SelectAll<BoxStream<'static, Incoming>>,
    /// The handle that ends the stream of each subject.
    subscriptions: HashMap<Arc<str>, AbortHandle>,
    logs: Logs,
}

enum Incoming {
    Message { subject: Arc<str>, payload: Bytes },
    Entry { log: Arc<str>, entry: LogEntry },
}

/// Messages and subscriptions that are confirmed together, when their sequence number comes back.
struct Batch {
    sequence: u64,
    sent_at: Instant,
    messages: Vec<OutgoingMessage>,
    subscriptions: Vec<PendingSubscription>,
    followed: Vec<Arc<str>>,
}

impl Batch {
    fn new() -> Self {
        Self {
            sequence: 0,
            sent_at: Instant::now(),
            messages: Vec::new(),
            subscriptions: Vec::new(),
            followed: Vec::new(),
        }
    }
}

struct PendingSubscription {
    subject: Arc<str>,
    /// The probe that went before it. `None` after a reconnect, when it does not matter who was first.
    probe: Option<u64>,
}

impl NatsSession {
    pub(super) async fn new(
        client: Client,
        client_events: UnboundedReceiver<ClientEvent>,
        events: EventSender,
    ) -> Result<Self, BusError> {
        let inbox = client.new_inbox();
        let replies = client.subscribe(format!("{inbox}.*")).await.map_err(BusError::backend)?;
        Ok(Self {
            logs: Logs::new(client.clone()),
            client,
            client_events,
            events,
            inbox,
            replies,
            last_sequence: 0,
            last_probe: 0,
            without_responders: HashSet::new(),
            unconfirmed: VecDeque::new(),
            messages: SelectAll::new(),
            subscriptions: HashMap::new(),
        })
    }
}

impl Session for NatsSession {
    async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
        for subject in &subjects {
            self.subscribe_to(subject).await?;
        }
        let pending = |subject| PendingSubscription { subject, probe: None };
        let subscriptions = subjects.into_iter().map(pending).collect();
        self.confirm_all(Batch { subscriptions, ..Batch::new() }).await
    }

    async fn follow(&mut self, logs: Vec<Arc<str>>) -> Result<(), BusError> {
        for log in &logs {
            self.follow_log(log).await?;
        }
        self.confirm_all(Batch { followed: logs, ..Batch::new() }).await
    }

    async fn run(mut self, commands: &mut Commands) -> BusError {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let result = tokio::select! {
                batch = commands.next_batch() => in_time(self.execute(batch)).await,
                Some(incoming) = self.messages.next(), if !self.messages.is_empty() => {
                    match incoming {
                        Incoming::Message { subject, payload } => {
                            self.events.message(subject, payload)
                        }
                        Incoming::Entry { log, entry } => self.events.entry(log, entry),
                    }
                }
                Some(outcome) = self.logs.next_outcome() => {
                    in_time(self.logs.handle(outcome)).await
                }
                reply = self.replies.next() => match reply {
                    Some(reply) => {
                        self.handle_reply(&reply);
                        Ok(())
                    }
                    None => Err(BusError::Closed),
                },
                Some(event) = self.client_events.recv() => match event {
                    ClientEvent::Connected | ClientEvent::LameDuckMode => Ok(()),
                    event => Err(NatsError::Interrupted(event).into()),
                },
                _ = checks.tick() => self.check().await,
            };
            if let Err(error) = result {
                return error;
            }
        }
    }
}

/// Limits the time that sending takes.
async fn in_time(sending: impl Future<Output = Result<(), BusError>>) -> Result<(), BusError> {
    timeout(TIMEOUT, sending).await.unwrap_or(Err(BusError::Timeout(TIMEOUT)))
}

impl NatsSession {
    async fn execute(&mut self, batch: Vec<Command>) -> Result<(), BusError> {
        let mut messages = Vec::new();
        let mut subscriptions = Vec::new();
        let mut followed = Vec::new();
        for command in batch {
            match command {
                Command::Subscribe(subject) => {
                    let probe = Some(self.probe(&subject).await?);
                    self.subscribe_to(&subject).await?;
                    subscriptions.push(PendingSubscription { subject, probe });
                }
                Command::Unsubscribe(subject) => {
                    if let Some(stream) = self.subscriptions.remove(&subject) {
                        // The stream's subscriber is dropped, which unsubscribes.
                        stream.abort();
                    }
                }
                Command::Publish(message) => {
                    let payload = message.payload().clone();
                    // One that the client refuses, as too long, is dropped, which reports it as lost.
                    if self.client.publish(escape(message.subject()), payload).await.is_ok() {
                        messages.push(message);
                    }
                }
                Command::Follow(log) => {
                    self.follow_log(&log).await?;
                    followed.push(log);
                }
                Command::Unfollow(log) => self.logs.unfollow(&log),
                Command::Append(entry) => self.logs.append(entry).await,
                Command::Read(read) => self.logs.read(read),
            }
        }
        self.request_confirmation(Batch { messages, subscriptions, followed, ..Batch::new() }).await
    }

    /// Sends a probe and returns its number. A "no responders" reply arrives before later confirmations.
    async fn probe(&mut self, subject: &str) -> Result<u64, BusError> {
        self.last_probe += 1;
        let reply_to = format!("{}.{}", self.inbox, self.last_probe);
        let sent = self.client.publish_with_reply(escape(subject), reply_to, Bytes::new()).await;
        sent.map_err(BusError::backend)?;
        Ok(self.last_probe)
    }

    async fn subscribe_to(&mut self, subject: &Arc<str>) -> Result<(), BusError> {
        if self.subscriptions.contains_key(subject) {
            return Ok(());
        }
        let stream = self.client.subscribe(escape(subject)).await.map_err(BusError::backend)?;
        let (handle, registration) = AbortHandle::new_pair();
        let name = subject.clone();
        let stream = stream.filter_map(move |message| {
            let is_probe = message.reply.is_some();
            let payload = message.payload;
            ready((!is_probe).then(|| Incoming::Message { subject: name.clone(), payload }))
        });
        self.messages.push(Abortable::new(stream, registration).boxed());
        self.subscriptions.insert(subject.clone(), handle);
        Ok(())
    }

    /// Requests a confirmation and waits for it.
    async fn confirm_all(&mut self, batch: Batch) -> Result<(), BusError> {
        self.request_confirmation(batch).await?;
        while !self.unconfirmed.is_empty() {
            match timeout(TIMEOUT, self.replies.next()).await {
                Ok(Some(reply)) => self.handle_reply(&reply),
                Ok(None) => return Err(BusError::Closed),
                Err(_) => return Err(BusError::Timeout(TIMEOUT)),
            }
        }
        Ok(())
    }

    async fn follow_log(&mut self, log: &Arc<str>) -> Result<(), BusError> {
        if self.logs.is_followed(log) {
            return Ok(());
        }
        let stream =
            self.client.subscribe(entries_subject(log)).await.map_err(BusError::backend)?;
        let (handle, registration) = AbortHandle::new_pair();
        let name = log.clone();
        let stream = stream.filter_map(move |message| {
            let entry = published_entry(message);
            ready(entry.map(|entry| Incoming::Entry { log: name.clone(), entry }))
        });
        self.messages.push(Abortable::new(stream, registration).boxed());
        self.logs.follow(log.clone(), handle);
        Ok(())
    }

    /// Publishes a sequence number to the session itself, which confirms everything sent so far.
    async fn request_confirmation(&mut self, batch: Batch) -> Result<(), BusError> {
        self.last_sequence += 1;
        let sequence = self.last_sequence;
        self.unconfirmed.push_back(Batch { sequence, ..batch });
        let subject = format!("{}.sequence", self.inbox);
        let payload = Bytes::copy_from_slice(&sequence.to_le_bytes());
        self.client.publish(subject, payload).await.map_err(BusError::backend)
    }

    /// Handles a sequence number that has come back, or a probe without responders.
    fn handle_reply(&mut self, reply: &async_nats::Message) {
        if reply.status == Some(StatusCode::NO_RESPONDERS) {
            let probe = reply.subject.rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
            self.without_responders.extend(probe);
        } else if let Ok(sequence) = reply.payload[..].try_into() {
            self.confirm(u64::from_le_bytes(sequence));
        }
    }

    /// Reports everything up to a sequence number as done.
    fn confirm(&mut self, sequence: u64) {
        while let Some(batch) = self.unconfirmed.pop_front_if(|batch| batch.sequence <= sequence) {
            for message in batch.messages {
                message.published(None);
            }
            for PendingSubscription { subject, probe } in batch.subscriptions {
                let is_first = probe.is_some_and(|probe| self.without_responders.remove(&probe));
                self.events.subscribed(subject, is_first);
            }
            for log in batch.followed {
                self.events.following(log);
            }
        }
    }

    /// Checks that the server still confirms, and makes sure that there is something to confirm.
    async fn check(&mut self) -> Result<(), BusError> {
        match self.unconfirmed.front() {
            Some(batch) if batch.sent_at.elapsed() > TIMEOUT => Err(BusError::Timeout(TIMEOUT)),
            Some(_) => Ok(()),
            None => self.request_confirmation(Batch::new()).await,
        }
    }
}
