//! The first synchronization of a node: until it knows the other nodes, it cannot know who else is on a
//! channel.

use std::time::Duration;

/// A node that joins its cluster.
#[derive(Debug)]
pub struct Joining {
    /// Time at which the node begins to serve, even if it does not know all others.
    until: Duration,
    /// The ticket of the node's first heartbeat.
    hello: Option<u64>,
    /// The number of other nodes that received the first heartbeat, if the bus counts receivers.
    counted: Option<usize>,
    /// The number of other nodes, according to one of them.
    claimed: Option<usize>,
}

impl Joining {
    /// Begins to join, until `until` at the latest.
    #[must_use]
    pub fn new(until: Duration) -> Self {
        Self { until, hello: None, counted: None, claimed: None }
    }

    /// Records that the heartbeat with this ticket was sent.
    pub fn sent(&mut self, ticket: u64) {
        self.hello.get_or_insert(ticket);
    }

    /// Records the number of nodes that received a message, this node included, if the bus counts them.
    pub fn published(&mut self, ticket: u64, receivers: Option<u32>) {
        if self.hello == Some(ticket) {
            self.counted = receivers.map(|n| n.saturating_sub(1) as usize);
        }
    }

    /// Records the number of other nodes that a node knows which has joined. The latest number is the right
    /// one: a dead node counts until its lease ends.
    pub fn claimed(&mut self, nodes: Option<u32>) {
        self.claimed = nodes.map(|nodes| nodes as usize).or(self.claimed);
    }

    /// Whether the node has joined: it knows all other nodes, or has waited long enough. `peers` is the
    /// number of other nodes that it knows.
    #[must_use]
    pub fn is_over(&self, peers: usize, now: Duration) -> bool {
        // Not everything that receives a message is a node, and not every bus counts.
        let is_complete = |expected: Option<usize>| expected.is_some_and(|nodes| peers >= nodes);
        now >= self.until || is_complete(self.counted) || is_complete(self.claimed)
    }
}
