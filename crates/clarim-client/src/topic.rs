//! Channels as the driver sees them: their updates, members and subscription state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::error::Error;

/// A member of a presence channel.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Member {
    /// The user's id.
    pub id: String,
    /// Information about the user, from the application.
    pub info: Value,
}

/// A received event.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The channel's name, with its prefix.
    pub channel: String,
    /// The event's name on the wire: `App\Events\OrderShipped`, `client-typing`.
    pub name: String,
    /// The sender of a client event on a presence channel, as authenticated by the server.
    pub user_id: Option<String>,
    /// The event's data, as JSON.
    pub json: String,
}

impl Event {
    /// The event's data.
    ///
    /// # Errors
    /// Returns an error if the data has another type.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.json)
            .map_err(|source| Error::Data { event: self.name.clone(), source: Arc::new(source) })
    }
}

/// An update of a channel, in the channel's order.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Update {
    /// The server has accepted the subscription, for the first time or after a reconnection. From here on no
    /// event is missed until the connection breaks. Fetch the current state of the application now. On
    /// presence channels it contains all members, including this client.
    Subscribed(Vec<Member>),
    /// A member has joined.
    Joining(Member),
    /// A member has left.
    Leaving(Member),
    /// An event.
    Event(Event),
    /// The subscription was refused. It is tried again with the next connection, and after
    /// [`Error::Unavailable`] after a pause.
    Refused(Error),
    /// This number of updates was not read in time and is lost for this handle.
    Missed(u64),
}

/// The state of a subscription.
#[derive(Debug, Clone)]
pub(crate) enum SubscriptionState {
    Pending,
    Subscribed,
    Refused(Error),
}

/// A wanted channel, shared by all its handles.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    updates: broadcast::Sender<Update>,
    /// Members after the last update that was sent. The lock is held while an update is sent, so that a new
    /// handle gets both without a gap.
    members: Mutex<Vec<Member>>,
    pub(crate) state: watch::Sender<SubscriptionState>,
}

impl Topic {
    pub(crate) fn new(name: String, buffer: usize) -> Self {
        Self {
            name,
            updates: broadcast::Sender::new(buffer),
            members: Mutex::default(),
            state: watch::Sender::new(SubscriptionState::Pending),
        }
    }

    pub(crate) fn subscribed(&self, present: Vec<Member>) {
        let mut members = self.members();
        members.clone_from(&present);
        let _ = self.updates.send(Update::Subscribed(present));
        drop(members);
        self.state.send_replace(SubscriptionState::Subscribed);
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
        self.state.send_replace(SubscriptionState::Refused(error));
    }

    pub(crate) fn pending(&self) {
        self.state.send_replace(SubscriptionState::Pending);
    }

    /// A receiver for updates from now on, and the members until then.
    pub(crate) fn listen(&self) -> (broadcast::Receiver<Update>, Vec<Member>) {
        let members = self.members();
        (self.updates.subscribe(), members.clone())
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        // Every step under this lock leaves the list whole, so poisoning can be ignored.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str) -> Member {
        Member { id: id.to_owned(), info: Value::Null }
    }

    #[test]
    fn a_new_handle_gets_members_and_updates_without_a_gap() {
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
