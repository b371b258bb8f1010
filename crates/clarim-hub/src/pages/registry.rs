//! The pages of a node: those with a live connection, and for a while those without.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use clarim_protocol::{PageId, SocketId};
use hashbrown::{HashMap, HashTable};
use siphasher::sip::SipHasher13;

use super::page::{Due, Former, Newcomer, Page, PageKey, Place, Replaced, Worth};
use crate::address::{AppIndex, ConnectionAddr};
use crate::app::{App, Apps};
use crate::snapshot::{SavedPage, SavedPageLink, SavedPages, SnapshotError};

const SHARDS: usize = 16;

/// Maximum size of the kept pages of one app in a shard: about 80,000 pages in all.
const MAX_APP_BYTES: usize = 1 << 20;

/// Maximum size of the kept pages of all apps in a shard. The largest app loses pages first.
const MAX_BYTES: usize = 4 << 20;

/// Size above which a page is large: about 60 channels. Large pages get at most half of the room, so that a
/// few clients with many channels do not take the place of many others.
const LARGE: u32 = 4 << 10;

/// The pages of a node.
#[derive(Debug)]
pub(crate) struct Pages {
    /// A lock is held while a page is found, and while its connection changes.
    shards: Box<[Mutex<Shard>]>,
    /// The keys of the hash of page ids. A snapshot contains them.
    keys: OnceLock<[u64; 2]>,
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
    small: Queue,
    large: Queue,
    /// Until then, a page that was forgotten for lack of room may come back.
    forgotten_until: Duration,
}

/// Kept pages in the order in which they expire.
#[derive(Debug, Default)]
struct Queue {
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
        Self { shards, keys: OnceLock::new() }
    }
}

impl Pages {
    /// Gives the page to a new connection.
    pub(crate) fn open(&self, app: &App, id: &PageId, new: Newcomer, now: Duration) -> Return {
        let key = self.key(app, id);
        let mut shard = self.shard(key);
        let Some(page) = shard.find(key).cloned() else {
            let kept = shard.kept.get(&new.app);
            let is_incomplete = id.is_back() || kept.is_some_and(|kept| now < kept.forgotten_until);
            let page = Arc::new(Page::new(key, new, is_incomplete));
            shard.insert(page.clone());
            return Return { page, socket_id: new.socket_id, replaced: None };
        };
        if id.is_first() {
            page.share();
        }
        let (former, socket_id) = page.give_to(new, now);
        let replaced = match former {
            Former::None(place) => {
                shard.take(&page, place);
                None
            }
            Former::Connection { replaced, is_settled } => is_settled.then_some(replaced),
        };
        Return { socket_id, page, replaced }
    }

    /// Returns what pages share, for a snapshot.
    pub(crate) fn save(&self, apps: &Apps) -> SavedPages {
        let mut forgotten_until: BTreeMap<&str, Duration> = BTreeMap::new();
        for shard in &self.shards {
            for (app, kept) in &lock(shard).kept {
                let until = forgotten_until.entry(&apps.get(*app).id).or_default();
                *until = kept.forgotten_until.max(*until);
            }
        }
        forgotten_until.retain(|_, until| !until.is_zero());
        let forgotten_until = forgotten_until.into_iter();
        let forgotten_until = forgotten_until.map(|(app, until)| (app.to_owned(), until.into()));
        SavedPages { keys: self.keys(), forgotten_until: forgotten_until.collect() }
    }

    /// Writes all pages, for a snapshot.
    pub(crate) fn save_all(
        &self,
        apps: &Apps,
        write: &mut dyn FnMut(SavedPage) -> io::Result<()>,
    ) -> io::Result<()> {
        for shard in &self.shards {
            let shard = lock(shard);
            let kept = shard.kept.values().flat_map(|kept| [&kept.small, &kept.large]);
            let kept = kept.flat_map(|queue| queue.pages.values());
            let saved = kept.map(|page| page.save(apps.get(page.app)));
            let live = shard.pages.iter().map(|page| page.save(apps.get(page.app)));
            let live = live.filter(|page| page.expires.is_none());
            saved.chain(live).try_for_each(&mut *write)?;
        }
        Ok(())
    }

