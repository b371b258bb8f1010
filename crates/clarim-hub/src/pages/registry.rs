//! The pages of a node: those with a live connection, and for a while those without.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clarim_protocol::{PageId, SocketId};
use hashbrown::{HashMap, HashTable};

use super::page::{Due, Former, Newcomer, Page, PageKey, Replaced};
use crate::address::{AppIndex, ConnectionAddr};
use crate::app::App;

const SHARDS: usize = 16;

/// Maximum size of the kept pages of one app in a shard: about 80,000 pages in all.
const MAX_APP_BYTES: usize = 1 << 20;

/// Maximum size of the kept pages of all apps in a shard. The largest app loses pages first.
const MAX_BYTES: usize = 4 << 20;

/// The pages of a node.
#[derive(Debug)]
pub(crate) struct Pages {
    /// A lock is held while a page is found, and while its connection changes.
    shards: Box<[Mutex<Shard>]>,
    hashers: [RandomState; 2],
}

#[derive(Debug, Default)]
struct Shard {
    pages: HashTable<Arc<Page>>,
    /// Pages without a connection.
    kept: HashMap<AppIndex, Kept, foldhash::fast::RandomState>,
    bytes: usize,
    next_number: u32,
}

/// The kept pages of one app.
#[derive(Debug, Default)]
struct Kept {
    pages: BTreeMap<Due, Arc<Page>>,
    bytes: usize,
}

/// A page that has opened a connection.
#[derive(Debug)]
pub(crate) struct Return {
    pub(crate) page: Arc<Page>,
    /// The connection's socket id.
    pub(crate) socket_id: SocketId,
    /// A connection of the page that is still open and must be closed.
    pub(crate) replaced: Option<Replaced>,
}

impl Default for Pages {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hashers: [RandomState::new(), RandomState::new()] }
    }
}

impl Pages {
    /// Gives the page to a new connection.
    pub(crate) fn open(&self, id: &PageId, new: Newcomer, now: Duration) -> Return {
        let key = PageKey(self.hashers.each_ref().map(|hasher| hasher.hash_one((new.app, id))));
        let mut shard = self.shard(key);
        let known = shard.pages.find(key.0[0], |page| page.key == key).cloned();
        let Some(page) = known else {
            let page = Arc::new(Page::new(key, new));
            shard.pages.insert_unique(key.0[0], page.clone(), |page| page.key.0[0]);
            return Return { page, socket_id: new.socket_id, replaced: None };
        };
        let replaced = match page.give_to(new, now) {
            Former::None(due) => {
                shard.take(&page, due);
                None
            }
            Former::Connection { replaced, is_settled } => is_settled.then_some(replaced),
        };
        Return { socket_id: page.socket_id(), page, replaced }
    }

    /// Handles the end of a page's connection. The page is kept if it may come back for events.
    pub(crate) fn close(&self, page: &Arc<Page>, addr: ConnectionAddr, app: &App, now: Duration) {
        let mut shard = self.shard(page.key);
        if !page.is_held_by(addr) {
            return;
        }
        match page.worth_keeping(app) {
            Some(ttl) => shard.keep(page, now + ttl),
            None => shard.remove(page),
        }
    }

    /// Forgets a page that has been closed or left.
    pub(crate) fn forget(&self, page: &Page, addr: ConnectionAddr) {
        let mut shard = self.shard(page.key);
        if page.is_held_by(addr) {
            shard.remove(page);
        }
    }

    /// Forgets the pages that have not come back in time.
    pub(crate) fn sweep(&self, now: Duration) {
        for shard in &self.shards {
            lock(shard).sweep(now);
        }
    }

