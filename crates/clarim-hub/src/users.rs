//! Signed-in users: who is online, and who wants to know.

use std::hash::Hash;

use clarim_protocol::{SocketId, server};
use hashbrown::HashMap;

use crate::apps::AppIndex;
use crate::entry::{Entry, Post, Seat, for_many};

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
            shrink(&mut user.watchers);
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
            shrink(&mut self.users);
        }
    }
}

/// Gives memory back that more entries had needed.
fn shrink<K: Eq + Hash, V>(map: &mut HashMap<K, V, foldhash::fast::RandomState>) {
    if map.len() < map.capacity() / 8 {
        map.shrink_to(map.len() * 2);
    }
}

impl User {
    fn tell(&self, id: &str, online: bool, post: &impl Post) {
        let (on, off) = if online { (Some(id), None) } else { (None, Some(id)) };
        if self.watchers.is_empty() {
            return;
        }
        let frame = server::watchlist_events(on.into_iter(), off.into_iter());
        let frame = for_many(&frame, post);
        for (&socket_id, seat) in &self.watchers {
            let (connection, frame) = (seat.connection, frame.clone());
            post.post(seat.worker, Entry::Tell { connection, socket_id, frame });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::App;
    use crate::apps::Apps;
    use crate::entry::{ConnectionId, WorkerId};

    struct Nowhere;

    impl Post for Nowhere {
        fn post(&self, _: WorkerId, _: Entry) {}
    }

    #[test]
    fn users_and_watchers_who_have_gone_take_no_memory() {
        let app = Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap();
        let key = |user: u32| (app, user.to_string().into_boxed_str());
        let mut shard = UserShard::default();
        let watcher = |n| Seat { worker: WorkerId(0), connection: ConnectionId(n) };
        for n in 0..1000 {
            shard.come(&key(n), &Nowhere);
            shard.watch(key(0), watcher(n).socket_id(1), watcher(n));
        }
        for n in 1..1000 {
            shard.go(&key(n), &Nowhere);
            shard.unwatch(&key(0), watcher(n).socket_id(1));
        }
        assert!(shard.users.capacity() < 50, "{}", shard.users.capacity());
        let watchers = shard.users[&key(0)].watchers.capacity();
        assert!(watchers < 50, "{watchers}");
    }
}
