//! Shadows: what a backup knows of a node that is alone on a channel.

use std::time::Duration;

use hashbrown::HashSet;

use super::parts::{Assembled, Parts};
use crate::message::{Change, ClusterMessage, State};
use crate::node_id::{Departure, NodeId};
use crate::snapshot::SavedShadow;
use crate::timing::REQUEST_AGAIN;

/// The users and the number of subscribers of a node on a channel that only this node has. Its backup keeps
/// them, to report to the app's backend who has left if the node dies. It is not subscribed to the channel.
#[derive(Debug)]
pub struct Shadow {
    /// The node.
    pub node: NodeId,
    /// How the node has gone, while the backup finds out who is on other nodes now.
    pub departure: Option<Departure>,
    /// The version of the state; `None` if a change was missed.
    number: Option<u64>,
    subscriptions: u32,
    users: HashSet<Box<str>, foldhash::fast::RandomState>,
    parts: Parts,
    /// When the node last confirmed that it has the channel.
    heard_at: Duration,
    requested_at: Option<Duration>,
}

impl Shadow {
    /// A shadow of a node whose state is not known yet.
    #[must_use]
    pub fn new(node: NodeId, now: Duration) -> Self {
        Self {
            node,
            departure: None,
            number: None,
            subscriptions: 0,
            users: HashSet::default(),
            parts: Parts::default(),
            heard_at: now,
            requested_at: None,
        }
    }

    /// Returns what a snapshot keeps of it.
    #[must_use]
    pub fn save(&self) -> SavedShadow {
        let mut users: Vec<String> = self.users.iter().map(|id| id.to_string()).collect();
        users.sort_unstable();
        SavedShadow {
            node: self.node,
            departure: self.departure,
            number: self.number,
            subscriptions: self.subscriptions,
            users,
            heard_at: self.heard_at.into(),
        }
    }

    /// Makes the shadow as it was saved. A long state that had not arrived completely is requested again.
    #[must_use]
    pub fn restored(saved: SavedShadow) -> Self {
        let SavedShadow { node, departure, number, subscriptions, users, heard_at } = saved;
        let users = users.into_iter().map(Into::into).collect();
        Self { departure, number, subscriptions, users, ..Self::new(node, heard_at.get()) }
    }

    /// Applies a message of the node. Returns whether its state is to be requested.
    pub fn apply(&mut self, message: &ClusterMessage<'_>, now: Duration) -> bool {
        self.heard(now);
        match message {
            ClusterMessage::SyncRequest(state) | ClusterMessage::State(state) => {
                self.apply_state(state, now)
            }
            ClusterMessage::StateChange { number, change } => {
                self.apply_change(*number, change, now)
            }
            _ => false,
        }
    }

    /// Compares the version of the node's state with the known version. Returns whether the state is to be
    /// requested.
    pub fn compare(&mut self, version: u64, now: Duration) -> bool {
        self.heard(now);
        self.number.is_none_or(|known| known < version) && self.request(now)
    }

    /// Whether nothing has come from the node since `since`.
    #[must_use]
    pub fn is_silent_since(&self, since: Duration) -> bool {
        self.heard_at < since && self.departure.is_none()
    }

    /// Returns the number of subscribers.
    #[must_use]
    pub fn subscriptions(&self) -> u32 {
        self.subscriptions
    }

    /// Takes the ids of the users.
    #[must_use]
    pub fn into_users(self) -> Vec<Box<str>> {
        self.users.into_iter().collect()
    }

    fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.departure = None;
    }

    fn apply_state(&mut self, state: &State<'_>, now: Duration) -> bool {
        match self.parts.add(state) {
            Assembled::Whole(members) => {
                self.number = Some(state.number);
                self.subscriptions = state.subscriptions;
                self.users = members.iter().map(|member| member.id.as_str().into()).collect();
                false
            }
            Assembled::Partial => false,
            Assembled::Broken => self.request(now),
        }
    }

    fn apply_change(&mut self, number: u64, change: &Change<'_>, now: Duration) -> bool {
        match self.number {
            Some(known) if known.wrapping_add(1) == number => self.number = Some(number),
            Some(known) if known >= number => return false,
            _ => return self.request(now),
        }
        match change {
            Change::Joined(data) => {
                let member = clarim_protocol::user::Member::parse(data);
                self.users.extend(member.map(|member| member.id.as_str().into()));
            }
            Change::Left(id) => {
                self.users.remove(*id);
                if self.users.len() < self.users.capacity() / 8 {
                    self.users.shrink_to_fit();
                }
            }
            Change::Subscriptions(count) => self.subscriptions = *count,
            Change::Online(_) => {}
        }
        false
    }

    /// Notes that a change was missed. Returns whether the state was not requested a moment ago.
    fn request(&mut self, now: Duration) -> bool {
        self.number = None;
        let is_due = self.requested_at.is_none_or(|at| now >= at + REQUEST_AGAIN);
        if is_due {
            self.requested_at = Some(now);
        }
        is_due
    }
}
