//! Channels that are being opened: the bus has to confirm the subscription and, on channels whose state nodes
//! synchronize, the other nodes have to send their state.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::message::State;
use crate::node_id::NodeId;
use crate::timing::PATIENCE;

/// Maximum number of channels whose replies are doubted at once, since each costs a query to all nodes.
const MAX_DOUBTS: usize = 64;

/// The channels of this node that are being opened, by a key `K`.
#[derive(Debug)]
pub struct Openings<K>(HashMap<K, Opening, foldhash::fast::RandomState>);

#[derive(Debug, Default)]
struct Opening {
    /// The number of nodes that received the request, if the bus counts receivers.
    counted: Option<usize>,
    /// The number of nodes that will reply, according to one of them. Needed because not every bus counts
    /// receivers.
    claimed: Option<usize>,
    /// The nodes whose state is known.
    replied: SmallVec<[NodeId; 4]>,
    /// Those of them that have received the request. The others subscribed after it, so the bus has not
    /// counted them.
    acknowledged: SmallVec<[NodeId; 4]>,
    /// When the bus's count is no longer trusted: not only nodes may be subscribed.
    doubted_at: Option<Duration>,
    /// When the channel opens regardless of replies.
    until: Duration,
    /// Whether the bus has confirmed the subscription, and the other nodes have sent their state.
    is_synchronized: bool,
    /// Whether the channel's history is still being read.
    is_loading: bool,
}

/// Whether the state that a node has sent replies to this node's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// It does not reply to this node's request. The node may have subscribed after it.
    Unasked,
    /// It replies, but the node does not know yet how many others do.
    Incomplete,
    /// It replies, and so many nodes do, this one included.
    Complete {
        /// The number of nodes.
        nodes: u32,
    },
}

impl Reply {
    /// Returns whether the state replies to the request of `node`.
    #[must_use]
    pub fn of(state: &State<'_>, node: NodeId) -> Self {
        match (state.answers.contains(&node), state.nodes) {
            (false, _) => Self::Unasked,
            (true, u32::MAX) => Self::Incomplete,
            (true, nodes) => Self::Complete { nodes },
        }
    }
}

impl<K> Default for Openings<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Clone + Eq + Hash> Openings<K> {
    /// Begins to open a channel, until `until` at the latest.
    pub fn begin(&mut self, channel: K, until: Duration) {
        self.0.insert(channel, Opening { until, ..Opening::default() });
    }

    /// Records that the channel also waits for its history.
    pub fn load(&mut self, channel: &K) {
        if let Some(opening) = self.0.get_mut(channel) {
            opening.is_loading = true;
        }
    }

    /// Records that the channel's history has been read. Returns whether the channel can be opened now; if
    /// so, it is removed.
    pub fn loaded(&mut self, channel: &K) -> bool {
        self.complete(channel, |opening| opening.is_loading = false)
    }

    /// Records that the bus has confirmed the subscription, and the other nodes have sent their state.
    /// Returns whether the channel can be opened now; if so, it is removed.
    pub fn synchronized(&mut self, channel: &K) -> bool {
        self.complete(channel, |opening| opening.is_synchronized = true)
    }

    fn complete(&mut self, channel: &K, complete: impl FnOnce(&mut Opening)) -> bool {
        let Some(opening) = self.0.get_mut(channel) else { return false };
        complete(opening);
        opening.is_synchronized && !opening.is_loading && self.remove(channel)
    }

    /// Whether the channel is being opened.
    #[must_use]
    pub fn is_opening(&self, channel: &K) -> bool {
        self.0.contains_key(channel)
    }

    /// Sets the number of nodes that received the request, if the bus counts receivers.
    pub fn set_counted(&mut self, channel: &K, counted: Option<usize>, now: Duration) {
        if let Some(opening) = self.0.get_mut(channel) {
            opening.counted = counted;
            opening.doubted_at = Some(now + PATIENCE);
        }
    }

    /// Takes some of the channels whose replies should have come by now, each once. From then on, as many
    /// replies are expected as nodes have claimed.
    pub fn take_doubted(&mut self, now: Duration) -> Vec<K> {
        let is_doubted = |at: &mut Duration| *at <= now;
        let doubted = self.0.iter_mut().filter_map(|(channel, opening)| {
            opening.doubted_at.take_if(is_doubted)?;
            opening.counted = None;
            Some(channel.clone())
        });
        doubted.take(MAX_DOUBTS).collect()
    }

    /// Whether no node has replied for a channel that is being opened.
    #[must_use]
    pub fn is_unanswered(&self, channel: &K) -> bool {
        self.0.get(channel).is_some_and(|opening| opening.replied.is_empty())
    }

