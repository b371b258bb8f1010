//! Hand-overs: a node's program is replaced by another one, and the node is without the bus for a moment. The
//! other nodes keep what they publish until it is back.

mod keeper;

use std::hash::Hasher;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::{CATCH_UP_TIME, HAND_OVER_PATIENCE};
use clarim_cluster::{ClusterMessage, KeptEvent, NodeId, PeerSet};
use hashbrown::HashMap;
use siphasher::sip::SipHasher13;

use crate::address::ChannelKey;
use crate::node::Node;
use crate::outputs::OutputSink;
use crate::snapshot::SavedHandOver;
pub(super) use keeper::Keepers;
use keeper::{EVENT_BYTES, MAX_KEPT};

/// A message by its sender, its channel and its content, as a hash. Both programs make the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct MessageId(u64);

impl MessageId {
    pub(super) fn new(from: NodeId, app: &str, channel: &str, message: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        // Names contain no zero.
        for part in [&from.0.to_le_bytes(), app.as_bytes(), &[0], channel.as_bytes(), &[0], message]
        {
            hasher.write(part);
        }
        Self(hasher.finish())
    }
}

/// Numbers of messages by their ids. A node may send the same bytes again.
#[derive(Debug, Default)]
struct Tally(HashMap<MessageId, u32, foldhash::fast::RandomState>);

impl Tally {
    fn add(&mut self, id: MessageId) {
        *self.0.entry(id).or_default() += 1;
    }

    /// Returns whether there was one more.
    fn take(&mut self, id: MessageId) -> bool {
        let left = self.0.get_mut(&id).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    fn of(ids: impl IntoIterator<Item = MessageId>) -> Self {
        let mut tally = Self::default();
        ids.into_iter().for_each(|id| tally.add(id));
        tally
    }
}

/// A message on a channel that has just arrived.
#[derive(Debug)]
pub(super) struct Arrived<'a> {
    pub(super) channel: ChannelKey,
    pub(super) from: NodeId,
    pub(super) id: MessageId,
    pub(super) bytes: &'a [u8],
    /// Whether its sender never sends the same bytes again.
    pub(super) is_unique: bool,
}

/// This node's own hand-over.
#[derive(Debug, Default)]
pub(super) enum HandOver {
    #[default]
    None,
    /// The other nodes were asked to keep what they publish.
    Prepared(Prepared),
    /// This node is back, and waits for what they have kept.
    CatchingUp(CatchUp),
}

/// A hand-over that is about to happen.
#[derive(Debug)]
pub(super) struct Prepared {
    ready: PeerSet,
    /// Messages that the other nodes may have kept, and that have arrived all the same.
    heard: Tally,
    until: Duration,
}

/// The return from a hand-over.
#[derive(Debug)]
pub(super) struct CatchUp {
    heard: Tally,
    /// The nodes whose messages have not arrived, and how many have.
    awaited: HashMap<NodeId, u32, foldhash::fast::RandomState>,
    kept: Vec<PendingMessage>,
    /// Messages that have arrived since the return. They are later than those that were kept.
    live: Vec<PendingMessage>,
    bytes: usize,
    is_complete: bool,
    until: Duration,
}

/// A message that is to be handled.
#[derive(Debug)]
pub(super) struct PendingMessage {
    pub(super) channel: ChannelKey,
    pub(super) message: Bytes,
    id: MessageId,
    at: u64,
}

/// What this node has missed, in order.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    pub(super) messages: Vec<PendingMessage>,
    /// Whether there is nothing else.
    pub(super) is_complete: bool,
}

impl HandOver {
    /// Begins to prepare a hand-over.
    pub(super) fn prepare(now: Duration) -> Self {
        let until = now + HAND_OVER_PATIENCE;
        Self::Prepared(Prepared { ready: PeerSet::default(), heard: Tally::default(), until })
    }

    /// Makes a hand-over as it was saved.
    pub(super) fn restored(saved: &SavedHandOver) -> Self {
        let SavedHandOver { ready, heard } = saved;
        let ready = ready.iter().copied().collect();
        let heard = Tally::of(heard.iter().copied().map(MessageId));
        Self::Prepared(Prepared { ready, heard, until: Duration::ZERO })
    }

    /// Returns what a snapshot keeps of it.
    pub(super) fn save(&self) -> Option<SavedHandOver> {
        let Self::Prepared(Prepared { ready, heard, .. }) = self else { return None };
        let heard = heard.0.iter().flat_map(|(id, count)| (0..*count).map(|_| id.0));
        let mut saved =
            SavedHandOver { ready: ready.iter().copied().collect(), heard: heard.collect() };
        saved.ready.sort_unstable();
        saved.heard.sort_unstable();
        Some(saved)
    }

    /// Handles a message of a node that keeps what it publishes, or has kept it.
    pub(super) fn message<S: OutputSink>(
        &mut self,
        from: NodeId,
        message: &ClusterMessage<'_>,
        node: &Node<S>,
    ) {
        match (self, message) {
            (Self::Prepared(prepared), ClusterMessage::HandOverReady) => {
                prepared.ready.insert(from);
            }
            (Self::CatchingUp(catch_up), ClusterMessage::KeptEvents(events)) => {
                for event in events {
                    catch_up.kept(from, event, node.find_channel(event.app, event.channel));
                }
            }
            (Self::CatchingUp(catch_up), &ClusterMessage::KeptEnd { count, is_complete }) => {
                catch_up.ended(from, count, is_complete);
            }
            _ => {}
        }
    }

