//! The interface that a backend implements.

use std::sync::Arc;

use crate::commands::Commands;
use crate::error::BusError;
use crate::event::EventSender;
use crate::log::{Log, LogSupport};

/// A message broker that carries a bus: how to connect to it.
///
/// A backend connects once per call, and reports an error if it cannot. Retrying with a backoff, restoring
/// subscriptions after a reconnect, reporting messages as lost, and the limits on memory are done around it.
///
/// # Guarantees
/// A backend must keep these promises:
///
/// - A subscription that was reported with [`EventSender::subscribed`] misses no later message.
/// - Messages that one connection publishes on one subject arrive in order, and at most once.
/// - Subjects and payloads are arbitrary bytes to the backend: it escapes subjects that its broker would give
///   a meaning to.
/// - It either counts the receivers of a message ([`OutgoingMessage::published`]), or says whether a
///   subscriber is a subject's first one ([`EventSender::subscribed`]). Nodes use this to open a channel
///   without waiting for nodes that do not have it.
/// - A broker that is frozen or cut off ends the session within a few seconds.
///
/// The feature `suite` has tests for all of it.
///
/// # Example
/// A backend over a channel of tokio, which counts subscribers beside it:
///
/// ```
/// use std::collections::{HashMap, HashSet};
/// use std::sync::{Arc, Mutex};
///
/// use bytes::Bytes;
/// use clarim_bus::{Backend, Bus, BusError, Command, Commands, EventSender, Session};
/// use tokio::sync::broadcast;
///
/// struct BroadcastBus {
///     messages: broadcast::Sender<(Arc<str>, Bytes)>,
///     subscribers: Arc<Mutex<HashMap<Arc<str>, u32>>>,
/// }
///
/// struct BroadcastSession {
///     sender: broadcast::Sender<(Arc<str>, Bytes)>,
///     receiver: broadcast::Receiver<(Arc<str>, Bytes)>,
///     subscribers: Arc<Mutex<HashMap<Arc<str>, u32>>>,
///     subscribed: HashSet<Arc<str>>,
///     events: EventSender,
/// }
///
/// impl Backend for BroadcastBus {
///     type Session = BroadcastSession;
///
///     fn kind(&self) -> &'static str {
///         "broadcast"
///     }
///
///     async fn connect(&self, events: EventSender) -> Result<BroadcastSession, BusError> {
///         Ok(BroadcastSession {
///             sender: self.messages.clone(),
///             receiver: self.messages.subscribe(),
///             subscribers: self.subscribers.clone(),
///             subscribed: HashSet::new(),
///             events,
///         })
///     }
/// }
///
/// impl Session for BroadcastSession {
///     async fn subscribe(&mut self, subjects: Vec<Arc<str>>) -> Result<(), BusError> {
///         for subject in subjects {
///             self.add(subject);
///         }
///         Ok(())
///     }
///
///     async fn run(mut self, commands: &mut Commands) -> BusError {
///         loop {
///             tokio::select! {
///                 batch = commands.next_batch() => {
///                     for command in batch {
///                         self.execute(command);
///                     }
///                 }
///                 received = self.receiver.recv() => match received {
///                     Ok((subject, payload)) if self.subscribed.contains(&subject) => {
///                         if let Err(error) = self.events.message(subject, payload) {
///                             return error;
///                         }
///                     }
///                     Ok(_) => {}
///                     // Messages were dropped, so the session must not go on as if nothing happened.
///                     Err(error) => return BusError::backend(error),
///                 },
///             }
///         }
///     }
/// }
///
/// impl BroadcastSession {
///     fn execute(&mut self, command: Command) {
///         match command {
///             Command::Subscribe(subject) => self.add(subject),
///             Command::Unsubscribe(subject) => self.remove(&subject),
///             Command::Publish(message) => {
///                 let subscribers = self.subscribers.lock().unwrap();
///                 let _ = self.sender.send((message.subject().into(), message.payload().clone()));
///                 let receivers = subscribers.get(message.subject()).copied();
///                 message.published(Some(receivers.unwrap_or(0)));
///             }
///             // A later version may add a command.
///             _ => {}
///         }
///     }
///
///     fn add(&mut self, subject: Arc<str>) {
///         if self.subscribed.insert(subject.clone()) {
///             *self.subscribers.lock().unwrap().entry(subject.clone()).or_default() += 1;
///         }
///         self.events.subscribed(subject, false);
///     }
///
///     fn remove(&mut self, subject: &Arc<str>) {
///         if self.subscribed.remove(subject) {
///             *self.subscribers.lock().unwrap().get_mut(subject).unwrap() -= 1;
///         }
///     }
/// }
///
/// impl Drop for BroadcastSession {
///     fn drop(&mut self) {
///         for subject in std::mem::take(&mut self.subscribed) {
///             *self.subscribers.lock().unwrap().get_mut(&subject).unwrap() -= 1;
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let messages = broadcast::Sender::new(64 << 10);
/// let bus = Bus::new(BroadcastBus { messages, subscribers: Arc::default() });
/// # #[cfg(feature = "suite")]
/// clarim_bus::suite::run(&bus, clarim_bus::suite::Reports::Receivers).await;
/// # }
/// ```
///
/// [`OutgoingMessage::published`]: crate::OutgoingMessage::published
pub trait Backend: Send + Sync + 'static {
    /// A connection to the broker.
    type Session: Session;

    /// The backend's name in logs, health checks and errors, such as `redis`.
    fn kind(&self) -> &'static str;

    /// Connects, and reports what happens on the connection to `events`.
    ///
    /// # Errors
    /// Why there is no connection.
    fn connect(
        &self,
        events: EventSender,
    ) -> impl Future<Output = Result<Self::Session, BusError>> + Send;

    /// Lists the subjects that have subscribers and match `pattern`, in which `*` matches anything. `None` if
    /// the broker has no such list, which is the default.
    ///
    /// # Errors
    /// Why the broker could not be asked.
    fn subjects(
        &self,
        pattern: &str,
    ) -> impl Future<Output = Result<Option<Vec<String>>, BusError>> + Send {
        let _ = pattern;
        async { Ok(None) }
    }

    /// Checks that the broker keeps logs, with `log` as an example. By default, a backend keeps none.
    ///
    /// A backend with logs carries out [`Command::Follow`] and the commands after it, implements
    /// [`Session::follow`], and keeps these promises:
    ///
    /// - An entry is stored and gets its offset in one step. All connections receive the entries of a log in
    ///   the order of their offsets, with the offset of the entry before.
    /// - A connection that was reported with [`EventSender::following`] misses no later entry until
    ///   the session ends.
    /// - Of two entries with the same key, one is stored, whichever connections append them.
    /// - A log whose data was lost gets another epoch. No position has ever stood for two entries.
    ///
    /// [`Command::Follow`]: crate::Command::Follow
    ///
    /// # Errors
    /// Why the broker could not be asked.
    fn check_logs(&self, log: &Log) -> impl Future<Output = Result<LogSupport, BusError>> + Send {
        let _ = log;
        let kind = self.kind();
        async move { Ok(LogSupport::Missing(BusError::NoLogs { kind })) }
    }
}

/// A connection to a broker, until it breaks.
pub trait Session: Send {
    /// Subscribes to all of `subjects`, and returns when the broker has confirmed it. Called before
    /// [`run`](Self::run), with the subscriptions of the connection before.
    ///
    /// # Errors
    /// Why the session cannot be used.
    fn subscribe(
        &mut self,
        subjects: Vec<Arc<str>>,
    ) -> impl Future<Output = Result<(), BusError>> + Send;

    /// Follows all of `logs`, and returns when the broker has confirmed it; as
    /// [`subscribe`](Self::subscribe). Only for backends with logs.
    ///
    /// # Errors
    /// Why the session cannot be used. By default, because the backend keeps no logs.
    fn follow(&mut self, logs: Vec<Arc<str>>) -> impl Future<Output = Result<(), BusError>> + Send {
        let _ = logs;
        async { Err(BusError::NoLogs { kind: "of this backend" }) }
    }

    /// Carries out `commands` until the connection breaks, and returns the reason.
    fn run(self, commands: &mut Commands) -> impl Future<Output = BusError> + Send;
}
