//! Events of this node that may not have reached the other nodes.

use hashbrown::HashSet;

use crate::address::ChannelKey;

/// Maximum number of channels that are remembered. With more of them, the other nodes announce a gap on all.
const MAX_UNSENT: usize = 10_000;

/// Channels with events of this node that may not have reached the others.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    channels: HashSet<ChannelKey, foldhash::fast::RandomState>,
    /// Whether there are more.
    is_incomplete: bool,
}

impl Unsent {
    /// Whether there are any.
    pub(super) fn has_some(&self) -> bool {
        self.is_incomplete || !self.channels.is_empty()
    }

    /// Records that the bus did not accept an event on this channel, or a message about it. `None`: on any
    /// channel.
    pub(super) fn add(&mut self, channel: Option<ChannelKey>) {
        let channel = channel.filter(|_| self.channels.len() < MAX_UNSENT);
        self.is_incomplete |= channel.is_none();
        self.channels.extend(channel);
    }

    /// Takes the channels of which the other nodes get a notice, up to a number of them. `None` means all
    /// channels.
    pub(super) fn take(&mut self, max: usize) -> Vec<Option<ChannelKey>> {
        if std::mem::take(&mut self.is_incomplete) {
            self.channels = HashSet::default();
            return vec![None];
        }
        let channels = self.channels.extract_if(|_| true).take(max).map(Some).collect();
        if self.channels.is_empty() && self.channels.capacity() > 0 {
            self.channels = HashSet::default();
        }
        channels
    }
}
