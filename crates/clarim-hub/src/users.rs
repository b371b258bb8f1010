//! Signed-in users: who is online, and who wants to know.

use clarim_protocol::{SocketId, server};
use hashbrown::HashMap;

use crate::apps::AppIndex;
use crate::entry::{Entry, Post, Seat};

type UserKey = (AppIndex, Box<str>);

/// A part of the node's users. As with channels, each method is one step under the lock.
#[derive(Debug, Default)]
pub(crate) struct UserShard {
    users: HashMap<UserKey, User, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct User {
    /// Signed-in connections.
    connections: u32,
    watchers: HashMap<SocketId, Seat, foldhash::fast::RandomState>,
}

impl UserShard {
    /// Counts a connection of the user; the watchers hear of the first.
    pub(crate) fn come(&mut self, key: &UserKey, post: &impl Post) {
        let user = self.users.entry(key.clone()).or_default();
        user.connections += 1;
        if user.connections == 1 {
            user.tell(&key.1, true, post);
        }
    }

    /// Undoes one `come`; the watchers hear of the last.
    pub(crate) fn go(&mut self, key: &UserKey, post: &impl Post) {
        let Some(user) = self.users.get_mut(key) else {
            return;
        };
        user.connections -= 1;
        if user.connections == 0 {
            user.tell(&key.1, false, post);
        }
        self.remove_if_empty(key);
    }

    /// From now on the connection hears of the user's coming and going. Whether the user is online now.
    pub(crate) fn watch(&mut self, key: UserKey, watcher: SocketId, seat: Seat) -> bool {
        let user = self.users.entry(key).or_default();
        user.watchers.insert(watcher, seat);
        user.connections > 0
    }

    pub(crate) fn unwatch(&mut self, key: &UserKey, watcher: SocketId) {
        if let Some(user) = self.users.get_mut(key) {
            user.watchers.remove(&watcher);
            self.remove_if_empty(key);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    fn remove_if_empty(&mut self, key: &UserKey) {
        let empty = |user: &User| user.connections == 0 && user.watchers.is_empty();
        if self.users.get(key).is_some_and(empty) {
            self.users.remove(key);
        }
    }
}

impl User {
    fn tell(&self, id: &str, online: bool, post: &impl Post) {
        let (on, off) = if online { (Some(id), None) } else { (None, Some(id)) };
        if self.watchers.is_empty() {
            return;
        }
        let frame = server::watchlist_events(on.into_iter(), off.into_iter());
        for (&socket_id, seat) in &self.watchers {
            let (connection, frame) = (seat.connection, frame.clone());
            post.post(seat.worker, Entry::Tell { connection, socket_id, frame });
        }
    }
}
