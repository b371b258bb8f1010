//! Requests to a shard: a subscription, an event.

use std::sync::Arc;

use clarim_protocol::user::{Member, UserId};
use clarim_protocol::{Frame, Position, Since, SocketId};

use crate::address::{ChannelKey, ConnectionAddr, WorkerId};
use crate::outputs::DeliveryAcks;

/// A subscription to be made.
#[derive(Debug)]
pub(crate) struct Join<'a> {
    pub(crate) addr: ConnectionAddr,
    pub(crate) socket_id: SocketId,
    pub(crate) channel: &'a ChannelKey,
    /// The joining user, on presence channels.
    pub(crate) member: Option<&'a Member>,
    /// On channels with history: the position from which the client asks for what it missed.
    pub(crate) since: Option<&'a Since>,
    /// The client's former ids. Events that excluded these are not for it.
    pub(crate) former: &'a [SocketId],
}

/// The end of a subscription.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave<'a> {
    pub(crate) worker: WorkerId,
    pub(crate) channel: &'a ChannelKey,
    /// The leaving user, on presence channels.
    pub(crate) member: Option<&'a UserId>,
    /// Whether the connection has broken. Its user stays for the channel's grace time.
    pub(crate) is_abrupt: bool,
}

/// The result of a [`Join`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joining {
    /// The subscription is made: [`WorkerMessage::Joined`] follows.
    Done,
    /// The channel is being opened: [`WorkerMessage::Joined`] or [`WorkerMessage::Full`] follows later.
    Pending,
}

/// An event for a channel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication<'a> {
    pub(crate) channel: &'a ChannelKey,
    pub(crate) frame: &'a Frame,
    pub(crate) except: Option<SocketId>,
    pub(crate) acks: DeliveryAcks<'a>,
    pub(crate) keep: Keep,
    /// In a cluster: the idempotency key under which the history of the channel takes it once.
    pub(crate) key: Option<&'a Arc<str>>,
    /// In a cluster: its place in the history of the channel.
    pub(crate) place: Option<LogPlace>,
}

impl<'a> Publication<'a> {
    /// An event that only the subscribers of the moment get.
    pub(crate) fn new(channel: &'a ChannelKey, frame: &'a Frame) -> Self {
        let acks = DeliveryAcks::default();
        Self { channel, frame, except: None, acks, keep: Keep::No, key: None, place: None }
    }
}

/// The place that the server of the bus has given to an event in the history of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPlace {
    pub(crate) position: Position,
    /// The offset of the event before it.
    pub(crate) previous: u64,
}

/// Whether cache channels and histories keep an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Cache channels do not; histories do if their rule includes client events.
    No,
    /// As the last one.
    Last,
    /// As the last one unless there is one with a greater number.
    Numbered(u64),
}
