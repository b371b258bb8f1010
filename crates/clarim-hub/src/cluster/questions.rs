//! What is asked of all nodes at once, and how a node answers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clarim_protocol::cluster::{ClusterMessage, NodeId, Query, QueryReply};
use clarim_protocol::user::UserId;
use clarim_protocol::{ChannelName, Frame};
use hashbrown::{HashMap, HashSet};

use super::{Cluster, Wire};
use crate::entry::{ChannelKey, Outputs};
use crate::node::Node;

/// Bytes of names in one part of a long answer: well below what any bus takes.
const PART_BYTES: usize = 256 << 10;

/// What the other nodes have answered.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Gathered {
    /// Of channels, by name: subscriptions, of all other nodes together, and users.
    pub channels: BTreeMap<String, (u64, u64)>,
    /// The last event of a cache channel, and for how long it is still kept.
    pub cached: Option<(Frame, Duration)>,
    /// Ids of users; some perhaps more than once.
    pub users: Vec<String>,
    /// Connections.
    pub connections: u64,
    /// Some node has not answered.
    pub is_partial: bool,
}

/// Takes what has been gathered.
pub type OnGathered = Box<dyn FnOnce(Gathered) + Send>;

#[derive(Debug, Default)]
pub(super) struct Questions {
    next: u64,
    open: HashMap<u64, Open, foldhash::fast::RandomState>,
}

/// A question that is not answered by all.
struct Open {
    silent: HashSet<NodeId, foldhash::fast::RandomState>,
    gathered: Gathered,
    until: Duration,
    then: OnGathered,
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").field("silent", &self.silent).field("until", &self.until).finish()
    }
}

impl Open {
    fn end(mut self) {
        self.gathered.is_partial |= !self.silent.is_empty();
        (self.then)(self.gathered);
    }
}

impl<P: Outputs> Cluster<P> {
    /// Asks all other nodes. `then` is called when they have answered, at the deadline, or when the bus is
    /// lost.
    pub fn ask(
        &mut self,
        (app, question): (&str, Query<'_>),
        now: Duration,
        wire: &mut impl Wire,
        then: OnGathered,
    ) {
        let (silent, gathered) = (self.peers.ids().collect(), Gathered::default());
        let until = now + self.settings.deadline;
        let open = Open { silent, gathered, until, then };
        if !self.state.is_up {
            let gathered = Gathered { is_partial: true, ..Gathered::default() };
            return (open.then)(gathered);
        }
        if open.silent.is_empty() {
            return open.end();
        }
        let ticket = self.questions.next;
        self.questions.next += 1;
        self.questions.open.insert(ticket, open);
        self.say_to_all(&ClusterMessage::Query { ticket, app, question }, wire);
    }
}

impl Questions {
    pub(super) fn answered(&mut self, from: NodeId, word: &ClusterMessage<'_>) {
        let ClusterMessage::Reply { ticket, more, answer } = word else { return };
        let Some(open) = self.open.get_mut(ticket) else { return };
        let gathered = &mut open.gathered;
        match answer {
            QueryReply::Channels(channels) => {
                for &(name, subscriptions, users) in channels {
                    let known = gathered.channels.entry(name.to_owned()).or_default();
                    known.0 += subscriptions;
                    // Each node knows all users of the presence channels that it has.
                    known.1 = known.1.max(users);
                }
            }
            QueryReply::Cached(payload, ttl) => {
                let ttl = Duration::from_millis(*ttl);
                gathered.cached = Some((Frame::text(payload), ttl));
            }
            QueryReply::Users(ids) => gathered.users.extend(ids.iter().map(|id| (*id).to_owned())),
            QueryReply::Connections(count) => gathered.connections += count,
            QueryReply::Done => {}
        }
        if !more {
            open.silent.remove(&from);
            self.end_if_answered(*ticket);
        }
    }

    /// A node that has gone will not answer.
    pub(super) fn lose(&mut self, node: NodeId) {
        let tickets: Vec<u64> = self.open.keys().copied().collect();
        for ticket in tickets {
            if let Some(open) = self.open.get_mut(&ticket) {
                open.silent.remove(&node);
            }
            self.end_if_answered(ticket);
        }
    }

    pub(super) fn end_due(&mut self, now: Duration) {
        self.open.extract_if(|_, open| open.until <= now).for_each(|(_, open)| open.end());
    }

    pub(super) fn give_up(&mut self) {
        std::mem::take(&mut self.open).into_values().for_each(Open::end);
    }

    fn end_if_answered(&mut self, ticket: u64) {
        if self.open.get(&ticket).is_some_and(|open| open.silent.is_empty())
            && let Some(open) = self.open.remove(&ticket)
        {
            open.end();
        }
    }
}

/// Answers a question of another node, in as many parts as it needs.
pub(super) fn answer<P: Outputs>(
    node: &Node<P>,
    (app, question): (&str, &Query<'_>),
    now: Duration,
    mut say: impl FnMut(QueryReply<'_>, bool),
) {
    let Some(app) = node.apps().find_by_id(app) else { return say(QueryReply::Done, false) };
    let key =
        |name: &str| ChannelName::parse(name, usize::MAX).ok().map(|name| ChannelKey { app, name });
    match question {
        Query::Channels(prefix) => {
            let channels = node.channels(app, prefix);
            let channels = channels.iter().map(|(name, state)| {
                (name.as_str(), state.subscriptions as u64, state.users as u64)
            });
            in_parts(channels, |(name, ..)| name.len(), QueryReply::Channels, say);
        }
        Query::Channel(name) => {
            let state = key(name).map(|key| node.channel(&key, now)).unwrap_or_default();
            let known = (&**name, state.subscriptions as u64, state.users as u64);
            say(QueryReply::Channels(vec![known]), state.cached.is_some());
            if let Some((frame, ttl)) = state.cached {
                let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                say(QueryReply::Cached(frame.payload().into(), ttl), false);
            }
        }
        Query::Users(name) => {
            let users = key(name).map(|key| node.users(&key)).unwrap_or_default();
            in_parts(users.iter().map(UserId::as_str), |id| id.len(), QueryReply::Users, say);
        }
        Query::Connections => {
            say(QueryReply::Connections(u64::from(node.apps().connections(app))), false);
        }
        Query::Terminate(user) => {
            node.terminate(app, user, None);
            say(QueryReply::Done, false);
        }
    }
}

fn in_parts<'a, T>(
    items: impl Iterator<Item = T>,
    bytes: impl Fn(&T) -> usize,
    answer: impl Fn(Vec<T>) -> QueryReply<'a>,
    mut say: impl FnMut(QueryReply<'a>, bool),
) {
    let (mut part, mut size) = (Vec::new(), 0);
    for item in items {
        if size > PART_BYTES {
            size = 0;
            say(answer(std::mem::take(&mut part)), true);
        }
        size += bytes(&item) + 16;
        part.push(item);
    }
    say(answer(part), false);
}
