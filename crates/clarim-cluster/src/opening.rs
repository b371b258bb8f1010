//! Channels that are being opened: the bus has to confirm the subscription and, on channels whose state nodes
//! synchronize, the other nodes have to send their state.

use std::hash::Hash;
use std::time::Duration;

use hashbrown::HashMap;
use smallvec::SmallVec;

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
    replied: SmallVec<[NodeId; 4]>,
    /// When the bus's count is no longer trusted: not only nodes may be subscribed.
    doubted_at: Option<Duration>,
    /// When the channel opens regardless of replies.
    until: Duration,
    /// Whether the bus has confirmed the subscription, and the other nodes have sent their state.
    is_synchronized: bool,
    /// Whether the channel's history is still being read.
    is_loading: bool,
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

    /// Records a node's reply. `claimed` is the number of replies that it expects. Returns whether the
    /// channel is being opened.
    pub fn replied(&mut self, channel: &K, node: NodeId, claimed: Option<u32>) -> bool {
        let Some(opening) = self.0.get_mut(channel) else { return false };
        if !opening.replied.contains(&node) {
            opening.replied.push(node);
        }
        opening.claimed = opening.claimed.max(claimed.map(|nodes| nodes as usize));
        true
    }

    /// Whether all expected nodes have replied.
    #[must_use]
    pub fn is_ready(&self, channel: &K) -> bool {
        self.0.get(channel).is_some_and(|opening| {
            let expected = opening.counted.or(opening.claimed);
            expected.is_some_and(|expected| opening.replied.len() >= expected)
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
        let waiting = self.0.iter_mut().filter(|(_, opening)| !opening.replied.contains(&node));
        waiting
            .map(|(channel, opening)| {
                for expected in [&mut opening.counted, &mut opening.claimed] {
                    *expected = expected.map(|nodes| nodes.saturating_sub(1));
                }
                channel.clone()
            })
            .collect()
    }
}
