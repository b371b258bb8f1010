//! Channels that are being opened: the bus has to confirm the subscription and, on channels whose state nodes
//! synchronize, the other nodes have to send their state.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_cluster::timing::PATIENCE;
use clarim_cluster::{Gathered, NodeId, OnGathered, State};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::address::ChannelKey;
use crate::cluster::channel_sync::{self, backups};
use crate::node::Node;
use crate::outputs::OutputSink;

/// Maximum number of channels whose replies are doubted at once, since each costs a query to all nodes.
const MAX_DOUBTS: usize = 64;

/// The channels that wait for the bus and the other nodes.
#[derive(Debug)]
pub(in crate::cluster) struct Openings<S> {
    node: Arc<Node<S>>,
    /// Timeout for replies from other nodes.
    deadline: Duration,
    waiting: HashMap<ChannelKey, Opening, foldhash::fast::RandomState>,
    /// Whether a node that may have some of them is without the bus for a moment. No channel opens that
    /// waits for the others.
    is_held: bool,
    /// Waiting channels that no other node has.
    vacant: Arc<Mutex<Vec<ChannelKey>>>,
}

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

impl Opening {
    /// Records that a node has sent its state. `is_asked`: the state replies to this node's request. If not,
    /// the node may have subscribed after it.
    fn replied(&mut self, node: NodeId, nodes: u32, is_asked: bool) {
        add(&mut self.replied, node);
        if is_asked {
            add(&mut self.acknowledged, node);
            // A node that is opening the channel itself does not know how many others reply.
            let claimed = (nodes != u32::MAX).then_some(nodes as usize);
            self.claimed = self.claimed.max(claimed);
        }
    }

    /// Stops waiting for a node that has gone. Returns whether it may have been waited for.
    fn remove_peer(&mut self, node: NodeId) -> bool {
        if self.acknowledged.contains(&node) {
            return false;
        }
        self.counted = self.counted.map(|nodes| nodes.saturating_sub(1));
        if !self.replied.contains(&node) {
            self.claimed = self.claimed.map(|nodes| nodes.saturating_sub(1));
        }
        true
    }

    /// Whether all expected nodes have replied.
    fn is_ready(&self) -> bool {
        match self.counted {
            Some(counted) => self.acknowledged.len() >= counted,
            None => self.claimed.is_some_and(|claimed| self.replied.len() >= claimed),
        }
    }
}

fn add(nodes: &mut SmallVec<[NodeId; 4]>, node: NodeId) {
    if !nodes.contains(&node) {
        nodes.push(node);
    }
}

/// A question to all nodes: whether they have the channel.
pub(in crate::cluster) struct Doubt {
    pub(in crate::cluster) channel: ChannelKey,
    pub(in crate::cluster) then: OnGathered,
}

impl<S: OutputSink> Openings<S> {
    pub(in crate::cluster) fn new(node: Arc<Node<S>>, deadline: Duration) -> Self {
        let waiting = HashMap::default();
        Self { node, deadline, waiting, is_held: false, vacant: Arc::default() }
    }

    /// Begins to open a channel. `has_log`: it waits for its history, too.
    pub(in crate::cluster) fn begin(&mut self, channel: &ChannelKey, has_log: bool, now: Duration) {
        let until = now + self.deadline;
        let opening = Opening { until, is_loading: has_log, ..Opening::default() };
        self.waiting.insert(channel.clone(), opening);
    }

    pub(in crate::cluster) fn is_opening(&self, channel: &ChannelKey) -> bool {
        self.waiting.contains_key(channel)
    }

    /// Handles the bus's confirmation that this node is subscribed; `is_first`: nobody else was before.
    pub(in crate::cluster) fn subscribed(
        &mut self,
        channel: &ChannelKey,
        is_first: bool,
        now: Duration,
    ) {
        // Necessary even if nobody was subscribed before: two nodes may have subscribed at the same time.
        if self.is_opening(channel)
            && self.request_states(channel, now)
            && is_first
            && !self.is_held
        {
            self.open(channel, now);
        }
    }

