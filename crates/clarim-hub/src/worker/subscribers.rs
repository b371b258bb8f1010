//! The channels of one worker: for each, a dense list of the worker's own subscribers.

use clarim_protocol::Position as HistoryPosition;
use hashbrown::HashMap;
use slab::Slab;

use crate::address::{ChannelKey, ConnectionId};
use crate::connection::{ChannelIndex, Position};

/// The subscribers of each channel of one worker.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    by_key: HashMap<ChannelKey, ChannelIndex, foldhash::fast::RandomState>,
    channels: Slab<Channel>,
    /// What has been sent of channels with history, if a page follows them.
    sent: HashMap<ChannelIndex, Sent, foldhash::fast::RandomState>,
    /// Number of changes in `sent` so far.
    changes: u64,
    /// The channels whose position has changed since they were last taken.
    changed: Vec<ChannelIndex>,
}

/// The last position that the subscribers of a channel have been sent.
#[derive(Debug)]
struct Sent {
    position: HistoryPosition,
    /// The number of its last change.
    change: u64,
    /// It is among the changed channels.
    is_listed: bool,
}

#[derive(Debug)]
struct Channel {
    key: ChannelKey,
    subscribers: Vec<ConnectionId>,
}

impl Subscribers {
    pub(crate) fn find(&self, key: &ChannelKey) -> Option<ChannelIndex> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn key(&self, index: ChannelIndex) -> &ChannelKey {
        &self.channels[index.0 as usize].key
    }

    pub(crate) fn of(&self, key: &ChannelKey) -> &[ConnectionId] {
        self.find(key).map_or(&[], |index| &self.channels[index.0 as usize].subscribers)
    }

    /// Returns the subscribers that get the next message of a channel. `position`: that behind the message.
    pub(crate) fn deliver(
        &mut self,
        key: &ChannelKey,
        position: Option<HistoryPosition>,
    ) -> &[ConnectionId] {
        let Some(index) = self.find(key) else { return &[] };
        if let Some(position) = position
            && !self.sent.is_empty()
            && let Some(sent) = self.sent.get_mut(&index)
            && sent.position != position
        {
            self.changes += 1;
            if !sent.is_listed {
                self.changed.push(index);
            }
            *sent = Sent { position, change: self.changes, is_listed: true };
        }
        &self.channels[index.0 as usize].subscribers
    }

    /// Begins to follow what is sent of a channel. `position`: that behind everything that has been sent.
    pub(crate) fn follow(&mut self, index: ChannelIndex, position: HistoryPosition) {
        self.sent.entry(index).or_insert(Sent { position, change: 0, is_listed: false });
    }

    /// Returns whether there are channels to take.
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Returns the channels that pages follow and whose position has changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<ChannelIndex> {
        let changed = std::mem::take(&mut self.changed);
        for index in &changed {
            if let Some(sent) = self.sent.get_mut(index) {
                sent.is_listed = false;
            }
        }
        changed
    }

    /// Returns the subscribers of a channel. There are none if the channel is gone.
    pub(crate) fn at(&self, index: ChannelIndex) -> &[ConnectionId] {
        self.channels.get(index.0 as usize).map_or(&[], |channel| &channel.subscribers)
    }

    /// Returns the position behind what has been sent of a channel, if a page follows the channel and it has
    /// changed after a number of changes.
    pub(crate) fn sent(&self, index: ChannelIndex, after: Option<u64>) -> Option<HistoryPosition> {
        let is_new = |sent: &&Sent| after.is_none_or(|after| sent.change > after);
        self.sent.get(&index).filter(is_new).map(|sent| sent.position)
    }

    /// Returns the number of changes in what has been sent of channels that pages follow.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn add(&mut self, key: ChannelKey, connection: ConnectionId) -> Position {
        let index = *self.by_key.entry(key).or_insert_with_key(|key| {
            let channel = Channel { key: key.clone(), subscribers: Vec::new() };
            // Each channel here has a subscriber, and there are far fewer than 2^32 of those.
            ChannelIndex(self.channels.insert(channel) as u32)
        });
        let subscribers = &mut self.channels[index.0 as usize].subscribers;
        let offset = subscribers.len() as u32;
        subscribers.push(connection);
        Position { channel: index, offset }
    }

    /// Removes the connection at `position`. The last connection of the list moves into the gap and is
    /// returned: its own record of its position must change.
    pub(crate) fn remove(&mut self, position: Position) -> Option<ConnectionId> {
        let channel = &mut self.channels[position.channel.0 as usize];
        channel.subscribers.swap_remove(position.offset as usize);
        if channel.subscribers.is_empty() {
            let channel = self.channels.remove(position.channel.0 as usize);
            self.by_key.remove(&channel.key);
            if !self.sent.is_empty() {
                self.sent.remove(&position.channel);
            }
            return None;
        }
        if channel.subscribers.len() < channel.subscribers.capacity() / 4 {
            channel.subscribers.shrink_to(channel.subscribers.len() * 2);
        }
        channel.subscribers.get(position.offset as usize).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.by_key.is_empty() && self.sent.is_empty()
    }

    /// Gives back memory that a larger number of channels needed.
    pub(crate) fn shrink(&mut self) {
        if self.by_key.len() < self.by_key.capacity() / 8 {
            self.by_key.shrink_to_fit();
        }
        if self.channels.len() < self.channels.capacity() / 4 {
            self.channels.shrink_to_fit();
        }
        if self.sent.len() < self.sent.capacity() / 8 {
            self.sent.shrink_to_fit();
        }
    }
}
