//! The channels of one worker: for each, a dense list of the worker's own subscribers.

use hashbrown::HashMap;
use slab::Slab;

use crate::address::{ChannelKey, ConnectionId};
use crate::connection::{ChannelIndex, Position};

/// The subscribers of each channel of one worker.
#[derive(Debug, Default)]
pub(crate) struct Subscribers {
    by_key: HashMap<ChannelKey, ChannelIndex, foldhash::fast::RandomState>,
    channels: Slab<Channel>,
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
            return None;
        }
        if channel.subscribers.len() < channel.subscribers.capacity() / 4 {
            channel.subscribers.shrink_to(channel.subscribers.len() * 2);
        }
        channel.subscribers.get(position.offset as usize).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.by_key.is_empty()
    }

    /// Gives back memory that a larger number of channels needed.
    pub(crate) fn shrink(&mut self) {
        if self.by_key.len() < self.by_key.capacity() / 8 {
            self.by_key.shrink_to_fit();
        }
        if self.channels.len() < self.channels.capacity() / 4 {
            self.channels.shrink_to_fit();
        }
    }
}
