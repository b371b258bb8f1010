//! A user's entry in the directory: connections that have signed in, and connections that watch the user.

use std::hash::Hash;

use clarim_protocol::{SocketId, server};
use hashbrown::HashMap;

use super::step::Step;
use crate::address::ConnectionAddr;
use crate::outputs::WorkerMessage;

/// A user of this node.
#[derive(Debug, Default)]
pub(crate) struct User {
    /// Signed-in connections to this node.
    connections: u32,
    watchers: HashMap<SocketId, ConnectionAddr, foldhash::fast::RandomState>,
}

impl User {
    /// Counts a connection of the user. Returns whether it is the first.
    pub(crate) fn sign_in(&mut self) -> bool {
        self.connections += 1;
        self.connections == 1
    }

    /// Undoes one `sign_in`. Returns whether it was the last.
    pub(crate) fn sign_out(&mut self) -> bool {
        self.connections = self.connections.saturating_sub(1);
        self.connections == 0
    }

    /// Whether the user is signed in on this node.
    pub(crate) fn is_here(&self) -> bool {
        self.connections > 0
    }

    pub(crate) fn watch(&mut self, watcher: SocketId, addr: ConnectionAddr) {
        self.watchers.insert(watcher, addr);
    }

    pub(crate) fn unwatch(&mut self, watcher: SocketId) {
        self.watchers.remove(&watcher);
        shrink(&mut self.watchers);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.connections == 0 && self.watchers.is_empty()
    }

    /// Notifies the watchers that the user `id` is online or offline.
    pub(crate) fn notify_watchers(&self, id: &str, is_online: bool, step: &mut Step<'_>) {
        if self.watchers.is_empty() {
            return;
        }
        let (online, offline) = if is_online { (Some(id), None) } else { (None, Some(id)) };
        let frame = server::watchlist_events(online.into_iter(), offline.into_iter());
        let frame = step.shared(&frame);
        for (&socket_id, addr) in &self.watchers {
            let connection = addr.connection;
            let frame = frame.clone();
            step.send(addr.worker, WorkerMessage::Send { connection, socket_id, frame });
        }
    }
}

/// Gives back memory that a larger number of entries needed.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V, foldhash::fast::RandomState>) {
    if map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{ConnectionId, WorkerId};

    #[test]
    fn memory_of_former_watchers_is_freed() {
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
