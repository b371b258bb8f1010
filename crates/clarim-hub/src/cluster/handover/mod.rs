//! Hand-overs: a node's program is replaced by another one, and the node is without the bus for a moment. The
//! other nodes keep what they publish until it is back.

mod keeper;

use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::{CATCH_UP_TIME, HAND_OVER_PATIENCE};
use clarim_cluster::{ClusterMessage, KeptEvent, NodeId, PeerSet, Received, decode};
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};

use crate::address::ChannelKey;
pub(super) use keeper::Keepers;
use keeper::{EVENT_BYTES, MAX_KEPT};

/// What a snapshot keeps of a hand-over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SavedHandOver {
    /// The nodes that keep what they publish.
    pub(super) ready: Vec<NodeId>,
    /// The events of these nodes that have arrived all the same, by their senders' tickets.
    pub(super) heard: Vec<(NodeId, u64)>,
}

/// An event by its sender and the sender's ticket.
type EventId = (NodeId, u64);

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
    heard: HashSet<EventId, foldhash::fast::RandomState>,
    until: Duration,
}

/// The return from a hand-over.
#[derive(Debug)]
pub(super) struct CatchUp {
    heard: HashSet<EventId, foldhash::fast::RandomState>,
    /// The nodes whose events have not arrived, and how many have.
    awaited: HashMap<NodeId, u32, foldhash::fast::RandomState>,
    kept: Vec<PendingEvent>,
    /// Messages that have arrived since the return. They are later than those that were kept.
    live: Vec<PendingEvent>,
    bytes: usize,
    is_complete: bool,
    until: Duration,
}

/// An event that is to be delivered.
#[derive(Debug)]
pub(super) struct PendingEvent {
    pub(super) channel: ChannelKey,
    pub(super) message: Bytes,
    from: NodeId,
    ticket: u64,
    at: u64,
}

/// What this node has missed, in order.
#[derive(Debug, Default)]
pub(super) struct CaughtUp {
    pub(super) events: Vec<PendingEvent>,
    /// Whether there is nothing else.
    pub(super) is_complete: bool,
}

impl HandOver {
    /// Begins to prepare a hand-over.
    pub(super) fn prepare(now: Duration) -> Self {
        let until = now + HAND_OVER_PATIENCE;
        Self::Prepared(Prepared { ready: PeerSet::default(), heard: HashSet::default(), until })
    }

    /// Makes a hand-over as it was saved.
    pub(super) fn restored(saved: Option<&SavedHandOver>) -> Self {
        let Some(SavedHandOver { ready, heard }) = saved else { return Self::None };
        let ready = ready.iter().copied().collect();
        let heard = heard.iter().copied().collect();
        Self::Prepared(Prepared { ready, heard, until: Duration::ZERO })
    }

    /// Returns what a snapshot keeps of it.
    pub(super) fn save(&self) -> Option<SavedHandOver> {
        let Self::Prepared(Prepared { ready, heard, .. }) = self else { return None };
        let mut saved = SavedHandOver {
            ready: ready.iter().copied().collect(),
            heard: heard.iter().copied().collect(),
        };
        saved.ready.sort_unstable();
        saved.heard.sort_unstable();
        Some(saved)
    }

    /// Handles that a node keeps what it publishes.
    pub(super) fn is_ready(&mut self, node: NodeId) {
        if let Self::Prepared(prepared) = self {
            prepared.ready.insert(node);
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
    pub(super) fn hear(
        &mut self,
        channel: &ChannelKey,
        from: NodeId,
        message: &ClusterMessage<'_>,
        bytes: &[u8],
    ) -> bool {
        let ticket = match message {
            ClusterMessage::Event { ticket, .. } => *ticket,
            _ => 0,
        };
        match self {
            Self::None => true,
            Self::Prepared(prepared) => {
                prepared.heard.insert((from, ticket));
                true
            }
            Self::CatchingUp(catch_up) => {
                let message = Bytes::copy_from_slice(bytes);
                let event = PendingEvent { channel: channel.clone(), message, from, ticket, at: 0 };
                catch_up.bytes += event.message.len() + EVENT_BYTES;
                catch_up.live.push(event);
                false
            }
        }
    }

    /// Handles an event that another node has kept. `channel` is `None` if this node does not have it.
    pub(super) fn kept(
        &mut self,
        from: NodeId,
        channel: Option<ChannelKey>,
        event: &KeptEvent<'_>,
    ) {
        let Self::CatchingUp(catch_up) = self else { return };
        let Some(count) = catch_up.awaited.get_mut(&from) else { return };
        *count += 1;
        let ticket = match decode(event.message) {
            Ok(Received { message: Some(ClusterMessage::Event { ticket, .. }), .. }) => ticket,
            _ => 0,
        };
        if let Some(channel) = channel
            && (ticket == 0 || !catch_up.heard.contains(&(from, ticket)))
        {
            let message = Bytes::copy_from_slice(event.message);
            catch_up.bytes += message.len() + EVENT_BYTES;
            catch_up.kept.push(PendingEvent { channel, message, from, ticket, at: event.at });
        }
    }

    /// Handles that a node has sent what it has kept.
    pub(super) fn ended(&mut self, from: NodeId, count: u32, is_complete: bool) {
        let Self::CatchingUp(catch_up) = self else { return };
        if let Some(arrived) = catch_up.awaited.remove(&from) {
            catch_up.is_complete &= is_complete && arrived == count;
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
        let arrived: HashSet<EventId, foldhash::fast::RandomState> =
            live.iter().map(|event| (event.from, event.ticket)).collect();
        kept.retain(|event| event.ticket == 0 || !arrived.contains(&(event.from, event.ticket)));
        // The clocks of all nodes follow the fastest one, so an event that was answered before another one
        // was published comes first. Those of one node keep their order.
        kept.sort_by_key(|event| event.at);
        kept.extend(live);
        Some(CaughtUp { events: kept, is_complete })
    }
}
