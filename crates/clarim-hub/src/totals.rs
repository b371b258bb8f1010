//! How much there is of everything: kept up to date, so that asking costs the same with one channel and with
//! a million.

use clarim_protocol::ChannelKind;

/// What a node, or a shard of it, has at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Channels with subscribers: public, private, encrypted, presence, and those of users.
    pub channels: [usize; 5],
    /// Subscriptions of connections.
    pub subscriptions: usize,
    /// Users on presence channels, each once for each channel.
    pub members: usize,
}

impl Totals {
    /// What [`channels`](Self::channels) counts, in its order.
    pub const KINDS: [&str; 5] = ["public", "private", "encrypted", "presence", "user"];

    pub(crate) fn channels_of(&mut self, kind: ChannelKind) -> &mut usize {
        &mut self.channels[match kind {
            ChannelKind::Public => 0,
            ChannelKind::Private => 1,
            ChannelKind::Encrypted => 2,
            ChannelKind::Presence => 3,
            ChannelKind::User => 4,
        }]
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
