//! A channel's handle.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinHandle;

use crate::error::Error;
use crate::shared::{Command, Commands, Shared};
use crate::state::State;
use crate::topic::{Event, Feed, GapReason, Member, Position, Posted, SubscriptionState, Update};

/// A handle of a subscribed channel. A clone is another handle with its own updates. When the last handle is
/// dropped, the client unsubscribes.
///
/// ```no_run
/// use clarim_client::{Client, Options, Update};
///
/// # async fn run() -> Result<(), clarim_client::Error> {
/// let client = Client::connect(Options::new("my-key"))?;
/// let mut news = client.channel("news");
/// while let Some(update) = news.next().await {
///     match update {
///         Update::Event(event) => println!("{}: {}", event.name, event.json),
///         Update::Gap { reason, .. } => println!("events were missed ({reason}); fetch the current state"),
///         Update::Missed(count) => println!("{count} updates were lost"),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Channel {
    feed: Feed,
    shared: Arc<Shared>,
    commands: Commands,
}

impl Channel {
    pub(crate) fn new(feed: Feed, shared: Arc<Shared>, commands: Commands) -> Self {
        Self { feed, shared, commands }
    }

    /// The channel's name, with its prefix.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.feed.topic.name
    }

    /// Waits until the server has accepted the subscription.
    ///
    /// # Errors
    /// Returns an error if the server or the application refuses it, if there is no connection (as
    /// [`Client::connected`](crate::Client::connected)), if the server does not answer, or if the client has
    /// been dropped. Without a connection, the client subscribes when it is connected.
    pub async fn subscribed(&self) -> Result<(), Error> {
        // Earlier commands must take effect first, such as a reconnection.
        self.commands.flush().await?;
        let mut state = self.feed.topic.state.subscribe();
        let decided = state.wait_for(|state| !matches!(state, SubscriptionState::Pending));
        tokio::select! {
            biased;
            decided = decided => match decided.as_deref() {
                Ok(SubscriptionState::Refused(error)) => Err(error.clone()),
                Ok(_) => Ok(()),
                Err(_) => Err(Error::Dropped),
            },
            error = self.shared.no_answer(self.name()) => Err(error),
        }
    }

    /// Subscribes again after a refusal, for example when the user has got access. Subscriptions that failed
    /// with [`Error::Unavailable`] are retried automatically.
    pub fn retry(&self) {
        // Without a client there is nothing to retry.
        let _ = self.commands.send(Command::Retry(self.name().to_owned()));
    }

    /// Members of a presence channel, after the last update that this handle has read.
    #[must_use]
    pub fn here(&self) -> &[Member] {
        &self.feed.here
    }

    /// The position in the channel's history after the last update that this handle has read. `None` on
    /// channels without history. After [`Update::Missed`], it is also after the lost updates.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        self.feed.position.as_ref()
    }

    /// Waits for the next update. Returns `None` when the client has been dropped.
    pub async fn next(&mut self) -> Option<Update> {
        let received = tokio::select! {
            biased;
            received = self.feed.updates.recv() => received,
            () = self.shared.gone() => return None,
        };
        match received {
            Ok(Posted { update, position }) => {
                self.feed.position = position;
                self.follow(&update);
                Some(update)
            }
            Err(RecvError::Lagged(count)) => {
                // Lost updates may have changed the members, so the list is read again.
                let waiting = self.feed.updates.len() as u64;
                self.feed = self.feed.topic.listen();
                Some(Update::Missed(count + waiting))
            }
            Err(RecvError::Closed) => None,
        }
    }

    /// Waits for the next event, and skips other updates.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            if let Update::Event(event) = self.next().await? {
                return Some(event);
            }
        }
    }

    /// Calls `callback` with the data of each event of this name, until the returned value is dropped. As in
    /// Echo, a name that begins with a dot or a backslash is complete, and any other is in the namespace.
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
    pub fn listen<T, F>(&self, name: &str, mut callback: F) -> Listening
    where
        T: DeserializeOwned,
        F: FnMut(T) + Send + 'static,
    {
        let name = full_name(name, &self.shared.namespace);
        self.for_each(move |update| match update {
            Update::Event(event) if event.name == name => match event.data() {
                Ok(data) => callback(data),
                Err(error) => tracing::warn!(channel = event.channel, %error, "event ignored"),
            },
            _ => {}
        })
    }

    /// Calls `callback` when events were missed and are not replayed, until the returned value is dropped.
    /// Fetch the current state of the application then.
    pub fn on_gap(&self, mut callback: impl FnMut(GapReason) + Send + 'static) -> Listening {
        self.for_each(move |update| {
            if let Update::Gap { reason } = update {
                callback(reason);
            }
        })
    }

    fn for_each(&self, mut callback: impl FnMut(Update) + Send + 'static) -> Listening {
        let mut channel = self.clone();
        Listening(tokio::spawn(async move {
            while let Some(update) = channel.next().await {
                if let Update::Missed(count) = update {
                    let channel = channel.name();
                    tracing::warn!(channel, count, "updates lost: the listener is too slow");
                }
                callback(update);
            }
        }))
    }

    /// Sends a client event to the other subscribers, as `client-{name}`, if the app allows client events.
    ///
    /// # Errors
    /// Returns an error if the channel is not subscribed, too many messages wait, or the data can't be
    /// serialized. A later refusal by the server is logged.
    pub fn whisper(&self, name: &str, data: &impl Serialize) -> Result<(), Error> {
        let event = format!("client-{name}");
        if self.shared.state() != State::Connected {
            return Err(self.shared.no_connection());
        }
        if !self.feed.topic.is_subscribed() {
            return Err(Error::NotSubscribed { channel: self.name().to_owned() });
        }
        let data = serde_json::to_value(data)
            .map_err(|source| Error::Data { event: event.clone(), source: Arc::new(source) })?;
        let message = json!({ "event": event, "channel": self.feed.topic.name, "data": data });
        self.shared.send(message.to_string(), &self.commands)
    }

    fn follow(&mut self, update: &Update) {
        let here = &mut self.feed.here;
        match update {
            Update::Subscribed(members) => here.clone_from(members),
            Update::Joining(member) => {
                here.retain(|known| known.id != member.id);
                here.push(member.clone());
            }
            Update::Leaving(member) => here.retain(|known| known.id != member.id),
            Update::Event(_) | Update::Gap { .. } | Update::Refused(_) | Update::Missed(_) => {}
        }
    }
}

impl Clone for Channel {
    fn clone(&self) -> Self {
        let feed = self.shared.want(self.name(), &self.commands);
        Self::new(feed, self.shared.clone(), self.commands.clone())
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.shared.unwant(self.name(), &self.commands);
    }
}

/// A listener from [`Channel::listen`] or [`Channel::on_gap`]. Dropping it ends the listener.
#[derive(Debug)]
#[must_use = "the listener ends when this is dropped"]
pub struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The name on the wire, as formatted by Echo.
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

    #[test]
    fn names_are_formatted_like_by_echo() {
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
}
