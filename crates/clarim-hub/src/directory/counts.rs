//! Totals of a node. They are kept up to date, so reading them costs the same with one channel and with a
//! million.

use clarim_protocol::ChannelKind;

/// The current totals of a node or of one of its shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Channels with subscribers, by [kind](ChannelKind::ALL).
    pub channels: [usize; ChannelKind::ALL.len()],
    /// Subscriptions of connections.
    pub subscriptions: usize,
    /// Users on presence channels, once per channel.
    pub members: usize,
}

impl Totals {
    pub(crate) fn channels_mut(&mut self, kind: ChannelKind) -> &mut usize {
        &mut self.channels[kind.index()]
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        for (ours, theirs) in self.channels.iter_mut().zip(other.channels) {
            *ours += theirs;
        }
        self.subscriptions += other.subscriptions;
        self.members += other.members;
    }
}