    /// Restores what pages share, before any page.
    pub(crate) fn restore(&self, saved: &SavedPages, apps: &Apps) {
        // No page has been opened, so the keys are not set.
        let _ = self.keys.set(saved.keys);
        for (app, until) in &saved.forgotten_until {
            let Some(app) = apps.find_by_id(app) else { continue };
            for shard in &self.shards {
                lock(shard).kept.entry(app).or_default().forgotten_until = until.get();
            }
        }
    }

    /// Restores a page. Its connections follow.
    pub(crate) fn restore_page(
        &self,
        app: AppIndex,
        saved: &SavedPage,
    ) -> Result<(), SnapshotError> {
        let page = Arc::new(Page::restored(app, saved)?);
        let mut shard = self.shard(page.key);
        if shard.find(page.key).is_some() {
            return Err(SnapshotError::invalid("a page comes twice"));
        }
        shard.insert(page.clone());
        if let Some(seconds) = saved.expires {
            shard.keep(&page, Duration::from_secs(seconds.into()));
        }
        Ok(())
    }

    /// Finds the page of a restored connection.
    pub(crate) fn find(&self, link: &SavedPageLink) -> Option<Arc<Page>> {
        let key = PageKey(link.key);
        self.shard(key).find(key).cloned()
    }

    /// Whether a page has not been forgotten.
    pub(crate) fn has(&self, page: &Arc<Page>) -> bool {
        self.shard(page.key).find(page.key).is_some_and(|known| Arc::ptr_eq(known, page))
    }

    /// Forgets the restored pages without a connection.
    pub(crate) fn finish_restore(&self) {
        for shard in &self.shards {
            lock(shard).pages.retain(|page| !page.is_nowhere());
        }
    }

    fn keys(&self) -> [u64; 2] {
        // The standard library has random keys, but no way to save them.
        let random = || [0, 1].map(|n| RandomState::new().hash_one(n));
        *self.keys.get_or_init(random)
    }

    fn key(&self, app: &App, id: &PageId) -> PageKey {
        let [one, two] = self.keys();
        let mut hasher = SipHasher13::new_with_keys(one, two);
        // A page id contains no zero.
        hasher.write(app.id.as_bytes());
        hasher.write(&[0]);
        hasher.write(id.as_str().as_bytes());
        PageKey(hasher.finish())
    }

    /// Handles the end of a page's connection. The page is kept if it may come back for events.
    pub(crate) fn close(&self, page: &Arc<Page>, addr: ConnectionAddr, app: &App, now: Duration) {
        let mut shard = self.shard(page.key);
        match page.ended(addr, app) {
            Worth::InUse => {}
            Worth::Keep(ttl) => shard.keep(page, now + ttl),
            Worth::Nothing => shard.remove(page),
        }
    }