    /// Whether there are no pages.
    pub(crate) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| {
            let shard = lock(shard);
            shard.pages.is_empty() && shard.kept.is_empty() && shard.bytes == 0
        })
    }

    fn shard(&self, key: PageKey) -> MutexGuard<'_, Shard> {
        // The table uses the other half.
        lock(&self.shards[key.0[1] as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    /// Keeps a page until `until`.
    fn keep(&mut self, page: &Arc<Page>, until: Duration) {
        let seconds = u32::try_from(until.as_secs()).unwrap_or(u32::MAX);
        let due = Due { seconds, number: self.next_number };
        self.next_number = self.next_number.wrapping_add(1);
        page.keep(due);
        let bytes = page.bytes();
        let kept = self.kept.entry(page.app).or_default();
        kept.pages.insert(due, page.clone());
        kept.bytes += bytes;
        self.bytes += bytes;
        while let Some(page) = self.pop_excess(page.app) {
            self.remove(&page);
        }
    }

    /// Takes a kept page out, because it is back.
    fn take(&mut self, page: &Page, due: Due) {
        if let Some(kept) = self.kept.get_mut(&page.app)
            && let Some(page) = kept.pages.remove(&due)
        {
            self.bytes -= kept.release(&page);
        }
    }

    /// Takes out the page that expires first, if its app has too many.
    fn pop_excess(&mut self, app: AppIndex) -> Option<Arc<Page>> {
        let is_over = self.kept.get(&app).is_some_and(|kept| kept.bytes > MAX_APP_BYTES);
        let kept = if is_over {
            self.kept.get_mut(&app)
        } else if self.bytes > MAX_BYTES {
            self.kept.values_mut().max_by_key(|kept| kept.bytes)
        } else {
            None
        }?;
        let (_, page) = kept.pages.pop_first()?;
        self.bytes -= kept.release(&page);
        Some(page)
    }

    fn sweep(&mut self, now: Duration) {
        let mut expired = Vec::new();
        for kept in self.kept.values_mut() {
            let is_due = |due: &Due| Duration::from_secs(u64::from(due.seconds)) <= now;
            while let Some(first) = kept.pages.first_entry().filter(|first| is_due(first.key())) {
                let page = first.remove();
                self.bytes -= kept.release(&page);
                expired.push(page);
            }
        }
        self.kept.retain(|_, kept| !kept.pages.is_empty());
        for page in expired {
            self.remove(&page);
        }
        if self.pages.len() < self.pages.capacity() / 8 {
            self.pages.shrink_to(self.pages.len() * 2, |page| page.key.0[0]);
        }
    }

    /// Forgets a page.
    fn remove(&mut self, page: &Page) {
        let is_it = |known: &Arc<Page>| known.key == page.key;
        if let Ok(entry) = self.pages.find_entry(page.key.0[0], is_it) {
            entry.remove();
        }
    }
}

impl Kept {
    /// Accounts for a page that has been taken out. Returns its bytes.
    fn release(&mut self, page: &Page) -> usize {
        let bytes = page.bytes();
        self.bytes -= bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::{ChannelName, Epoch, Position};

    use super::super::page::Acknowledged;
    use super::*;
    use crate::address::{ConnectionId, WorkerId};
    use crate::app::{Apps, HistoryRule};
    use crate::outputs::Replayed;

    const NOW: Duration = Duration::from_secs(7);

    fn apps() -> Apps {
        let app = |n: u32| {
            let mut app = App::new(n.to_string(), format!("key{n}"), "secret");
            app.history = vec![HistoryRule::new("*")];
            app
        };
        Apps::new((0..9).map(app))
    }

    /// Opens a connection of a page, which subscribes to a channel, and closes it.
    fn visit(pages: &Pages, apps: &Apps, app: &str, id: &str) {
        let app = apps.find_by_id(app).unwrap();
        let addr = ConnectionAddr { worker: WorkerId(0), connection: ConnectionId(0) };
        let new = Newcomer { app, addr, socket_id: addr.socket_id(1), changes: 0 };
        let Return { page, .. } = pages.open(&id.parse().unwrap(), new, NOW);
        let channel = ChannelName::parse("private-orders.7", 200).unwrap();
        let position = Position { epoch: Epoch(std::num::NonZeroU64::MIN), offset: 1 };
        page.subscribed(addr, &channel, Replayed { from: position, to: position }, 100);
        pages.close(&page, addr, apps.get(app), NOW);
    }

    fn kept(pages: &Pages, apps: &Apps, app: &str) -> usize {
        let app = apps.find_by_id(app).unwrap();
        let count = |shard| lock(shard).kept.get(&app).map_or(0, |kept| kept.pages.len());
        pages.shards.iter().map(count).sum()
    }

    #[test]
    fn a_kept_page_takes_200_bytes() {
        let table = size_of::<Arc<Page>>() * 8 / 5;
        let queue = size_of::<(Due, Arc<Page>)>() * 8 / 5;
        let counts = 2 * size_of::<usize>();
        let page = counts + size_of::<Page>() + size_of::<Acknowledged>() + table + queue;
        assert!(page <= 200, "{page}");
    }

    #[test]
    fn an_app_with_too_many_pages_loses_those_that_expire_first() {
        let pages = Pages::default();
        let apps = apps();
        visit(&pages, &apps, "2", "other");
        for n in 0..100_000 {
            visit(&pages, &apps, "1", &n.to_string());
        }
        let count = kept(&pages, &apps, "1");
        assert!((60_000..90_000).contains(&count), "{count}");
        assert_eq!(kept(&pages, &apps, "2"), 1);
        let bytes: usize = pages.shards.iter().map(|shard| lock(shard).bytes).sum();
        assert!(bytes <= (MAX_APP_BYTES + 1000) * SHARDS);
    }

    #[test]
    fn everything_is_forgotten_in_time() {
        let pages = Pages::default();
        let apps = apps();
        for n in 0..1_000 {
            visit(&pages, &apps, "1", &n.to_string());
        }
        assert_eq!(kept(&pages, &apps, "1"), 1_000);
        pages.sweep(NOW + Duration::from_secs(119));
        assert_eq!(kept(&pages, &apps, "1"), 1_000);
        pages.sweep(NOW + Duration::from_secs(120));
        assert!(pages.is_empty());
        assert!(pages.shards.iter().all(|shard| lock(shard).pages.capacity() < 20));
    }
}
