//! Pending subscriptions of a worker's connections: their channels are being opened.

use clarim_protocol::SocketId;
use hashbrown::HashMap;

use crate::address::{ChannelKey, ConnectionId};

/// The pending subscriptions of a worker. Only in a cluster does a subscription wait, for some milliseconds:
/// this is nearly always empty.
#[derive(Debug, Default)]
pub(crate) struct PendingChannels {
    channels: HashMap<ConnectionId, Vec<ChannelKey>, foldhash::fast::RandomState>,
    /// Subscriptions that were made while they were being canceled.
    canceled: HashMap<(SocketId, ChannelKey), u32, foldhash::fast::RandomState>,
}

impl PendingChannels {
    pub(crate) fn add(&mut self, connection: ConnectionId, channel: ChannelKey) {
        self.channels.entry(connection).or_default().push(channel);
    }

    pub(crate) fn of(&self, connection: ConnectionId) -> &[ChannelKey] {
        self.channels.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// Removes a pending subscription. Returns whether there was one.
    pub(crate) fn remove(&mut self, connection: ConnectionId, channel: &ChannelKey) -> bool {
        let Some(channels) = self.channels.get_mut(&connection) else { return false };
        let Some(at) = channels.iter().position(|pending| pending == channel) else { return false };
        channels.swap_remove(at);
        if channels.is_empty() {
            self.channels.remove(&connection);
            self.shrink();
        }
        true
    }

    /// Removes and returns all pending subscriptions of a connection.
    pub(crate) fn remove_all(&mut self, connection: ConnectionId) -> Vec<ChannelKey> {
        self.channels.remove(&connection).unwrap_or_default()
    }

    /// Marks a subscription as canceled whose message is already on its way to the worker.
    pub(crate) fn mark_canceled(&mut self, socket_id: SocketId, channel: ChannelKey) {
        *self.canceled.entry((socket_id, channel)).or_default() += 1;
    }

    /// Takes the mark of a canceled subscription. Returns whether there was one.
    pub(crate) fn take_canceled(&mut self, socket_id: SocketId, channel: &ChannelKey) -> bool {
        if self.canceled.is_empty() {
            return false;
        }
        let key = (socket_id, channel.clone());
        let Some(count) = self.canceled.get_mut(&key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.canceled.remove(&key);
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.canceled.is_empty()
    }

    fn shrink(&mut self) {
        if self.channels.len() < self.channels.capacity() / 8 {
            self.channels.shrink_to_fit();
        }
    }
}