    /// Requests the states of the other nodes on a channel. Opens it if nodes do not synchronize its state,
    /// and returns whether they do.
    fn request_states(&mut self, channel: &ChannelKey, now: Duration) -> bool {
        let is_shared = channel_sync::is_shared(channel, self.node.app(channel.app));
        if is_shared {
            self.node.step(channel, now, |shard, step| {
                let found = shard.channels.get_mut(channel);
                found.into_iter().for_each(|found| found.publish_state(channel, true, step));
            });
        } else {
            self.open(channel, now);
        }
        is_shared
    }

    /// Forgets a channel that is closed or open.
    pub(in crate::cluster) fn remove(&mut self, channel: &ChannelKey) {
        self.waiting.remove(channel);
        if self.waiting.len() < self.waiting.capacity() / 8 {
            self.waiting.shrink_to_fit();
        }
    }

    /// Opens a channel whose history has been read, unless it waits for something else.
    pub(in crate::cluster) fn loaded(&mut self, channel: &ChannelKey, now: Duration) {
        self.complete(channel, now, |opening| opening.is_loading = false);
    }

    /// Opens a channel that waits for no node any more, unless it waits for its history.
    fn open(&mut self, channel: &ChannelKey, now: Duration) {
        self.complete(channel, now, |opening| opening.is_synchronized = true);
    }

    fn complete(
        &mut self,
        channel: &ChannelKey,
        now: Duration,
        complete: impl FnOnce(&mut Opening),
    ) {
        let Some(opening) = self.waiting.get_mut(channel) else { return };
        complete(opening);
        if opening.is_synchronized && !opening.is_loading {
            self.remove(channel);
            self.node.step(channel, now, |shard, step| {
                shard.open(channel, step);
                backups::report_departed(shard, channel, step);
            });
        }
    }

    /// Opens a channel without the bus.
    pub(in crate::cluster) fn open_without_bus(&self, channel: &ChannelKey, now: Duration) {
        self.node.step(channel, now, |shard, step| {
            // It is not known who is elsewhere, so nobody is reported.
            shard.shadows.take_departed(channel);
            shard.open(channel, step);
        });
    }

    /// Opens all channels, because the bus was lost.
    pub(in crate::cluster) fn open_all(&mut self, now: Duration) {
        for (channel, _) in std::mem::take(&mut self.waiting) {
            self.open_without_bus(&channel, now);
        }
    }

    /// Opens no channel that waits for other nodes, until [`release`](Self::release).
    pub(in crate::cluster) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Opens channels again. The other nodes are asked again for their states.
    pub(in crate::cluster) fn release(&mut self, now: Duration) {
        if !std::mem::take(&mut self.is_held) {
            return;
        }
        let waiting = self.waiting.iter().filter(|(_, opening)| !opening.is_synchronized);
        let waiting = waiting.map(|(channel, opening)| (channel.clone(), opening.is_loading));
        for (channel, is_loading) in waiting.collect::<Vec<_>>() {
            self.begin(&channel, is_loading, now);
            self.request_states(&channel, now);
        }
    }

    /// Opens the channels that have waited long enough, or that no other node has. For some, the other nodes
    /// are asked again.
    pub(in crate::cluster) fn open_due(&mut self, now: Duration) {
        if self.is_held {
            return;
        }
        let due = self.waiting.extract_if(|_, opening| opening.until <= now);
        let mut due: Vec<ChannelKey> = due.map(|(channel, _)| channel).collect();
        due.retain(|channel| {
            self.node.step(channel, now, |shard, step| backups::open_overdue(shard, channel, step))
        });
        for channel in &due {
            self.begin(channel, false, now);
        }
        self.open_vacant(now);
        for channel in &due {
            self.request_states(channel, now);
        }
    }

    /// Handles that the other nodes could not be asked.
    pub(in crate::cluster) fn not_asked(&mut self, channel: &ChannelKey, now: Duration) {
        // Otherwise they are asked again.
        if self.node.step(channel, now, |shard, _| !shard.shadows.has_departed(channel)) {
            self.open(channel, now);
        }
    }