    /// Handles the end of a page that has been closed or left. It is forgotten, unless another tab may have
    /// the same id.
    pub(crate) fn leave(&self, page: &Arc<Page>, addr: ConnectionAddr, app: &App, now: Duration) {
        if page.left(addr, now) {
            self.shard(page.key).remove(page);
        } else {
            self.close(page, addr, app, now);
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
        // The table uses the highest and the lowest bits.
        lock(&self.shards[(key.0 >> 40) as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn find(&self, key: PageKey) -> Option<&Arc<Page>> {
        self.pages.find(key.0, |page| page.key == key)
    }

    fn insert(&mut self, page: Arc<Page>) {
        self.pages.insert_unique(page.key.0, page, |page| page.key.0);
    }

    /// Keeps a page until `until`.
    fn keep(&mut self, page: &Arc<Page>, until: Duration) {
        match self.find(page.key) {
            Some(known) if !Arc::ptr_eq(known, page) => return,
            Some(_) => {}
            // One of its tabs was closed, and it was forgotten.
            None => self.insert(page.clone()),
        }
        let seconds = u32::try_from(until.as_secs()).unwrap_or(u32::MAX);
        let due = Due { seconds, number: self.next_number };
        self.next_number = self.next_number.wrapping_add(1);
        let place = Place { due, bytes: u32::try_from(page.bytes()).unwrap_or(u32::MAX) };
        if let Some(before) = page.keep(place) {
            self.take(page, before);
        }
        let queue = self.kept.entry(page.app).or_default().queue_of(place);
        queue.pages.insert(due, page.clone());
        queue.bytes += place.bytes as usize;
        self.bytes += place.bytes as usize;
        self.make_room(page.app);
    }

    /// Takes a kept page out, because it is back.
    fn take(&mut self, page: &Page, place: Place) {
        if let Some(kept) = self.kept.get_mut(&page.app) {
            let queue = kept.queue_of(place);
            if queue.pages.remove(&place.due).is_some() {
                queue.bytes -= place.bytes as usize;
                self.bytes -= place.bytes as usize;
            }
        }
    }

    /// Forgets the pages that expire first, while an app has too many.
    fn make_room(&mut self, app: AppIndex) {
        loop {
            let is_over = self.kept.get(&app).is_some_and(|kept| kept.bytes() > MAX_APP_BYTES);
            let kept = if is_over {
                self.kept.get_mut(&app)
            } else if self.bytes > MAX_BYTES {
                self.kept.values_mut().max_by_key(|kept| kept.bytes())
            } else {
                None
            };
            let Some((due, page, bytes)) = kept.and_then(Kept::pop) else { return };
            self.bytes -= bytes;
            if let Some(kept) = self.kept.get_mut(&page.app) {
                let until = Duration::from_secs(u64::from(due.seconds));
                kept.forgotten_until = kept.forgotten_until.max(until);
            }
            self.remove(&page);
        }
    }

    fn sweep(&mut self, now: Duration) {
        let mut expired = Vec::new();
        for kept in self.kept.values_mut() {
            for queue in [&mut kept.small, &mut kept.large] {
                while let Some((page, bytes)) = queue.pop_due(now) {
                    self.bytes -= bytes;
                    expired.push(page);
                }
            }
        }
        self.kept.retain(|_, kept| kept.bytes() > 0 || now < kept.forgotten_until);
        for page in expired {
            self.remove(&page);
        }
        if self.pages.len() < self.pages.capacity() / 8 {
            self.pages.shrink_to(self.pages.len() * 2, |page| page.key.0);
        }
    }

    /// Forgets a page.
    fn remove(&mut self, page: &Page) {
        let is_it = |known: &Arc<Page>| std::ptr::eq(&raw const **known, page);
        if let Ok(entry) = self.pages.find_entry(page.key.0, is_it) {
            entry.remove();
        }
    }
}

impl Kept {
    fn bytes(&self) -> usize {
        self.small.bytes + self.large.bytes
    }

    fn queue_of(&mut self, place: Place) -> &mut Queue {
        if place.bytes > LARGE { &mut self.large } else { &mut self.small }
    }

    /// Takes out a page to make room, with the time at which it expires and its size.
    fn pop(&mut self) -> Option<(Due, Arc<Page>, usize)> {
        let is_large = self.large.bytes > MAX_APP_BYTES / 2 || self.small.bytes == 0;
        let queue = if is_large { &mut self.large } else { &mut self.small };
        let (due, page) = queue.pages.pop_first()?;
        let bytes = queue.release(&page);
        Some((due, page, bytes))
    }
}

impl Queue {
    fn pop_due(&mut self, now: Duration) -> Option<(Arc<Page>, usize)> {
        let first = self.pages.first_entry()?;
        if Duration::from_secs(u64::from(first.key().seconds)) > now {
            return None;
        }
        let page = first.remove();
        let bytes = self.release(&page);
        Some((page, bytes))
    }

    /// Accounts for a page that has been taken out. Returns its size.
    fn release(&mut self, page: &Page) -> usize {
        let bytes = page.kept_bytes();
        self.bytes -= bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::{ChannelName, Epoch, Position};

    use super::super::positions::Positions;
    use super::*;
    use crate::address::{ConnectionId, WorkerId};
    use crate::app::HistoryRule;
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

    /// Opens a connection of a page, which subscribes to some channels, and closes it.
    fn visit(pages: &Pages, apps: &Apps, app: &str, id: &str, channels: usize) -> Arc<Page> {
        let app = apps.find_by_id(app).unwrap();
        let addr = ConnectionAddr { worker: WorkerId(0), connection: ConnectionId(0) };
        let new = Newcomer { app, addr, socket_id: addr.socket_id(1), changes: 0 };
        let Return { page, .. } = pages.open(apps.get(app), &id.parse().unwrap(), new, NOW);
        for n in 0..channels {
            let channel = ChannelName::parse(&format!("private-orders.{n}"), 200).unwrap();
            let position = Position { epoch: Epoch(std::num::NonZeroU64::MIN), offset: 1 };
            let replayed = Replayed { from: position, to: position };
            page.subscribed(addr, &channel, replayed, 1000, Positions::default);
        }
        pages.close(&page, addr, apps.get(app), NOW);
        page
    }

    fn kept(pages: &Pages, apps: &Apps, app: &str) -> usize {
        let app = apps.find_by_id(app).unwrap();
        let count = |kept: &Kept| kept.small.pages.len() + kept.large.pages.len();
        pages.shards.iter().map(|shard| lock(shard).kept.get(&app).map_or(0, count)).sum()
    }

    #[test]
    fn a_kept_page_takes_200_bytes() {
        let page = visit(&Pages::default(), &apps(), "1", "x", 1);
        assert!(page.bytes() <= 200 + "private-orders.0".len(), "{}", page.bytes());
        let page = visit(&Pages::default(), &apps(), "1", "x", 4);
        assert!(page.bytes() <= 440, "{}", page.bytes());
    }

    #[test]
    fn pages_with_many_channels_do_not_take_the_place_of_others() {
        let pages = Pages::default();
        let apps = apps();
        for n in 0..10_000 {
            visit(&pages, &apps, "1", &format!("small-{n}"), 1);
        }
        for n in 0..4_000 {
            visit(&pages, &apps, "1", &format!("large-{n}"), 100);
        }
        let small = |shard: &Mutex<Shard>| -> usize {
            lock(shard).kept.values().map(|kept| kept.small.pages.len()).sum()
        };
        assert_eq!(pages.shards.iter().map(small).sum::<usize>(), 10_000);
        let large = kept(&pages, &apps, "1") - 10_000;
        assert!((1_000..3_000).contains(&large), "{large}");
    }

    #[test]
    fn a_page_that_made_room_for_others_may_have_missed_something() {
        let pages = Pages::default();
        let apps = apps();
        for n in 0..100_000 {
            visit(&pages, &apps, "1", &n.to_string(), 1);
        }
        let app = apps.find_by_id("1").unwrap();
        let addr = ConnectionAddr { worker: WorkerId(0), connection: ConnectionId(0) };
        let new = Newcomer { app, addr, socket_id: addr.socket_id(1), changes: 0 };
        let channel = ChannelName::parse("private-orders.0", 200).unwrap();
        let since = |id: &str, now| {
            let back = pages.open(apps.get(app), &id.parse().unwrap(), new, now);
            back.page.since(addr, &channel).map(|it| it.since)
        };
        assert_eq!(since("0", NOW), Some(clarim_protocol::Since::Invalid));
        pages.sweep(NOW + Duration::from_secs(120));
        assert_eq!(since("1", NOW + Duration::from_secs(120)), None);
    }

    #[test]
    fn an_app_with_too_many_pages_loses_those_that_expire_first() {
        let pages = Pages::default();
        let apps = apps();
        visit(&pages, &apps, "2", "other", 1);
        for n in 0..100_000 {
            visit(&pages, &apps, "1", &n.to_string(), 1);
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
            visit(&pages, &apps, "1", &n.to_string(), 1);
        }
        assert_eq!(kept(&pages, &apps, "1"), 1_000);
        pages.sweep(NOW + Duration::from_secs(119));
        assert_eq!(kept(&pages, &apps, "1"), 1_000);
        pages.sweep(NOW + Duration::from_secs(120));
        assert!(pages.is_empty());
        assert!(pages.shards.iter().all(|shard| lock(shard).pages.capacity() < 20));
    }
}
