//! The subjects of channels to which this node is subscribed.

use hashbrown::HashMap;

use crate::address::ChannelKey;

/// The channels of this node by subject.
#[derive(Debug)]
pub(in crate::cluster) struct Subjects {
    /// Whether this node waits for the bus to return its events.
    is_ordered: bool,
    by_name: HashMap<Box<str>, Subject, foldhash::fast::RandomState>,
    /// Number of times that the bus was lost.
    losses: u64,
}

#[derive(Debug)]
struct Subject {
    channel: ChannelKey,
    /// The number of losses when the bus last confirmed the subscription.
    confirmed_at: Option<u64>,
    /// The ticket of the last event that the bus is to return; 0 if there was none.
    last_event: u64,
}

impl Subjects {
    pub(in crate::cluster) fn new(is_ordered: bool) -> Self {
        Self { is_ordered, by_name: HashMap::default(), losses: 0 }
    }

    pub(in crate::cluster) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(in crate::cluster) fn channel(&self, subject: &str) -> Option<&ChannelKey> {
        self.by_name.get(subject).map(|known| &known.channel)
    }

    pub(in crate::cluster) fn iter(&self) -> impl Iterator<Item = (&str, &ChannelKey)> {
        self.by_name.iter().map(|(name, known)| (&**name, &known.channel))
    }

    pub(in crate::cluster) fn add(&mut self, subject: String, channel: ChannelKey) {
        self.by_name.insert(subject.into(), Subject { channel, confirmed_at: None, last_event: 0 });
    }

    /// Removes a subject. Returns the ticket of the last event that the bus was to return; 0 if there was
    /// none.
    pub(in crate::cluster) fn remove(&mut self, subject: &str) -> u64 {
        self.by_name.remove(subject).map_or(0, |known| known.last_event)
    }

    /// Handles the bus's confirmation of a subscription. Returns the channel.
    pub(in crate::cluster) fn confirm(&mut self, subject: &str) -> Option<&ChannelKey> {
        let known = self.by_name.get_mut(subject)?;
        known.confirmed_at = Some(self.losses);
        Some(&known.channel)
    }

    /// Handles the loss of the bus, after which each subscription is confirmed again.
    pub(in crate::cluster) fn lose(&mut self) {
        self.losses += 1;
    }

    /// Records the ticket of an event that this node delivers when the bus returns it, and returns the ticket
    /// of the event before it; 0 if there was none. `None` if the bus may not return it: as long as the
    /// subscription is not confirmed, there are no subscribers here either.
    pub(in crate::cluster) fn expect_return(&mut self, subject: &str, ticket: u64) -> Option<u64> {
        let known = self.by_name.get_mut(subject)?;
        let is_confirmed = known.confirmed_at == Some(self.losses);
        (self.is_ordered && is_confirmed).then(|| std::mem::replace(&mut known.last_event, ticket))
    }
}
