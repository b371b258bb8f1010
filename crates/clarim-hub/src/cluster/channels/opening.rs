//! The channels that are being opened on this node.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clarim_cluster::{Gathered, NodeId, OnGathered, Openings, Reply};

use crate::address::ChannelKey;
use crate::cluster::channel_sync::backups;
use crate::directory::{Shard, Step};
use crate::node::Node;
use crate::outputs::OutputSink;

/// The channels that wait for the bus and the other nodes.
#[derive(Debug)]
pub(in crate::cluster) struct ChannelOpenings<S> {
    node: Arc<Node<S>>,
    waiting: Openings<ChannelKey>,
    /// Whether a node that may have some of them is without the bus for a moment. No channel opens that
    /// waits for the others.
    is_held: bool,
    /// Waiting channels that no other node has.
    vacant: Arc<Mutex<Vec<ChannelKey>>>,
}

/// A question to all nodes: whether they have the channel.
pub(in crate::cluster) struct Doubt {
    pub(in crate::cluster) channel: ChannelKey,
    pub(in crate::cluster) then: OnGathered,
}

impl<S: OutputSink> ChannelOpenings<S> {
    pub(in crate::cluster) fn new(node: Arc<Node<S>>) -> Self {
        Self { node, waiting: Openings::default(), is_held: false, vacant: Arc::default() }
    }

    /// Begins to open a channel, until `until` at the latest.
    pub(in crate::cluster) fn begin(&mut self, channel: ChannelKey, until: Duration) {
        self.waiting.begin(channel, until);
    }

    pub(in crate::cluster) fn is_opening(&self, channel: &ChannelKey) -> bool {
        self.waiting.is_opening(channel)
    }

    /// Forgets a channel that is closed.
    pub(in crate::cluster) fn remove(&mut self, channel: &ChannelKey) {
        self.waiting.remove(channel);
    }

    /// Lets a channel that is being opened wait for its history, too.
    pub(in crate::cluster) fn load(&mut self, channel: &ChannelKey) {
        self.waiting.load(channel);
    }

    /// Opens a channel whose history has been read, unless it waits for something else.
    pub(in crate::cluster) fn loaded(&mut self, channel: &ChannelKey, now: Duration) {
        if self.waiting.loaded(channel) {
            self.open_now(channel, now);
        }
    }

    /// Opens a channel that waits for no node any more, unless it waits for its history.
    pub(in crate::cluster) fn open(&mut self, channel: &ChannelKey, now: Duration) {
        if self.waiting.synchronized(channel) {
            self.open_now(channel, now);
        }
    }

    /// Opens a channel without waiting.
    fn open_now(&self, channel: &ChannelKey, now: Duration) {
        self.node.step(channel, now, |shard, step| backups::open(shard, channel, step));
    }

    /// Opens a channel without the bus.
    pub(in crate::cluster) fn open_without_bus(&self, channel: &ChannelKey, now: Duration) {
        self.node.step(channel, now, |shard, step| backups::open_without_bus(shard, channel, step));
    }

    /// Opens all channels, because the bus was lost.
    pub(in crate::cluster) fn open_all(&mut self, now: Duration) {
        for channel in self.waiting.take_all() {
            self.open_without_bus(&channel, now);
        }
    }

    /// Opens no channel that waits for other nodes, until [`release`](Self::release).
    pub(in crate::cluster) fn hold(&mut self) {
        self.is_held = true;
    }

    /// Opens channels again, until `until` at the latest. Returns those for which the other nodes are to be
    /// asked again.
    pub(in crate::cluster) fn release(&mut self, until: Duration) -> Vec<ChannelKey> {
        if std::mem::take(&mut self.is_held) { self.waiting.restart(until) } else { Vec::new() }
    }

    /// Opens a channel of which nobody else was a subscriber.
    pub(in crate::cluster) fn open_first(&mut self, channel: &ChannelKey, now: Duration) {
        if !self.is_held {
            self.open(channel, now);
        }
    }

    /// Opens the channels that have waited long enough, or that no other node has. Returns those for which
    /// the other nodes are to be asked again, until `until`.
    pub(in crate::cluster) fn open_due(
        &mut self,
        now: Duration,
        until: Duration,
    ) -> Vec<ChannelKey> {
        if self.is_held {
            return Vec::new();
        }
        let mut due = self.waiting.take_due(now);
        due.retain(|channel| {
            self.node.step(channel, now, |shard, step| backups::open_overdue(shard, channel, step))
        });
        for channel in &due {
            self.waiting.begin(channel.clone(), until);
        }
        self.open_vacant(now);
        due
    }

    /// Handles that the other nodes could not be asked.
    pub(in crate::cluster) fn not_asked(&mut self, channel: &ChannelKey, now: Duration) {
        let is_due = |shard: &mut Shard, _: &mut Step<'_>| !shard.shadows.has_departed(channel);
        // Otherwise they are asked again.
        if self.node.step(channel, now, is_due) {
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
        self.waiting.set_counted(channel, count, now);
        self.open_if_ready(channel, now);
    }

    /// Handles the state of a node.
    pub(in crate::cluster) fn replied(
        &mut self,
        channel: &ChannelKey,
        node: NodeId,
        reply: Reply,
        now: Duration,
    ) {
        if self.waiting.replied(channel, node, reply) {
            self.open_if_ready(channel, now);
        }
    }

    /// Stops waiting for a node that has gone.
    pub(in crate::cluster) fn remove_peer(&mut self, node: NodeId, now: Duration) {
        for channel in self.waiting.remove_peer(node) {
            self.open_if_ready(&channel, now);
        }
    }

    /// Takes the channels without a reply, although the bus may have counted receivers: they may be others
    /// than nodes. The nodes are asked.
    pub(in crate::cluster) fn take_doubts(&mut self, now: Duration) -> Vec<Doubt> {
        let mut doubts = Vec::new();
        for channel in self.waiting.take_doubted(now) {
            if self.waiting.is_unanswered(&channel) {
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
        if !self.is_held && self.waiting.is_ready(channel) {
            self.open(channel, now);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
