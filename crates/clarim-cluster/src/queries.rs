//! Queries to all nodes, and the replies that have come.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use clarim_protocol::Frame;
use hashbrown::{HashMap, HashSet};

use crate::message::{ClusterMessage, QueryReply};
use crate::node_id::NodeId;

/// The replies of the other nodes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Gathered {
    /// Channels by name.
    pub channels: BTreeMap<String, ChannelCounts>,
    /// The last event of a cache channel, and the time until it expires.
    pub cached: Option<(Frame, Duration)>,
    /// Ids of users, possibly with duplicates.
    pub users: Vec<String>,
    /// Number of connections.
    pub connections: u64,
    /// Whether the reply of some node is missing, or a part of it.
    pub is_partial: bool,
}

impl Gathered {
    /// Whether all nodes have replied that they have nothing on the channels asked for.
    #[must_use]
    pub fn is_vacant(&self) -> bool {
        let is_empty = |counts: &ChannelCounts| counts.subscriptions == 0 && counts.users == 0;
        !self.is_partial && self.cached.is_none() && self.channels.values().all(is_empty)
    }
}

/// The subscriptions and users of a channel.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ChannelCounts {
    /// Subscriptions on all other nodes together.
    pub subscriptions: u64,
    /// Users, on presence channels.
    pub users: u64,
}

/// Receives the replies.
pub type OnGathered = Box<dyn FnOnce(Gathered) + Send>;

/// A set of other nodes.
pub type PeerSet = HashSet<NodeId, foldhash::fast::RandomState>;

/// The queries of this node that wait for replies.
#[derive(Debug, Default)]
pub struct Queries {
    next_ticket: u64,
    open: HashMap<u64, OpenQuery, foldhash::fast::RandomState>,
}

struct OpenQuery {
    /// The nodes that have not replied yet, and how many parts of their replies have arrived.
    silent: HashMap<NodeId, u32, foldhash::fast::RandomState>,
    gathered: Gathered,
    until: Duration,
    then: OnGathered,
}

impl fmt::Debug for OpenQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silent, until, .. } = self;
        f.debug_struct("OpenQuery").field("silent", silent).field("until", until).finish()
    }
}

impl OpenQuery {
    fn end(mut self) {
        self.gathered.is_partial |= !self.silent.is_empty();
        (self.then)(self.gathered);
    }
}

impl Queries {
    /// Makes queries whose tickets go on behind a number of earlier ones. Replies to those may still come.
    #[must_use]
    pub fn after(count: u64) -> Self {
        Self { next_ticket: count, ..Self::default() }
    }

    /// Returns the number of queries so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.next_ticket
    }

    /// Begins a query to `nodes`. Returns its ticket; `None` if there are none, and so it has ended.
    pub fn begin(&mut self, nodes: PeerSet, until: Duration, then: OnGathered) -> Option<u64> {
        let silent = nodes.into_iter().map(|node| (node, 0)).collect();
        let query = OpenQuery { silent, gathered: Gathered::default(), until, then };
        if query.silent.is_empty() {
            query.end();
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.open.insert(ticket, query);
        Some(ticket)
    }

    /// Adds a reply.
    pub fn replied(&mut self, from: NodeId, message: &ClusterMessage<'_>) {
        let ClusterMessage::Reply { ticket, more, answer, index } = message else { return };
        let Some(query) = self.open.get_mut(ticket) else { return };
        let Some(arrived) = query.silent.get_mut(&from) else { return };
        let gathered = &mut query.gathered;
        gathered.is_partial |= index.is_some_and(|index| index != *arrived);
        *arrived += 1;
        match answer {
            QueryReply::Channels(channels) => {
                for &(name, subscriptions, users) in channels {
                    let counts = gathered.channels.entry(name.to_owned()).or_default();
                    counts.subscriptions += subscriptions;
                    // Each node knows all users of the presence channels that it has.
                    counts.users = counts.users.max(users);
                }
            }
            QueryReply::Cached(payload, ttl) => {
                let ttl = Duration::from_millis(*ttl);
                // Of two events, the later one expires later.
                if gathered.cached.as_ref().is_none_or(|(_, other)| *other < ttl) {
                    gathered.cached = Some((Frame::text(payload), ttl));
                }
            }
            QueryReply::Users(ids) => gathered.users.extend(ids.iter().map(|id| (*id).to_owned())),
            QueryReply::Connections(count) => gathered.connections += count,
            QueryReply::Done => {}
        }
        if !more {
            query.silent.remove(&from);
            self.end_if_complete(*ticket);
        }
    }

    /// Stops waiting for a node that has gone.
    pub fn remove_peer(&mut self, node: NodeId) {
        let tickets: Vec<u64> = self.open.keys().copied().collect();
        for ticket in tickets {
            if let Some(query) = self.open.get_mut(&ticket) {
                query.silent.remove(&node);
            }
            self.end_if_complete(ticket);
        }
    }

    /// Ends the queries whose deadline has passed.
    pub fn end_due(&mut self, now: Duration) {
        self.open.extract_if(|_, query| query.until <= now).for_each(|(_, query)| query.end());
    }

    /// Ends all queries with the replies that have come.
    pub fn end_all(&mut self) {
        std::mem::take(&mut self.open).into_values().for_each(OpenQuery::end);
    }

    fn end_if_complete(&mut self, ticket: u64) {
        if self.open.get(&ticket).is_some_and(|query| query.silent.is_empty())
            && let Some(query) = self.open.remove(&ticket)
        {
            query.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_reply_without_one_of_its_parts_is_partial() {
        for (indexes, is_partial) in [
            (&[Some(0), Some(1), Some(2)][..], false),
            (&[Some(0), Some(2)], true),
            (&[None, None], false),
        ] {
            let mut queries = Queries::default();
            let result = Arc::<Mutex<Option<Gathered>>>::default();
            let gathered = result.clone();
            let then = Box::new(move |it| *gathered.lock().unwrap() = Some(it));
            let nodes = PeerSet::from_iter([NodeId(1)]);
            let ticket = queries.begin(nodes, Duration::MAX, then).unwrap();
            for (n, &index) in indexes.iter().enumerate() {
                let more = n + 1 < indexes.len();
                let answer = QueryReply::Users(vec!["ana"]);
                queries.replied(NodeId(1), &ClusterMessage::Reply { ticket, more, answer, index });
            }
            let gathered = result.lock().unwrap().take().unwrap();
            assert_eq!((gathered.users.len(), gathered.is_partial), (indexes.len(), is_partial));
        }
    }
}
