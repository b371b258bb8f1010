//! The two ends of a connection that a task of its own keeps: what the owner asks for, and what happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;

use crate::{Bus, Event, Ticket};

/// Bytes of messages that wait to be sent, or for the bus to say that it has taken them.
const MAX_OUT: usize = 16 << 20;

/// Bytes of messages that have come and were not taken by the owner.
const MAX_IN: usize = 64 << 20;

/// Of a message, beside its bytes.
const OVERHEAD: usize = 128;

/// Longest pause between two attempts to connect: the shortest lease, for that is how long other nodes that
/// are back earlier wait for this one.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the owner asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
    Publish(Message),
}

/// A message on its way out. When it is dropped without a word, it is lost.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) subject: Box<str>,
    pub(crate) bytes: Bytes,
    ticket: Ticket,
    news: News,
    is_told: bool,
}

impl Message {
    /// The bus has taken it.
    pub(crate) fn taken(mut self, receivers: Option<u32>) {
        self.is_told = true;
        self.news.tell(Event::Published { ticket: self.ticket, receivers });
    }

    fn weight(&self) -> usize {
        self.bytes.len() + self.subject.len() + OVERHEAD
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.news.out.fetch_sub(self.weight(), Ordering::Relaxed);
        if !self.is_told {
            self.news.tell(Event::Lost { ticket: self.ticket });
        }
    }
}

/// What tells the owner what happens.
#[derive(Debug, Clone)]
pub(crate) struct News {
    events: UnboundedSender<Event>,
    out: Arc<AtomicUsize>,
    unread: Arc<AtomicUsize>,
}

impl News {
    pub(crate) fn tell(&self, event: Event) {
        // The owner may have gone; then the task ends soon.
        let _ = self.events.send(event);
    }

    /// A message has come. `false`: the owner is too far behind to be given more.
    pub(crate) fn message(&self, subject: Arc<str>, message: Bytes) -> bool {
        let weight = message.len() + OVERHEAD;
        if self.unread.fetch_add(weight, Ordering::Relaxed) > MAX_IN {
            self.unread.fetch_sub(weight, Ordering::Relaxed);
            return false;
        }
        self.tell(Event::Message { subject, message });
        true
    }
}

/// The owner's end. Dropping it ends the task.
#[derive(Debug)]
pub(crate) struct Line {
    commands: UnboundedSender<Command>,
    events: UnboundedReceiver<Event>,
    news: News,
    task: AbortHandle,
}

impl Line {
    /// Runs `keep` as a task of the runtime that this is called in.
    pub(crate) fn start<F>(keep: impl FnOnce(UnboundedReceiver<Command>, News) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (commands, asked) = mpsc::unbounded_channel();
        let (sender, events) = mpsc::unbounded_channel();
        let news = News { events: sender, out: Arc::default(), unread: Arc::default() };
        let task = tokio::spawn(keep(asked, news.clone())).abort_handle();
        Self { commands, events, news, task }
    }

    fn ask(&self, command: Command) {
        // The task ends with this end.
        let _ = self.commands.send(command);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bus for Line {
    fn subscribe(&mut self, subject: &str) {
        self.ask(Command::Subscribe(subject.into()));
    }

    fn unsubscribe(&mut self, subject: &str) {
        self.ask(Command::Unsubscribe(subject.into()));
    }

    fn publish(&mut self, subject: &str, message: Bytes, ticket: Ticket) {
        let news = self.news.clone();
        let message =
            Message { subject: subject.into(), bytes: message, ticket, news, is_told: false };
        let waiting = self.news.out.fetch_add(message.weight(), Ordering::Relaxed);
        if waiting < MAX_OUT {
            self.ask(Command::Publish(message));
        }
    }

    async fn next(&mut self) -> Event {
        let Some(event) = self.events.recv().await else {
            // The sender is in this struct too.
            return std::future::pending().await;
        };
        if let Event::Message { message, .. } = &event {
            self.news.unread.fetch_sub(message.len() + OVERHEAD, Ordering::Relaxed);
        }
        event
    }
}

/// Pauses that grow, with jitter: many nodes lose a bus at once.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Pauses {
    pub(crate) fn new() -> Self {
        Self(Duration::from_millis(100))
    }

    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST_PAUSE);
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}