    /// Records that a node has sent its state. Returns whether the channel is being opened.
    pub fn replied(&mut self, channel: &K, node: NodeId, reply: Reply) -> bool {
        let Some(opening) = self.0.get_mut(channel) else { return false };
        add(&mut opening.replied, node);
        if reply != Reply::Unasked {
            add(&mut opening.acknowledged, node);
        }
        if let Reply::Complete { nodes } = reply {
            opening.claimed = opening.claimed.max(Some(nodes as usize));
        }
        true
    }

    /// Whether all expected nodes have replied.
    #[must_use]
    pub fn is_ready(&self, channel: &K) -> bool {
        self.0.get(channel).is_some_and(|opening| {
            let has_all = |nodes: &[NodeId], expected| nodes.len() >= expected;
            match opening.counted {
                Some(counted) => has_all(&opening.acknowledged, counted),
                None => opening.claimed.is_some_and(|claimed| has_all(&opening.replied, claimed)),
            }
        })
    }

    /// Begins again to wait for the other nodes, until `until` at the latest. Returns the channels.
    pub fn restart(&mut self, until: Duration) -> Vec<K> {
        let restarted = self.0.iter_mut().filter(|(_, opening)| !opening.is_synchronized);
        restarted
            .map(|(channel, opening)| {
                let is_loading = opening.is_loading;
                *opening = Opening { until, is_loading, ..Opening::default() };
                channel.clone()
            })
            .collect()
    }

    /// Removes a channel. Returns whether it was being opened.
    pub fn remove(&mut self, channel: &K) -> bool {
        let was_opening = self.0.remove(channel).is_some();
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
        was_opening
    }

    /// Takes all channels.
    pub fn take_all(&mut self) -> Vec<K> {
        std::mem::take(&mut self.0).into_keys().collect()
    }

    /// Takes the channels that have waited long enough.
    pub fn take_due(&mut self, now: Duration) -> Vec<K> {
        self.0.extract_if(|_, opening| opening.until <= now).map(|(channel, _)| channel).collect()
    }

    /// Stops waiting for a node that has gone. Returns the channels that may have waited for it.
    pub fn remove_peer(&mut self, node: NodeId) -> Vec<K> {
        let is_missing = |opening: &Opening| !opening.acknowledged.contains(&node);
        let waiting = self.0.iter_mut().filter(|(_, opening)| is_missing(opening));
        waiting
            .map(|(channel, opening)| {
                opening.counted = opening.counted.map(|nodes| nodes.saturating_sub(1));
                if !opening.replied.contains(&node) {
                    opening.claimed = opening.claimed.map(|nodes| nodes.saturating_sub(1));
                }
                channel.clone()
            })
            .collect()
    }
}

fn add(nodes: &mut SmallVec<[NodeId; 4]>, node: NodeId) {
    if !nodes.contains(&node) {
        nodes.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;
    const UNTIL: Duration = Duration::from_secs(1);

    #[test]
    fn a_node_that_came_later_is_not_one_of_the_receivers() {
        let mut openings = Openings::default();
        openings.begin("a", UNTIL);
        openings.set_counted(&"a", Some(1), NOW);
        openings.replied(&"a", NodeId(2), Reply::Unasked);
        assert!(!openings.is_ready(&"a"), "the receiver has not sent its state");
        openings.replied(&"a", NodeId(1), Reply::Incomplete);
        assert!(openings.is_ready(&"a"));
    }

    #[test]
    fn without_a_count_a_node_that_knows_all_others_says_how_many_reply() {
        let mut openings = Openings::default();
        openings.begin("a", UNTIL);
        openings.replied(&"a", NodeId(1), Reply::Incomplete);
        assert!(!openings.is_ready(&"a"));
        openings.replied(&"a", NodeId(2), Reply::Complete { nodes: 3 });
        assert!(!openings.is_ready(&"a"));
        openings.replied(&"a", NodeId(3), Reply::Unasked);
        assert!(openings.is_ready(&"a"));
    }

    #[test]
    fn a_receiver_that_has_gone_is_not_waited_for() {
        let mut openings = Openings::default();
        openings.begin("a", UNTIL);
        openings.set_counted(&"a", Some(2), NOW);
        openings.replied(&"a", NodeId(1), Reply::Incomplete);
        assert!(!openings.is_ready(&"a"));
        assert_eq!(openings.remove_peer(NodeId(2)), ["a"]);
        assert!(openings.is_ready(&"a"));
    }
}
