//! The user whose own channel it is: whether signed in, and who wants to know.

use std::hash::Hash;
use std::time::Duration;

use clarim_protocol::cluster::Change;
use clarim_protocol::{SocketId, server};
use hashbrown::HashMap;

use crate::entry::{ChannelKey, ConnectionAddr, Outputs, WorkerMessage, for_many};
use crate::shard::Shard;

#[derive(Debug, Default)]
pub(crate) struct User {
    /// Signed-in connections to this node.
    connections: u32,
    watchers: HashMap<SocketId, ConnectionAddr, foldhash::fast::RandomState>,
}

impl User {
    /// Counts a connection of the user. Whether it is the first.
    pub(crate) fn come(&mut self) -> bool {
        self.connections += 1;
        self.connections == 1
    }

    /// Undoes one `come`. Whether it was the last.
    pub(crate) fn go(&mut self) -> bool {
        self.connections = self.connections.saturating_sub(1);
        self.connections == 0
    }

    /// Whether the user is signed in on this node.
    pub(crate) fn is_here(&self) -> bool {
        self.connections > 0
    }

    /// From now on the connection hears of the user's coming and going.
    pub(crate) fn watch(&mut self, watcher: SocketId, seat: ConnectionAddr) {
        self.watchers.insert(watcher, seat);
    }

    pub(crate) fn unwatch(&mut self, watcher: SocketId) {
        self.watchers.remove(&watcher);
        shrink(&mut self.watchers);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections == 0 && self.watchers.is_empty()
    }

    /// Tells the watchers that the user has come or gone.
    pub(crate) fn tell(&self, id: &str, online: bool, post: &impl Outputs) {
        let (on, off) = if online { (Some(id), None) } else { (None, Some(id)) };
        if self.watchers.is_empty() {
            return;
        }
        let frame = server::watchlist_events(on.into_iter(), off.into_iter());
        let frame = for_many(&frame, post);
        for (&socket_id, seat) in &self.watchers {
            let (connection, frame) = (seat.connection, frame.clone());
            post.post(seat.worker, WorkerMessage::Tell { connection, socket_id, frame });
        }
    }
}

impl Shard {
    /// A connection has signed in as the user whose channel it is.
    pub(crate) fn come(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        let channel = self.open(key, now, post);
        let was_online = channel.is_online();
        if channel.user.get_or_insert_default().come() {
            channel.changed(key, Change::Online(true), post);
        }
        channel.tell_watchers(key, was_online, post);
    }

    /// Undoes one `come`.
    pub(crate) fn go(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        let Some(channel) = self.channels.get_mut(key) else { return };
        let was_online = channel.is_online();
        if channel.user.as_mut().is_some_and(|user| user.go()) {
            channel.changed(key, Change::Online(false), post);
        }
        channel.tell_watchers(key, was_online, post);
        self.remove_user_if_empty(key, now, post);
    }

    /// From now on the connection hears of the user's coming and going. Whether the user is online now.
    pub(crate) fn watch(
        &mut self,
        key: &ChannelKey,
        (watcher, seat): (SocketId, ConnectionAddr),
        now: Duration,
        post: &impl Outputs,
    ) -> bool {
        let channel = self.open(key, now, post);
        channel.user.get_or_insert_default().watch(watcher, seat);
        channel.is_online()
    }

    pub(crate) fn unwatch(
        &mut self,
        key: &ChannelKey,
        watcher: SocketId,
        now: Duration,
        post: &impl Outputs,
    ) {
        if let Some(user) = self.channels.get_mut(key).and_then(|channel| channel.user.as_mut()) {
            user.unwatch(watcher);
            self.remove_user_if_empty(key, now, post);
        }
    }

    fn remove_user_if_empty(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        if let Some(channel) = self.channels.get_mut(key)
            && channel.user.as_ref().is_some_and(|user| user.is_empty())
        {
            channel.user = None;
            self.remove_if_empty(key, now, post);
        }
    }
}

/// Gives memory back that more entries had needed.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V, foldhash::fast::RandomState>) {
    if map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{ConnectionId, WorkerId};

    #[test]
    fn watchers_who_have_gone_take_no_memory() {
        let mut user = User::default();
        let watcher = |n| ConnectionAddr { worker: WorkerId(0), connection: ConnectionId(n) };
        for n in 0..1000 {
            user.watch(watcher(n).socket_id(1), watcher(n));
        }
        for n in 1..1000 {
            user.unwatch(watcher(n).socket_id(1));
        }
        assert!(user.watchers.capacity() < 50, "{}", user.watchers.capacity());
    }
}
