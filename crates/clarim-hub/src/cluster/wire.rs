//! The cluster's view of a bus, and its settings and state.

use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::Versions;
use clarim_protocol::Position;

use crate::app::HistoryRule;

/// The sending half of a bus. Messages are queued; nothing waits.
pub trait Wire {
    /// Subscribes to a subject. Call [`Cluster::subscribed`](super::Cluster::subscribed) when the bus has
    /// confirmed it.
    fn subscribe(&mut self, subject: &str);

    /// Unsubscribes from a subject.
    fn unsubscribe(&mut self, subject: &str);

    /// Sends a message to all subscribers of the subject. Call
    /// [`Cluster::published`](super::Cluster::published) or [`Cluster::lost`](super::Cluster::lost) with
    /// the ticket.
    fn publish(&mut self, subject: &str, message: Bytes, ticket: u64);

    /// Receives the entries of a log from now on. Call [`Cluster::log_event`](super::Cluster::log_event) when
    /// the bus has confirmed it.
    fn follow(&mut self, log: &str);

    /// Receives the entries of a log no longer.
    fn unfollow(&mut self, log: &str);

    /// Appends an entry to a log, whose server keeps it by `rule`, unless the log has taken an entry with the
    /// same idempotency key within the last five minutes. Call
    /// [`Cluster::log_event`](super::Cluster::log_event) or [`Cluster::lost`](super::Cluster::lost) with the
    /// ticket.
    fn append(
        &mut self,
        log: &str,
        rule: &HistoryRule,
        entry: Bytes,
        key: Option<&str>,
        ticket: u64,
    );

    /// Reads a log behind an offset. Call [`Cluster::log_event`](super::Cluster::log_event) or
    /// [`Cluster::lost`](super::Cluster::lost) with the ticket.
    fn read(&mut self, log: &str, rule: &HistoryRule, after: u64, ticket: u64);

    /// Whether the bus can take more messages.
    fn has_room(&self) -> bool {
        true
    }
}

/// What happens to the clients of a node that was without the bus and may have missed events of other nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnGap {
    /// Subscribers are disconnected within 5 s, with a code that makes them reconnect at once. Every client
    /// then subscribes again, and can fetch what it missed.
    #[default]
    Reconnect,
    /// Subscribers get the message `clarim:gap` on each channel, and stay connected.
    Event,
}

/// The settings of a cluster.
#[derive(Debug, Clone)]
pub struct ClusterSettings {
    /// Prefix of all subjects.
    pub prefix: String,
    /// Time without a heartbeat after which a node is considered dead.
    pub lease: Duration,
    /// Timeout for replies from other nodes.
    pub deadline: Duration,
    /// Whether this node delivers its own events in the order of the bus, too. If not, it delivers them at
    /// once.
    pub is_ordered: bool,
    /// What happens to this node's clients when they may have missed events.
    pub on_gap: OnGap,
    /// The protocol versions that the node speaks: [`Versions::OWN`], except in tests.
    pub versions: Versions,
}

/// A snapshot of the cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// Whether the bus is connected.
    pub is_up: bool,
    /// Whether the node has joined the cluster: it knows the other nodes, or could not reach them in time.
    pub is_joined: bool,
    /// The node's time when `is_up` last changed.
    pub since: Duration,
    /// Number of other nodes.
    pub peers: usize,
    /// Number of further nodes that are not back since the bus was lost, and not yet considered dead.
    pub awaited: usize,
    /// Time that this node's last heartbeat took to come back.
    pub lag: Duration,
    /// The protocol version that the cluster uses: the newest that all nodes speak.
    pub version: u8,
    /// Number of nodes with which this node has no protocol version in common.
    pub incompatible: usize,
    /// Messages that are not valid.
    pub invalid: u64,
    /// Messages of newer protocol versions, which were skipped.
    pub skipped: u64,
    /// Messages that the bus did not accept.
    pub lost: u64,
    /// Events that the logs did not take, so that their publishers have to send them again.
    pub refused: u64,
    /// Number of channel subjects that are subscribed to.
    pub channels: usize,
}

/// An entry of a log: an event with its place in the history of its channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The position behind the entry.
    pub position: Position,
    /// The offset of the entry before it.
    pub previous: u64,
    /// The event, encoded.
    pub message: Bytes,
}

/// The entries of a log behind an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    /// The position behind the last entry of the log.
    pub current: Position,
    /// The log keeps every entry behind this offset.
    pub start: u64,
    /// Entries in order. If the last one is before `current`, there are more.
    pub entries: Vec<LogEntry>,
}

/// An event of the bus about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent<'a> {
    /// The bus has confirmed that this node receives the entries of the log with this name.
    Following(&'a str),
    /// The log with this name has a new entry.
    Entry(&'a str, LogEntry),
    /// The log has the entry with this ticket.
    Appended {
        /// The ticket of [`Wire::append`].
        ticket: u64,
        /// The position behind the entry.
        position: Position,
        /// Whether the entry was appended now. If not, the log had one with the same idempotency key.
        is_new: bool,
    },
    /// A part of a log was read.
    Page {
        /// The ticket of [`Wire::read`].
        ticket: u64,
        /// The part.
        page: LogPage,
    },
}
