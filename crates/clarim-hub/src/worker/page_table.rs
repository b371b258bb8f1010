//! The connections of a worker that have named a page id.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use clarim_protocol::SocketId;
use hashbrown::HashMap;

use crate::address::ConnectionId;
use crate::pages::Page;

/// The connections of a worker that have named a page id. The others have no entry.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    pages: BTreeMap<ConnectionId, Arc<Page>>,
    /// Connections with the socket id of a former connection of their page, which names another address.
    aliases: HashMap<SocketId, ConnectionId, foldhash::fast::RandomState>,
}

impl PageTable {
    pub(super) fn insert(&mut self, id: ConnectionId, page: Arc<Page>) {
        self.pages.insert(id, page);
    }

    pub(super) fn get(&self, id: ConnectionId) -> Option<&Arc<Page>> {
        self.pages.get(&id)
    }

    pub(super) fn remove(&mut self, id: ConnectionId) -> Option<Arc<Page>> {
        self.pages.remove(&id)
    }

    /// Returns the connections in `slots`.
    pub(super) fn range(
        &self,
        slots: Range<usize>,
    ) -> impl Iterator<Item = (ConnectionId, &Arc<Page>)> {
        let id = |slot| ConnectionId(u32::try_from(slot).unwrap_or(u32::MAX));
        self.pages.range(id(slots.start)..id(slots.end)).map(|(id, page)| (*id, page))
    }

    /// Finds a connection whose socket id does not contain its address.
    pub(super) fn find(&self, socket_id: SocketId) -> Option<ConnectionId> {
        if self.aliases.is_empty() { None } else { self.aliases.get(&socket_id).copied() }
    }

    /// Makes a connection known by a socket id that does not contain its address.
    pub(super) fn add_alias(&mut self, socket_id: SocketId, id: ConnectionId) {
        self.aliases.insert(socket_id, id);
    }

    /// Undoes [`add_alias`](Self::add_alias), if it was called.
    pub(super) fn remove_alias(&mut self, socket_id: SocketId, id: ConnectionId) {
        if self.find(socket_id) == Some(id) {
            self.aliases.remove(&socket_id);
            if self.aliases.len() < self.aliases.capacity() / 8 {
                self.aliases.shrink_to_fit();
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pages.is_empty() && self.aliases.is_empty()
    }
}
