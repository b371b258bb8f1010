//! The cluster side of a channel: the states of the other nodes, and the version of this node's state.

mod parts;
mod shadow;

use std::time::Duration;

use smallvec::SmallVec;

use crate::message::{Change, ClusterMessage, Part, State};
use crate::node_id::NodeId;
use crate::snapshot::{SavedClusterChannel, SavedPeerState};
use crate::timing::REQUEST_AGAIN;
pub use parts::{Assembled, PART_BYTES, Parts};
pub use shadow::Shadow;

/// The cluster side of a channel. In a cluster, every channel of a node has one. `P` is a subscription that
/// waits until the channel is open.
#[derive(Debug)]
pub struct ClusterChannel<P> {
    /// Subscriptions that wait until the bus has confirmed the subject and the other nodes have sent their
    /// state; `None` once the channel is open.
    opening: Option<Vec<P>>,
    /// Version of this node's state; see [`State::number`].
    number: u64,
    /// Number of the next long state that this node publishes; see [`Part::publication`].
    next_publication: u32,
    /// The number of subscriptions that the other nodes know.
    pub announced: u32,
    /// The number of subscriptions that the bus has last confirmed by returning this node's own message.
    pub confirmed: u32,
    /// When this node last reported a leave to the app's backend.
    pub left_at: Option<Duration>,
    /// While this node is alone on the channel: the node that has a [`Shadow`] of it.
    pub backup: Option<NodeId>,
    /// Nodes whose request for the state has not been answered yet.
    unanswered: Vec<NodeId>,
    peers: SmallVec<[PeerState; 2]>,
    /// When the unused channel is closed.
    pub closes_at: Option<Duration>,
}

/// Another node's state on the channel, as far as it is known.
#[derive(Debug)]
pub struct PeerState {
    /// The node.
    pub node: NodeId,
    /// The version of its state that is known here; `None` if a change was missed.
    pub number: Option<u64>,
    /// Its number of subscriptions.
    pub subscriptions: u32,
    /// Whether the channel's user is signed in there.
    pub online: bool,
    /// The parts of a long state whose last part has not arrived.
    pub parts: Parts,
    /// When it was first heard of on the channel.
    since: Duration,
    /// When the node last confirmed that it has the channel.
    heard_at: Duration,
    requested_at: Option<Duration>,
}

impl PeerState {
    fn save(&self) -> SavedPeerState {
        let &Self { node, number, subscriptions, online, since, heard_at, requested_at, .. } = self;
        let since = since.into();
        let heard_at = heard_at.into();
        let requested_at = requested_at.map(Into::into);
        SavedPeerState { node, number, subscriptions, online, since, heard_at, requested_at }
    }

    /// Makes the state as it was saved. A long state that had not arrived completely is requested again.
    fn restored(saved: SavedPeerState) -> Self {
        let SavedPeerState { node, number, subscriptions, online, since, heard_at, requested_at } =
            saved;
        let since = since.get();
        let heard_at = heard_at.get();
        let requested_at = requested_at.map(|at| at.get());
        let parts = Parts::default();
        Self { node, number, subscriptions, online, parts, since, heard_at, requested_at }
    }
}

