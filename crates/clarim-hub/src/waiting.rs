//! Subscriptions of a worker's connections that wait for their channels to be opened.

use hashbrown::HashMap;

use crate::entry::{ChannelKey, ConnectionId};
use clarim_protocol::SocketId;

/// Only in a cluster does anybody ever wait, and for some milliseconds; so it is empty nearly always.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    channels: HashMap<ConnectionId, Vec<ChannelKey>, foldhash::fast::RandomState>,
    /// Subscriptions that were made while they were called off.
    unwanted: HashMap<(SocketId, ChannelKey), u32, foldhash::fast::RandomState>,
}

impl Waiting {
    pub(crate) fn add(&mut self, connection: ConnectionId, channel: ChannelKey) {
        self.channels.entry(connection).or_default().push(channel);
    }

    pub(crate) fn of(&self, connection: ConnectionId) -> &[ChannelKey] {
        self.channels.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// Whether the connection waits for the channel; from now on it doesn't.
    pub(crate) fn remove(&mut self, connection: ConnectionId, channel: &ChannelKey) -> bool {
        let Some(channels) = self.channels.get_mut(&connection) else { return false };
        let Some(at) = channels.iter().position(|waiting| waiting == channel) else { return false };
        channels.swap_remove(at);
        if channels.is_empty() {
            self.channels.remove(&connection);
            self.shrink();
        }
        true
    }

    /// All that the connection waits for; from now on it waits for nothing.
    pub(crate) fn remove_all(&mut self, connection: ConnectionId) -> Vec<ChannelKey> {
        self.channels.remove(&connection).unwrap_or_default()
    }

    /// A subscription on its way to the worker is no longer wanted.
    pub(crate) fn refuse(&mut self, socket_id: SocketId, channel: ChannelKey) {
        *self.unwanted.entry((socket_id, channel)).or_default() += 1;
    }

    /// Whether a subscription that has come is unwanted; the next one is not.
    pub(crate) fn take_unwanted(&mut self, socket_id: SocketId, channel: &ChannelKey) -> bool {
        if self.unwanted.is_empty() {
            return false;
        }
        let key = (socket_id, channel.clone());
        let Some(count) = self.unwanted.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.unwanted.remove(&key);
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.unwanted.is_empty()
    }

    fn shrink(&mut self) {
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }
}
