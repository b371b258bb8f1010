//! The channels of one worker: for each, a dense list of the worker's own subscribers.

use hashbrown::HashMap;
use slab::Slab;

use crate::entry::{ChannelKey, ConnectionId};

/// A channel's place in the worker's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChannelIndex(u32);

#[derive(Debug, Default)]
pub(crate) struct Channels {
    by_key: HashMap<ChannelKey, ChannelIndex, foldhash::fast::RandomState>,
    channels: Slab<Channel>,
}

#[derive(Debug)]
struct Channel {
    key: ChannelKey,
    subscribers: Vec<ConnectionId>,
}

/// Where a connection stands in a channel's list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) channel: ChannelIndex,
    pub(crate) position: u32,
}

impl Channels {
    pub(crate) fn find(&self, key: &ChannelKey) -> Option<ChannelIndex> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn key(&self, index: ChannelIndex) -> &ChannelKey {
        &self.channels[index.0 as usize].key
    }

    pub(crate) fn subscribers(&self, key: &ChannelKey) -> &[ConnectionId] {
        self.find(key).map_or(&[], |index| &self.channels[index.0 as usize].subscribers)
    }

    pub(crate) fn add(&mut self, key: ChannelKey, connection: ConnectionId) -> Place {
        let index = *self.by_key.entry(key).or_insert_with_key(|key| {
            let channel = Channel { key: key.clone(), subscribers: Vec::new() };
            // Each channel here has a subscriber, and those are bounded far below 2^32.
            ChannelIndex(self.channels.insert(channel) as u32)
        });
        let subscribers = &mut self.channels[index.0 as usize].subscribers;
        let position = subscribers.len() as u32;
        subscribers.push(connection);
        Place { channel: index, position }
    }

    /// Takes the connection at `place` out. The last of the list moves into the gap: it is returned, for
    /// its own record of its place must change.
    pub(crate) fn remove(&mut self, place: Place) -> Option<ConnectionId> {
        let channel = &mut self.channels[place.channel.0 as usize];
        channel.subscribers.swap_remove(place.position as usize);
        if channel.subscribers.is_empty() {
            let channel = self.channels.remove(place.channel.0 as usize);
            self.by_key.remove(&channel.key);
            return None;
        }
        if channel.subscribers.len() < channel.subscribers.capacity() / 4 {
            channel.subscribers.shrink_to(channel.subscribers.len() * 2);
        }
        channel.subscribers.get(place.position as usize).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.by_key.is_empty()
    }

    /// Gives memory back that a larger past needed.
    pub(crate) fn shrink(&mut self) {
        if self.by_key.len() < self.by_key.capacity() / 8 {
            self.by_key.shrink_to_fit();
        }
        if self.channels.len() < self.channels.capacity() / 4 {
            self.channels.shrink_to_fit();
        }
    }
}
