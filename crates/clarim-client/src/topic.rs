//! Channels as the driver sees them: their updates, members and subscription state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use crate::error::Error;

mod recovery;

use recovery::{Arrival, Recovery};
pub(crate) use recovery::{Gap, Since, Start};
pub use recovery::{GapReason, Position};

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
    /// event is missed until the connection breaks. On presence channels it contains all members, including
    /// this client. After the first one, fetch the current state of the application. After a reconnection,
    /// missed events follow, or [`Gap`](Self::Gap).
    Subscribed(Vec<Member>),
    /// A member has joined.
    Joining(Member),
    /// A member has left.
    Leaving(Member),
    /// An event.
    Event(Event),
    /// Events were missed and are not replayed. Fetch the current state of the application. Later events
    /// follow.
    #[non_exhaustive]
    Gap {
        /// Why they are not replayed.
        reason: GapReason,
    },
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

/// An update, with the position after it.
#[derive(Debug, Clone)]
pub(crate) struct Posted {
    pub(crate) update: Update,
    pub(crate) position: Option<Position>,
}

/// What a handle follows: updates from now on, and the channel's members and position until then.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) topic: Arc<Topic>,
    pub(crate) updates: broadcast::Receiver<Posted>,
    pub(crate) here: Vec<Member>,
    pub(crate) position: Option<Position>,
}

/// A wanted channel, shared by all its handles.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    updates: broadcast::Sender<Posted>,
    /// The channel after the last update that was sent. The lock is held while an update is sent, so that a
    /// new handle gets both without a gap.
    latest: Mutex<Latest>,
    pub(crate) state: watch::Sender<SubscriptionState>,
}

#[derive(Debug)]
struct Latest {
    members: Vec<Member>,
    recovery: Recovery,
}

impl Topic {
    /// A channel whose subscription starts at `since`, or with the next event.
    pub(crate) fn new(name: String, buffer: usize, since: Option<Position>) -> Self {
        Self {
            name,
            updates: broadcast::Sender::new(buffer),
            latest: Mutex::new(Latest { members: Vec::new(), recovery: Recovery::since(since) }),
            state: watch::Sender::new(SubscriptionState::Pending),
        }
    }

    /// The position that the next subscription names.
    pub(crate) fn since(&self) -> Option<Since> {
        self.latest().recovery.named()
    }

    pub(crate) fn subscribed(
        &self,
        present: Vec<Member>,
        start: Option<Start>,
        socket_id: Option<String>,
    ) {
        let mut latest = self.latest();
        latest.members.clone_from(&present);
        let gap = latest.recovery.started(start, socket_id);
        // Before the update: its reader may whisper.
        self.state.send_replace(SubscriptionState::Subscribed);
        self.post(&latest, Update::Subscribed(present));
        if let Some(reason) = gap {
            self.post(&latest, Update::Gap { reason });
        }
    }

    pub(crate) fn gap(&self, Gap { reason, position }: Gap, socket_id: Option<String>) {
        let mut latest = self.latest();
        latest.recovery.gap(position, socket_id);
        self.post(&latest, Update::Gap { reason });
    }

    pub(crate) fn joining(&self, member: Member) {
        let mut latest = self.latest();
        latest.members.retain(|known| known.id != member.id);
        latest.members.push(member.clone());
        self.post(&latest, Update::Joining(member));
    }

    pub(crate) fn leaving(&self, id: &str) {
        let mut latest = self.latest();
        if let Some(at) = latest.members.iter().position(|member| member.id == id) {
            let member = latest.members.remove(at);
            self.post(&latest, Update::Leaving(member));
        }
    }

    /// Counts an event on a channel with history. Returns whether it is new.
    pub(crate) fn is_new(&self, offset: u64) -> bool {
        let mut latest = self.latest();
        let arrival = latest.recovery.take(offset);
        if arrival == Arrival::AfterGap {
            self.post(&latest, Update::Gap { reason: GapReason::Unknown });
        }
        arrival != Arrival::Duplicate
    }

    pub(crate) fn event(&self, event: Event) {
        self.post(&self.latest(), Update::Event(event));
    }

    pub(crate) fn refused(&self, error: Error) {
        let latest = self.latest();
        self.state.send_replace(SubscriptionState::Refused(error.clone()));
        self.post(&latest, Update::Refused(error));
    }

    pub(crate) fn is_subscribed(&self) -> bool {
        matches!(*self.state.borrow(), SubscriptionState::Subscribed)
    }

    /// Makes a refused subscription pending, to be tried again. Returns whether it was refused.
    pub(crate) fn retry(&self) -> bool {
        self.state.send_if_modified(|state| {
            let was_refused = matches!(state, SubscriptionState::Refused(_));
            if was_refused {
                *state = SubscriptionState::Pending;
            }
            was_refused
        })
    }

    /// The connection was lost.
    pub(crate) fn pending(&self) {
        self.latest().recovery.interrupted();
        self.state.send_replace(SubscriptionState::Pending);
    }

    /// A feed for a new handle.
    pub(crate) fn listen(self: &Arc<Self>) -> Feed {
        let latest = self.latest();
        Feed {
            topic: self.clone(),
            updates: self.updates.subscribe(),
            here: latest.members.clone(),
            position: latest.recovery.position().cloned(),
        }
    }

    fn post(&self, latest: &Latest, update: Update) {
        // Without handles, nobody needs it.
        let _ = self.updates.send(Posted { update, position: latest.recovery.position().cloned() });
    }

    fn latest(&self) -> MutexGuard<'_, Latest> {
        // Every step under this lock leaves the state whole, so poisoning can be ignored.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
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
        let topic = Arc::new(Topic::new("presence-room".to_owned(), 8, None));
        let start = Start { position: Position::new("a", 7), recovered: false };
        topic.subscribed(vec![member("1")], Some(start), None);
        topic.joining(member("2"));
        let Feed { mut updates, here, position, .. } = topic.listen();
        assert_eq!(here, [member("1"), member("2")]);
        assert_eq!(position, Some(Position::new("a", 7)));
        topic.leaving("1");
        topic.leaving("nobody");
        let update = updates.try_recv().map(|posted| posted.update);
        assert!(matches!(update, Ok(Update::Leaving(gone)) if gone.id == "1"));
        assert!(updates.try_recv().is_err());
    }
}