    /// Whether all nodes keep what they publish, or have had their time to say so.
    pub(super) fn are_ready(&self, mut peers: impl Iterator<Item = NodeId>, now: Duration) -> bool {
        match self {
            Self::Prepared(Prepared { ready, until, .. }) => {
                now >= *until || peers.all(|peer| ready.contains(&peer))
            }
            _ => false,
        }
    }

    /// Begins to catch up, when the bus is back. `peers` are the other nodes.
    pub(super) fn catch_up(
        &mut self,
        peers: impl Iterator<Item = NodeId>,
        is_complete: bool,
        now: Duration,
    ) -> bool {
        let Self::Prepared(Prepared { ready, heard, .. }) = std::mem::take(self) else {
            return false;
        };
        let mut is_complete = is_complete;
        let mut awaited = HashMap::default();
        for peer in peers {
            if ready.contains(&peer) {
                awaited.insert(peer, 0);
            }
            is_complete &= ready.contains(&peer);
        }
        *self = Self::CatchingUp(CatchUp {
            heard,
            awaited,
            kept: Vec::new(),
            live: Vec::new(),
            bytes: 0,
            is_complete,
            until: now + CATCH_UP_TIME,
        });
        true
    }

    /// Whether this node waits for what the others have kept.
    pub(super) fn is_catching_up(&self) -> bool {
        matches!(self, Self::CatchingUp(_))
    }

    /// Gives up a hand-over that is prepared, because the bus was lost before.
    pub(super) fn abort(&mut self) {
        if matches!(self, Self::Prepared(_)) {
            *self = Self::None;
        }
    }

    /// Whether messages on channels concern a hand-over.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// Handles a message on a channel that has just arrived. Returns whether it is to be handled now, and not
    /// behind those that this node has missed.
    pub(super) fn hear(&mut self, arrived: Arrived<'_>) -> bool {
        let Arrived { channel, from, id, bytes, is_unique } = arrived;
        match self {
            Self::None => true,
            Self::Prepared(prepared) => {
                // Before a node is ready, it has kept nothing. Another one like it may be kept, though.
                if is_unique || prepared.ready.contains(&from) {
                    prepared.heard.add(id);
                }
                true
            }
            Self::CatchingUp(catch_up) => {
                let message = Bytes::copy_from_slice(bytes);
                catch_up.bytes += message.len() + EVENT_BYTES;
                catch_up.live.push(PendingMessage { channel, message, id, at: 0 });
                false
            }
        }
    }

    /// Handles that a node has gone, or that there is one that did not know of the hand-over.
    pub(super) fn remove_peer(&mut self, node: NodeId) {
        if let Self::CatchingUp(catch_up) = self {
            catch_up.awaited.remove(&node);
            catch_up.is_complete = false;
        }
    }

    /// Returns what was missed, when everything has arrived or the time is over. `is_up`: whether more can
    /// arrive.
    pub(super) fn take_caught_up(&mut self, is_up: bool, now: Duration) -> Option<CaughtUp> {
        let Self::CatchingUp(catch_up) = self else { return None };
        let is_late = now >= catch_up.until || catch_up.bytes > 4 * MAX_KEPT || !is_up;
        if !catch_up.awaited.is_empty() && !is_late {
            return None;
        }
        let Self::CatchingUp(catch_up) = std::mem::take(self) else { return None };
        let CatchUp { mut kept, live, awaited, is_complete, .. } = catch_up;
        let is_complete = is_complete && awaited.is_empty();
        // A node has kept the last messages while the first ones arrived here again.
        let mut arrived = Tally::of(live.iter().map(|message| message.id));
        kept.reverse();
        kept.retain(|message| !arrived.take(message.id));
        kept.reverse();
        // The clocks of all nodes follow the fastest one, so an event that was answered before another one
        // was published comes first. Those of one node keep their order.
        kept.sort_by_key(|message| message.at);
        kept.extend(live);
        Some(CaughtUp { messages: kept, is_complete })
    }
}

impl CatchUp {
    /// Handles a message that another node has kept. `channel` is `None` if its app does not exist here.
    fn kept(&mut self, from: NodeId, event: &KeptEvent<'_>, channel: Option<ChannelKey>) {
        let Some(count) = self.awaited.get_mut(&from) else { return };
        *count += 1;
        let id = MessageId::new(from, event.app, event.channel, event.message);
        if let Some(channel) = channel
            && !self.heard.take(id)
        {
            let message = Bytes::copy_from_slice(event.message);
            self.bytes += message.len() + EVENT_BYTES;
            self.kept.push(PendingMessage { channel, message, id, at: event.at });
        }
    }

    /// Handles that a node has sent what it has kept.
    fn ended(&mut self, from: NodeId, count: u32, is_complete: bool) {
        if let Some(arrived) = self.awaited.remove(&from) {
            self.is_complete &= is_complete && arrived == count;
        }
    }
}
