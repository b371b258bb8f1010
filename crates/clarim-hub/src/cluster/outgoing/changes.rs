//! Changes of this node's state that are on their way to the other nodes and back.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use clarim_cluster::timing::RETURN_TIMEOUT;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::address::ChannelKey;

/// A change of this node's state.
#[derive(Debug)]
pub(super) struct OwnChange {
    pub(super) channel: ChannelKey,
    /// The [`StateChange`](clarim_cluster::ClusterMessage::StateChange), encoded.
    pub(super) message: Bytes,
}

/// Changes of this node's state that the bus is to return, by channel. This node applies a change when it
/// returns, or when it will not: then no other node has a say in who reports it to the backend.
#[derive(Debug, Default)]
pub(super) struct Changes(
    HashMap<ChannelKey, VecDeque<PendingChange>, foldhash::fast::RandomState>,
);

#[derive(Debug)]
struct PendingChange {
    number: u64,
    sent: Duration,
    message: Bytes,
}

impl Changes {
    /// Whether the bus is to return no change.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the change after which the state has this version.
    pub(super) fn add(&mut self, change: OwnChange, number: u64, now: Duration) {
        let OwnChange { channel, message } = change;
        let change = PendingChange { number, sent: now, message };
        self.0.entry(channel).or_default().push_back(change);
    }

    /// Takes the change that the bus has returned, behind those before it on its channel, which were lost.
    pub(super) fn take_through(
        &mut self,
        channel: &ChannelKey,
        number: u64,
    ) -> SmallVec<[OwnChange; 1]> {
        let mut taken = SmallVec::new();
        let Some(changes) = self.0.get_mut(channel) else { return taken };
        while let Some(change) = changes.pop_front_if(|change| change.number <= number) {
            taken.push(OwnChange { channel: channel.clone(), message: change.message });
        }
        if changes.is_empty() {
            self.remove(channel);
        }
        taken
    }

    /// Takes the changes that the bus has not returned, though it has returned a message that this node sent
    /// at `sent`, long after.
    pub(super) fn take_overdue(&mut self, sent: Duration) -> Vec<OwnChange> {
        let is_overdue = |change: &PendingChange| change.sent + RETURN_TIMEOUT < sent;
        let channels = self.0.iter().filter_map(|(channel, changes)| {
            let last = changes.iter().rfind(|change| is_overdue(change))?;
            Some((channel.clone(), last.number))
        });
        let channels: Vec<(ChannelKey, u64)> = channels.collect();
        channels.iter().flat_map(|(channel, last)| self.take_through(channel, *last)).collect()
    }

    /// Takes all changes, each channel's in order.
    pub(super) fn take_all(&mut self) -> Vec<OwnChange> {
        let all = std::mem::take(&mut self.0).into_iter();
        all.flat_map(|(channel, changes)| {
            changes.into_iter().map(move |PendingChange { message, .. }| OwnChange {
                channel: channel.clone(),
                message,
            })
        })
        .collect()
    }

    /// Forgets the changes of a channel that is closed, or has none left.
    pub(super) fn remove(&mut self, channel: &ChannelKey) {
        self.0.remove(channel);
        if self.0.len() < self.0.capacity() / 8 {
            self.0.shrink_to_fit();
        }
    }
}
