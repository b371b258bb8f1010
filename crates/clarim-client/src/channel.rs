//! A channel in the application's hands.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use crate::client::{Commands, Shared};
use crate::{Error, State};

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The user's id.
    pub id: String,
    /// What the application tells of the user.
    pub info: Value,
}

/// An event that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The channel, by its whole name.
    pub channel: String,
    /// The event's name as it was sent: `App\Events\OrderShipped`, `client-typing`.
    pub name: String,
    /// On presence channels, of client events: whose it is, as the server knows it.
    pub user_id: Option<String>,
    /// Its data, as JSON.
    pub json: String,
}

impl Event {
    /// Its data.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.json)
            .map_err(|cause| Error::Data { event: self.name.clone(), cause: Arc::new(cause) })
    }
}

/// What happens on a channel, in its order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// The server has let the client in, for the first time or again: from here on nothing is missed until
    /// the connection breaks. Whoever shows a state fetches it anew at this point. On presence channels with
    /// those who are there, this client among them.
    Subscribed(Vec<Member>),
    /// A member has come.
    Joining(Member),
    /// A member has gone.
    Leaving(Member),
    /// An event.
    Event(Event),
    /// The subscription was refused. It is asked for again with the next connection.
    Refused(Error),
    /// So many updates were not read in time, and are lost for this handle.
    Missed(u64),
}

/// How a subscription is.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    Pending,
    Subscribed,
    Refused(Error),
}

/// A channel that somebody wants, shared by all handles of it.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    updates: broadcast::Sender<Update>,
    /// Who is there after the last update that was sent. The lock is held while one is sent, so that whoever
    /// comes gets both without a gap.
    members: Mutex<Vec<Member>>,
    pub(crate) standing: watch::Sender<Standing>,
}

impl Topic {
    pub(crate) fn new(name: String, buffer: usize) -> Self {
        Self {
            name,
            updates: broadcast::Sender::new(buffer),
            members: Mutex::default(),
            standing: watch::Sender::new(Standing::Pending),
        }
    }

    pub(crate) fn subscribed(&self, present: Vec<Member>) {
        let mut members = self.members();
        members.clone_from(&present);
        let _ = self.updates.send(Update::Subscribed(present));
        drop(members);
        self.standing.send_replace(Standing::Subscribed);
    }

    pub(crate) fn joining(&self, member: Member) {
        let mut members = self.members();
        members.retain(|known| known.id != member.id);
        members.push(member.clone());
        let _ = self.updates.send(Update::Joining(member));
    }

    pub(crate) fn leaving(&self, id: &str) {
        let mut members = self.members();
        if let Some(at) = members.iter().position(|member| member.id == id) {
            let _ = self.updates.send(Update::Leaving(members.remove(at)));
        }
    }

    pub(crate) fn event(&self, event: Event) {
        let _ = self.updates.send(Update::Event(event));
    }

    pub(crate) fn refused(&self, error: Error) {
        let _ = self.updates.send(Update::Refused(error.clone()));
        self.standing.send_replace(Standing::Refused(error));
    }

    pub(crate) fn pending(&self) {
        self.standing.send_replace(Standing::Pending);
    }

    /// What comes from now on, and who is there until then.
    fn listen(&self) -> (broadcast::Receiver<Update>, Vec<Member>) {
        let members = self.members();
        (self.updates.subscribe(), members.clone())
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        // No step under this lock can leave a half-done one behind.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A channel that is heard. Cloning gives another handle, with updates of its own; after the last one is
/// dropped the channel is left.
///
/// ```no_run
/// use clarim_client::{Client, Options, Update};
///
/// # async fn run() -> Result<(), clarim_client::Error> {
/// let client = Client::connect(Options::new("my-key"))?;
/// let mut news = client.channel("news");
/// while let Some(update) = news.next().await {
///     match update {
///         Update::Subscribed(_) => println!("listening; what came before is to be fetched"),
///         Update::Event(event) => println!("{}: {}", event.name, event.json),
///         Update::Missed(count) => println!("{count} updates came too fast"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Channel {
    topic: Arc<Topic>,
    shared: Arc<Shared>,
    commands: Commands,
    updates: broadcast::Receiver<Update>,
    here: Vec<Member>,
}

impl Channel {
    pub(crate) fn new(name: &str, shared: Arc<Shared>, commands: Commands) -> Self {
        let topic = shared.want(name, &commands);
        let (updates, here) = topic.listen();
        Self { topic, shared, commands, updates, here }
    }

    /// Its whole name, with the prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.topic.name
    }

    /// Waits until the server has let the client in.
    ///
    /// # Errors
    /// When it has refused, when the application has, or when the client is gone.
    pub async fn subscribed(&self) -> Result<(), Error> {
        let mut standing = self.topic.standing.subscribe();
        let decided = standing.wait_for(|standing| !matches!(standing, Standing::Pending));
        tokio::select! {
            decided = decided => match decided.as_deref() {
                Ok(Standing::Refused(error)) => Err(error.clone()),
                Ok(_) => Ok(()),
                Err(_) => Err(Error::Dropped),
            },
            () = self.shared.gone() => Err(Error::Dropped),
        }
    }

    /// On presence channels: who was there after the last update that this handle has read.
    #[must_use]
    pub fn here(&self) -> &[Member] {
        &self.here
    }