    /// Opens the channels that no other node has.
    pub(in crate::cluster) fn open_vacant(&mut self, now: Duration) {
        if self.is_held {
            return;
        }
        let vacant = std::mem::take(&mut *lock(&self.vacant));
        for channel in vacant {
            self.open(&channel, now);
        }
    }

    /// Handles the number of nodes that have received the request, if the bus counts them.
    pub(in crate::cluster) fn counted(
        &mut self,
        channel: &ChannelKey,
        count: Option<usize>,
        now: Duration,
    ) {
        if let Some(opening) = self.waiting.get_mut(channel) {
            opening.counted = count;
            opening.doubted_at = Some(now + PATIENCE);
            self.open_if_ready(channel, now);
        }
    }

    /// Handles the state of a node, which may be a reply to this one (`me`).
    pub(in crate::cluster) fn replied(
        &mut self,
        channel: &ChannelKey,
        node: NodeId,
        state: &State<'_>,
        me: NodeId,
        now: Duration,
    ) {
        if let Some(opening) = self.waiting.get_mut(channel) {
            let is_asked = state.answers.contains(&me);
            opening.replied(node, state.nodes, is_asked);
            self.open_if_ready(channel, now);
        }
    }

    /// Stops waiting for a node that has gone.
    pub(in crate::cluster) fn remove_peer(&mut self, node: NodeId, now: Duration) {
        let waiting = self.waiting.iter_mut();
        let waiting = waiting
            .filter_map(|(channel, opening)| opening.remove_peer(node).then(|| channel.clone()));
        for channel in waiting.collect::<Vec<_>>() {
            self.open_if_ready(&channel, now);
        }
    }

    /// Takes the channels without a reply, although the bus may have counted receivers: they may be others
    /// than nodes. The nodes are asked.
    pub(in crate::cluster) fn take_doubts(&mut self, now: Duration) -> Vec<Doubt> {
        let doubted = self.waiting.iter_mut().filter_map(|(channel, opening)| {
            opening.doubted_at.take_if(|at| *at <= now)?;
            // From now on, as many replies are expected as nodes have claimed.
            opening.counted = None;
            Some((channel.clone(), opening.replied.is_empty()))
        });
        let doubted: Vec<(ChannelKey, bool)> = doubted.take(MAX_DOUBTS).collect();
        let mut doubts = Vec::new();
        for (channel, is_unanswered) in doubted {
            if is_unanswered {
                let vacant = self.vacant.clone();
                let key = channel.clone();
                let then = move |gathered: Gathered| {
                    lock(&vacant).extend(gathered.is_vacant().then_some(key));
                };
                doubts.push(Doubt { channel, then: Box::new(then) });
            } else {
                self.open_if_ready(&channel, now);
            }
        }
        doubts
    }

    fn open_if_ready(&mut self, channel: &ChannelKey, now: Duration) {
        let opening = self.waiting.get(channel).filter(|_| !self.is_held);
        if opening.is_some_and(Opening::is_ready) {
            self.open(channel, now);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_came_later_is_not_one_of_the_receivers() {
        let mut opening = Opening { counted: Some(1), ..Opening::default() };
        opening.replied(NodeId(2), 2, false);
        assert!(!opening.is_ready(), "the receiver has not sent its state");
        opening.replied(NodeId(1), u32::MAX, true);
        assert!(opening.is_ready());
    }

    #[test]
    fn without_a_count_a_node_that_knows_all_others_says_how_many_reply() {
        let mut opening = Opening::default();
        opening.replied(NodeId(1), u32::MAX, true);
        assert!(!opening.is_ready());
        opening.replied(NodeId(2), 3, true);
        assert!(!opening.is_ready());
        opening.replied(NodeId(3), 1, false);
        assert!(opening.is_ready());
    }

    #[test]
    fn a_receiver_that_has_gone_is_not_waited_for() {
        let mut opening = Opening { counted: Some(2), ..Opening::default() };
        opening.replied(NodeId(1), u32::MAX, true);
        assert!(!opening.is_ready());
        assert!(opening.remove_peer(NodeId(2)));
        assert!(opening.is_ready());
    }
}
