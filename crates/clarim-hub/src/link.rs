//! A channel's tie to the same channel on the other nodes.

use std::time::Duration;

use clarim_protocol::SocketId;
use clarim_protocol::cluster::{Change, ClusterMessage, NodeId, State, encode};
use clarim_protocol::user::Member;
use smallvec::SmallVec;

use crate::entry::{BusCommand, ChannelKey, ConnectionAddr, Outputs};

/// Bytes of members in one part of a long state: well below what any bus takes.
const PART_BYTES: usize = 256 << 10;

/// In a cluster, every channel that a node has is tied to those of the others.
#[derive(Debug)]
pub(crate) struct ClusterChannel {
    phase: Phase,
    /// Of the state of this node; see [`State::number`].
    number: u64,
    /// Subscriptions that the others have been told of.
    pub(crate) told: u32,
    /// Subscriptions here when this node last heard itself say how many there are.
    pub(crate) heard: u32,
    /// When this node last said of somebody to the app's backend that they had left.
    pub(crate) left_at: Option<Duration>,
    /// Nodes that have asked who is there, and were not answered yet.
    pub(crate) asked: Vec<NodeId>,
    /// What is known of the other nodes.
    remotes: SmallVec<[PeerState; 2]>,
    /// It stands in the shard's list of channels to be closed.
    pub(crate) is_idle: bool,
}

#[derive(Debug)]
enum Phase {
    /// The bus has yet to confirm that it is listened to, and the others to say who is there. Those who want
    /// to subscribe wait for that.
    Opening(Vec<Waiting>),
    Open,
}

/// Who waits for a channel to be opened.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) seat: ConnectionAddr,
    pub(crate) socket_id: SocketId,
    pub(crate) member: Option<Member>,
}

/// What is known of one other node on the channel.
#[derive(Debug)]
pub(crate) struct PeerState {
    pub(crate) node: NodeId,
    /// The number of its state as far as it is known; `None`: something of it was missed.
    pub(crate) number: Option<u64>,
    pub(crate) subscriptions: u32,
    pub(crate) online: bool,
    /// The parts of a long state that have come so far.
    pub(crate) parts: Vec<Member>,
    /// When the number was last known to be right.
    pub(crate) heard_at: Duration,
    /// When it was last asked for the whole of it.
    pub(crate) wanted_at: Option<Duration>,
}

impl ClusterChannel {
    /// `number` is greater than any that an earlier life of the channel on this node has had.
    pub(crate) fn new(number: u64) -> Self {
        let phase = Phase::Opening(Vec::new());
        Self {
            phase,
            number,
            told: 0,
            heard: 0,
            left_at: None,
            asked: Vec::new(),
            remotes: SmallVec::new(),
            is_idle: false,
        }
    }

    /// Those who wait, while the channel isn't open.
    pub(crate) fn waiting(&mut self) -> Option<&mut Vec<Waiting>> {
        match &mut self.phase {
            Phase::Opening(waiting) => Some(waiting),
            Phase::Open => None,
        }
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        matches!(&self.phase, Phase::Opening(waiting) if !waiting.is_empty())
    }

    /// The channel is open: those who have waited for it.
    pub(crate) fn open(&mut self) -> Vec<Waiting> {
        match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Opening(waiting) => waiting,
            Phase::Open => Vec::new(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Tells the others of a change.
    pub(crate) fn changed(&mut self, key: &ChannelKey, change: Change<'_>, post: &impl Outputs) {
        self.number += 1;
        say(key, &ClusterMessage::StateChange { number: self.number, change }, post);
    }

    /// Tells the others the number of the state, for those who have missed something.
    pub(crate) fn say_number(&self, key: &ChannelKey, post: &impl Outputs) {
        say(key, &ClusterMessage::VersionDigest(self.number), post);
    }

    /// Tells the others the whole state, in as many parts as it needs, and so answers those that have asked,
    /// if this node knows who is there. `hello`: theirs are wanted too.
    pub(crate) fn say_state<'a>(
        &mut self,
        key: &ChannelKey,
        state: State<'a>,
        members: impl Iterator<Item = &'a str>,
        (hello, post): (bool, &impl Outputs),
    ) {
        // A state that differs from the one before has another number.
        if self.told != state.subscriptions {
            self.told = state.subscriptions;
            self.number += 1;
        }
        let answers = if self.is_open() { std::mem::take(&mut self.asked) } else { Vec::new() };
        let nodes = u32::try_from(self.remotes.len()).unwrap_or(u32::MAX);
        let mut state = State { number: self.number, answers, nodes, ..state };
        let mut bytes = 0;
        let mut members = members.peekable();
        while let Some(member) = members.next() {
            bytes += member.len();
            state.members.push(member);
            if bytes > PART_BYTES && members.peek().is_some() {
                bytes = 0;
                let rest = State { members: Vec::new(), cached: None, ..state.clone() };
                say(key, &ClusterMessage::State(State { more: true, ..state }), post);
                state = rest;
            }
        }
        say(
            key,
            &if hello { ClusterMessage::SyncRequest(state) } else { ClusterMessage::State(state) },
            post,
        );
    }

    /// Whether no other node is known to have the channel.
    pub(crate) fn is_alone(&self) -> bool {
        self.remotes.is_empty()
    }

    /// Whether, of all nodes on the channel, this one has the least number.
    pub(crate) fn is_first(&self, node: Option<NodeId>) -> bool {
        self.remotes.iter().all(|remote| node < Some(remote.node))
    }

    pub(crate) fn subscriptions_elsewhere(&self) -> usize {
        self.remotes.iter().map(|remote| remote.subscriptions as usize).sum()
    }

    pub(crate) fn is_online_elsewhere(&self) -> bool {
        self.remotes.iter().any(|remote| remote.online)
    }

    /// The record of a node.
    pub(crate) fn remote(&mut self, node: NodeId) -> Option<&mut PeerState> {
        self.remotes.iter_mut().find(|remote| remote.node == node)
    }

    /// The record of a node that is being heard.
    pub(crate) fn hear(&mut self, node: NodeId, now: Duration) -> &mut PeerState {
        let at = self.remotes.iter().position(|remote| remote.node == node).unwrap_or_else(|| {
            self.remotes.push(PeerState {
                node,
                number: None,
                subscriptions: 0,
                online: false,
                parts: Vec::new(),
                heard_at: now,
                wanted_at: None,
            });
            self.remotes.len() - 1
        });
        self.remotes[at].heard_at = now;
        &mut self.remotes[at]
    }

    /// The nodes that have not been heard since.
    pub(crate) fn silent_since(&self, since: Duration) -> SmallVec<[NodeId; 2]> {
        self.remotes.iter().filter(|r| r.heard_at < since).map(|remote| remote.node).collect()
    }

    pub(crate) fn forget(&mut self, node: NodeId) {
        self.remotes.retain(|remote| remote.node != node);
    }
}

/// Tells the other nodes something on the channel's subject.
pub(crate) fn say(key: &ChannelKey, word: &ClusterMessage<'_>, post: &impl Outputs) {
    if let Some(node) = post.node_id() {
        let (message, hello) = (encode(node, word), matches!(word, ClusterMessage::SyncRequest(_)));
        post.tell(BusCommand::Say { channel: key.clone(), message, hello });
    }
}