    /// What happens next; `None` when the client has been dropped.
    pub async fn next(&mut self) -> Option<Update> {
        let received = tokio::select! {
            biased;
            received = self.updates.recv() => received,
            () = self.shared.gone() => return None,
        };
        match received {
            Ok(update) => {
                self.follow(&update);
                Some(update)
            }
            Err(RecvError::Lagged(count)) => {
                // What was lost may have been members: the list and what follows it are taken anew.
                let waiting = self.updates.len() as u64;
                (self.updates, self.here) = self.topic.listen();
                Some(Update::Missed(count + waiting))
            }
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event; other updates are passed over.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Update::Event(event) = self.next().await? {
                return Some(event);
            }
        }
    }

    /// Calls `hear` with the data of each event of this name, until what is returned is dropped. The name is
    /// as in Echo: one that begins with a dot or a backslash is whole, any other is below the namespace.
    ///
    /// ```no_run
    /// # use clarim_client::{Client, Options};
    /// #[derive(serde::Deserialize)]
    /// struct OrderShipped {
    ///     order: u64,
    /// }
    ///
    /// # let client = Client::connect(Options::new("my-key"))?;
    /// let orders = client.private("orders.7");
    /// let listening = orders.listen("OrderShipped", |shipped: OrderShipped| println!("{}", shipped.order));
    /// # Ok::<(), clarim_client::Error>(())
    /// ```
    pub fn listen<T, F>(&self, name: &str, mut hear: F) -> Listening
    where
        T: DeserializeOwned,
        F: FnMut(T) + Send + 'static,
    {
        let (mut channel, name) = (self.clone(), full_name(name, &self.shared.namespace));
        Listening(tokio::spawn(async move {
            while let Some(update) = channel.next().await {
                match update {
                    Update::Event(event) if event.name == name => match event.data() {
                        Ok(data) => hear(data),
                        Err(error) => tracing::warn!(channel = event.channel, %error, "not heard"),
                    },
                    Update::Missed(count) => {
                        tracing::warn!(channel = channel.name(), count, "updates came too fast");
                    }
                    _ => {}
                }
            }
        }))
    }

    /// Tells the other subscribers something, past the backend: a client event. They hear it as
    /// `client-{name}`, and only if the app allows it.
    ///
    /// # Errors
    /// When there is no connection, when too many wait, or when the data can't be serialized. A refusal of
    /// the server comes later, and is in the log.
    pub fn whisper(&self, name: &str, data: &impl Serialize) -> Result<(), Error> {
        let event = format!("client-{name}");
        let state = self.shared.state();
        if state != State::Connected
            || !matches!(*self.topic.standing.borrow(), Standing::Subscribed)
        {
            return Err(Error::NotConnected(state));
        }
        let data = serde_json::to_value(data)
            .map_err(|cause| Error::Data { event: event.clone(), cause: Arc::new(cause) })?;
        let message = json!({ "event": event, "channel": self.topic.name, "data": data });
        self.shared.send(message.to_string(), &self.commands)
    }

    fn follow(&mut self, update: &Update) {
        match update {
            Update::Subscribed(members) => self.here.clone_from(members),
            Update::Joining(member) => {
                self.here.retain(|known| known.id != member.id);
                self.here.push(member.clone());
            }
            Update::Leaving(member) => self.here.retain(|known| known.id != member.id),
            Update::Event(_) | Update::Refused(_) | Update::Missed(_) => {}
        }
    }
}

impl Clone for Channel {
    fn clone(&self) -> Self {
        Self::new(&self.topic.name, self.shared.clone(), self.commands.clone())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.unwant(&self.topic.name, &self.commands);
    }
}

/// Ends with what [`Channel::listen`] has begun when it is dropped.
#[derive(Debug)]
#[must_use = "it ends when this is dropped"]
pub struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// As Echo's event formatter does it.
fn full_name(name: &str, namespace: &str) -> String {
    if let Some(whole) = name.strip_prefix(['.', '\\']) {
        return whole.to_owned();
    }
    if namespace.is_empty() {
        return name.replace('.', "\\");
    }
    format!("{namespace}.{name}").replace('.', "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { id: id.to_owned(), info: Value::Null }
    }

    #[test]
    fn names_are_those_of_echo() {
        for (name, full) in [
            ("OrderShipped", "App\\Events\\OrderShipped"),
            ("Orders.Shipped", "App\\Events\\Orders\\Shipped"),
            (".order.shipped", "order.shipped"),
            ("\\Other\\Event", "Other\\Event"),
        ] {
            assert_eq!(full_name(name, "App\\Events"), full);
        }
        assert_eq!(full_name("OrderShipped", ""), "OrderShipped");
    }

    #[test]
    fn whoever_listens_gets_the_members_and_what_follows_without_a_gap() {
        let topic = Topic::new("presence-room".to_owned(), 8);
        topic.subscribed(vec![member("1")]);
        topic.joining(member("2"));
        let (mut updates, here) = topic.listen();
        assert_eq!(here, [member("1"), member("2")]);
        topic.leaving("1");
        topic.leaving("nobody");
        assert!(matches!(updates.try_recv(), Ok(Update::Leaving(gone)) if gone.id == "1"));
        assert!(updates.try_recv().is_err());
    }
}