impl<P> ClusterChannel<P> {
    /// A channel that is being opened. `number` is greater than any version that an earlier life of the
    /// channel on this node has had.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Self {
            opening: Some(Vec::new()),
            number,
            next_publication: 0,
            announced: 0,
            confirmed: 0,
            left_at: None,
            backup: None,
            unanswered: Vec::new(),
            peers: SmallVec::new(),
            closes_at: None,
        }
    }

    /// Returns what a snapshot keeps of it, without the waiting subscriptions.
    #[must_use]
    pub fn save(&self) -> SavedClusterChannel {
        SavedClusterChannel {
            is_open: self.is_open(),
            number: self.number,
            next_publication: self.next_publication,
            announced: self.announced,
            confirmed: self.confirmed,
            left_at: self.left_at.map(Into::into),
            backup: self.backup,
            unanswered: self.unanswered.clone(),
            peers: self.peers.iter().map(PeerState::save).collect(),
        }
    }

    /// Makes the cluster side of a channel as it was saved.
    #[must_use]
    pub fn restored(saved: SavedClusterChannel) -> Self {
        Self {
            opening: (!saved.is_open).then(Vec::new),
            number: saved.number,
            next_publication: saved.next_publication,
            announced: saved.announced,
            confirmed: saved.confirmed,
            left_at: saved.left_at.map(|at| at.get()),
            backup: saved.backup,
            unanswered: saved.unanswered,
            peers: saved.peers.into_iter().map(PeerState::restored).collect(),
            closes_at: None,
        }
    }

    /// Returns the waiting subscriptions, none if the channel is open.
    #[must_use]
    pub fn waiting(&self) -> &[P] {
        self.opening.as_deref().unwrap_or_default()
    }

    /// Returns the waiting subscriptions, to be changed; `None` if the channel is open.
    pub fn pending(&mut self) -> Option<&mut Vec<P>> {
        self.opening.as_mut()
    }

    /// Whether subscriptions wait for the channel.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        self.opening.as_ref().is_some_and(|pending| !pending.is_empty())
    }

    /// Opens the channel. Returns the subscriptions that have waited for it.
    pub fn open(&mut self) -> Vec<P> {
        self.opening.take().unwrap_or_default()
    }

    /// Whether the channel is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.opening.is_none()
    }

    /// Makes a change of this node's state into a message.
    pub fn change<'a>(&mut self, change: Change<'a>) -> ClusterMessage<'a> {
        self.number += 1;
        ClusterMessage::StateChange { number: self.number, change }
    }

    /// Returns the version of this node's state.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.number
    }

    /// Compares a version of a node's state with the known version. Returns a request if a change was missed.
    pub fn compare(
        &mut self,
        node: NodeId,
        version: u64,
        now: Duration,
    ) -> Option<ClusterMessage<'static>> {
        // The version may be older than the last change: digests of many channels come on another subject.
        let is_missed = self.heard(node, now).number.is_none_or(|known| known < version);
        if is_missed { self.request_state(node, now) } else { None }
    }

    /// Makes the whole state into messages, each with about `part_bytes` of members. They answer the requests
    /// that have come; those that come while the channel is being opened, again when this node knows all the
    /// others' states. `is_request`: the other nodes answer with theirs.
    pub fn state<'a>(
        &mut self,
        state: State<'a>,
        members: impl Iterator<Item = &'a str>,
        part_bytes: usize,
        is_request: bool,
        mut publish: impl FnMut(&ClusterMessage<'_>),
    ) {
        // A state that differs from the one before has another version.
        if self.announced != state.subscriptions {
            self.announced = state.subscriptions;
            self.number += 1;
        }
        let (answers, nodes) = match self.is_open() {
            true => (std::mem::take(&mut self.unanswered), self.peers.len()),
            false => (self.unanswered.clone(), usize::MAX),
        };
        let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
        let mut state = State { number: self.number, answers, nodes, ..state };
        let mut bytes = 0;
        let mut members = members.peekable();
        while let Some(member) = members.next() {
            bytes += member.len();
            state.members.push(member);
            if bytes > part_bytes && members.peek().is_some() {
                bytes = 0;
                let publication = self.next_publication;
                let part = state.part.unwrap_or(Part { publication, index: 0 });
                let next = Some(Part { index: part.index + 1, ..part });
                let rest = State { members: Vec::new(), cached: None, part: next, ..state.clone() };
                publish(&ClusterMessage::State(State { more: true, part: Some(part), ..state }));
                state = rest;
            }
        }
        if state.part.is_some() {
            self.next_publication = self.next_publication.wrapping_add(1);
        }
        publish(&if is_request {
            ClusterMessage::SyncRequest(state)
        } else {
            ClusterMessage::State(state)
        });
    }

    /// Remembers that a node has requested this node's state.
    pub fn requested_by(&mut self, node: NodeId) {
        if !self.unanswered.contains(&node) {
            self.unanswered.push(node);
        }
    }

    /// Whether requests of other nodes wait for an answer.
    #[must_use]
    pub fn has_unanswered(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// Requests the whole state of a node, after a change was missed. Returns `None` if it was requested a
    /// moment ago.
    pub fn request_state(
        &mut self,
        node: NodeId,
        now: Duration,
    ) -> Option<ClusterMessage<'static>> {
        let peer = self.heard(node, now);
        peer.number = None;
        if peer.requested_at.is_some_and(|at| now < at + REQUEST_AGAIN) {
            return None;
        }
        peer.requested_at = Some(now);
        Some(ClusterMessage::StateRequest(node))
    }

    /// Whether no other node is known to have the channel.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.peers.is_empty()
    }

    /// Whether this node has the smallest id of all nodes on the channel.
    #[must_use]
    pub fn is_first(&self, node: Option<NodeId>) -> bool {
        self.peers.iter().all(|peer| node < Some(peer.node))
    }

    /// Whether this node has the smallest id of the nodes that may know the state of a node which has gone.
    /// The others joined the channel after it was last heard from, at `heard_at`.
    #[must_use]
    pub fn is_first_witness(&self, node: Option<NodeId>, heard_at: Duration) -> bool {
        let mut witnesses = self.peers.iter().filter(|peer| peer.since <= heard_at);
        witnesses.all(|peer| node < Some(peer.node))
    }

    /// Returns the number of subscriptions on the other nodes.
    #[must_use]
    pub fn subscriptions_elsewhere(&self) -> usize {
        self.peers.iter().map(|peer| peer.subscriptions as usize).sum()
    }

    /// Whether the channel's user is signed in on another node.
    #[must_use]
    pub fn is_online_elsewhere(&self) -> bool {
        self.peers.iter().any(|peer| peer.online)
    }

    /// Whether another node is known to have the channel.
    #[must_use]
    pub fn has_peer(&self, node: NodeId) -> bool {
        self.peers.iter().any(|peer| peer.node == node)
    }

    /// Whether the state of another node is known.
    #[must_use]
    pub fn knows_state_of(&self, node: NodeId) -> bool {
        self.peers.iter().any(|peer| peer.node == node && peer.number.is_some())
    }

    /// Returns the record of a node from which a message has come.
    pub fn heard(&mut self, node: NodeId, now: Duration) -> &mut PeerState {
        let at = self.peers.iter().position(|peer| peer.node == node).unwrap_or_else(|| {
            self.peers.push(PeerState {
                node,
                number: None,
                subscriptions: 0,
                online: false,
                parts: Parts::default(),
                since: now,
                heard_at: now,
                requested_at: None,
            });
            self.peers.len() - 1
        });
        self.peers[at].heard_at = now;
        &mut self.peers[at]
    }

    /// Returns the other nodes that are known to have the channel.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> {
        self.peers.iter().map(|peer| peer.node)
    }

    /// Returns the nodes from which nothing has come since `since`.
    pub fn silent_since(&self, since: Duration) -> impl Iterator<Item = NodeId> {
        self.peers.iter().filter(move |peer| peer.heard_at < since).map(|peer| peer.node)
    }

    /// Removes the record of a node.
    pub fn remove_peer(&mut self, node: NodeId) {
        self.peers.retain(|peer| peer.node != node);
    }
}
