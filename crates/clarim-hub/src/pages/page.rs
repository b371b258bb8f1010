//! A page: its socket id, and the positions that it has acknowledged.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clarim_protocol::{ChannelName, Position, Since, SocketId};

use super::live::Live;
use super::positions::{BEFORE_GAP, Positions};
use super::twins::Twins;
use crate::address::{AppIndex, ConnectionAddr};
use crate::app::App;
use crate::outputs::Replayed;
use crate::snapshot::{SavedPage, SavedPageLink, SavedPageRole, SnapshotError};

/// Maximum number of former socket ids that are known.
const MAX_FORMER: usize = 16;

/// A keyed hash of an app and a page id. It is shorter than the id, and the id cannot be derived from it.
/// Without the keys, a client cannot find two ids with the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageKey(pub(super) u64);

/// The time at which a kept page expires, and a number that tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) seconds: u32,
    pub(super) number: u32,
}

/// The place of a kept page in the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) due: Due,
    /// The size of the page when it was kept.
    pub(super) bytes: u32,
}

impl Place {
    /// That of a restored page that has no place yet.
    const NOWHERE: Self = Self { due: Due { seconds: 0, number: 0 }, bytes: 0 };
}

/// A connection that has been replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replaced {
    pub(crate) addr: ConnectionAddr,
    pub(crate) socket_id: SocketId,
}

/// A new connection of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Newcomer {
    pub(crate) app: AppIndex,
    pub(crate) addr: ConnectionAddr,
    /// The socket id that it gets unless the page has one.
    pub(crate) socket_id: SocketId,
    /// The number of changes of its worker so far.
    pub(crate) changes: u64,
}

/// The position from which a page needs the events of a channel.
#[derive(Debug)]
pub(crate) struct PageSince {
    pub(crate) since: Since,
    /// The ids of former connections. Events that excluded these are not for the page.
    pub(crate) former: Box<[SocketId]>,
}

/// A page. Shared by the registry and the worker of its connection.
#[derive(Debug)]
pub(crate) struct Page {
    pub(super) app: AppIndex,
    pub(super) key: PageKey,
    /// Held for a few comparisons. Only a return of the page makes two threads need it.
    state: Mutex<PageState>,
}

#[derive(Debug)]
struct PageState {
    holder: Holder,
    /// That of its connection, or of the last one.
    socket_id: SocketId,
    positions: Positions,
    past: Option<Box<Past>>,
    /// Several tabs have the id. Then the positions are those that no tab is behind, and stay.
    is_shared: bool,
    /// Some of its channels are not known any more.
    is_incomplete: bool,
}

#[derive(Debug)]
enum Holder {
    Connection(Live),
    /// No connection: the registry keeps it.
    Registry(Place),
}

/// Former connections; most pages have none with another socket id.
#[derive(Debug, Default)]
struct Past {
    /// The ids of former connections, if they were others.
    former: Vec<SocketId>,
    twins: Option<Twins>,
}

/// The state of a page before its new connection.
#[derive(Debug)]
pub(super) enum Former {
    /// A live connection. `is_settled`: it may be closed.
    Connection { replaced: Replaced, is_settled: bool },
    /// No connection.
    None(Place),
}

/// The value of a page when one of its connections has ended.
#[derive(Debug)]
pub(super) enum Worth {
    /// It has another connection.
    InUse,
    /// It may come back for events within this time.
    Keep(Duration),
    Nothing,
}

impl Page {
    /// Makes a page with its first connection. `is_incomplete`: it may have had others, which are not known.
    pub(super) fn new(key: PageKey, new: Newcomer, is_incomplete: bool) -> Self {
        let state = PageState {
            holder: Holder::Connection(Live::new(new.addr, new.changes)),
            socket_id: new.socket_id,
            positions: Positions::default(),
            past: None,
            is_shared: false,
            is_incomplete,
        };
        Self { app: new.app, key, state: Mutex::new(state) }
    }

    /// Returns what a snapshot keeps of it, without its connections.
    pub(super) fn save(&self, app: &App) -> SavedPage {
        let state = &*self.state();
        let past = state.past.as_ref();
        SavedPage {
            app: app.id.clone(),
            key: self.key.0,
            expires: match &state.holder {
                Holder::Connection(_) => None,
                Holder::Registry(place) => Some(place.due.seconds),
            },
            socket_id: state.socket_id,
            positions: state.positions.save(),
            former: past.map(|past| past.former.clone()).unwrap_or_default(),
            twins: past.and_then(|past| past.twins.as_ref()).map(Twins::save),
            is_shared: state.is_shared,
            is_incomplete: state.is_incomplete,
        }
    }

    /// Makes a page as it was saved. The registry is to keep it, or its connections follow: see
    /// [`attach`](Self::attach).
    pub(super) fn restored(app: AppIndex, saved: &SavedPage) -> Result<Self, SnapshotError> {
        let twins = saved.twins.as_ref().map(Twins::restored).transpose()?;
        let former = saved.former.clone();
        let has_past = twins.is_some() || !former.is_empty();
        let state = PageState {
            holder: Holder::Registry(Place::NOWHERE),
            socket_id: saved.socket_id,
            positions: Positions::restored(&saved.positions)?,
            past: has_past.then(|| Box::new(Past { former, twins })),
            is_shared: saved.is_shared,
            is_incomplete: saved.is_incomplete,
        };
        Ok(Self { app, key: PageKey(saved.key), state: Mutex::new(state) })
    }

    /// Whether it is restored, and still has neither a connection nor a place in the registry.
    pub(super) fn is_nowhere(&self) -> bool {
        matches!(self.state().holder, Holder::Registry(Place::NOWHERE))
    }

    /// Returns its relation to one of its connections, for a snapshot. `changes`: the number of changes of
    /// the connection's worker so far.
    pub(crate) fn link(&self, addr: ConnectionAddr, changes: u64) -> SavedPageLink {
        let state = &mut *self.state();
        let live = state.live(addr).map(|live| SavedPageRole::Live(live.save(changes)));
        let is_twin = state.twins().is_some_and(|twins| twins.contains(addr));
        let other = if is_twin { SavedPageRole::Twin } else { SavedPageRole::Former };
        SavedPageLink { key: self.key.0, role: live.unwrap_or(other) }
    }

    /// Relates a restored connection to it.
    pub(crate) fn attach(
        &self,
        addr: ConnectionAddr,
        changes: u64,
        link: &SavedPageLink,
    ) -> Result<(), SnapshotError> {
        let state = &mut *self.state();
        match &link.role {
            SavedPageRole::Live(live) => match state.holder {
                Holder::Registry(Place::NOWHERE) => {
                    state.holder = Holder::Connection(Live::restored(addr, changes, live)?);
                }
                _ => return Err(SnapshotError::invalid("a page has two connections")),
            },
            SavedPageRole::Twin => state.twins().into_iter().for_each(|twins| twins.restore(addr)),
            SavedPageRole::Former => {}
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, PageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the page to a new connection. Returns its state before, and the connection's socket id: that of
    /// the page if it is unused.
    pub(super) fn give_to(&self, new: Newcomer, now: Duration) -> (Former, SocketId) {
        let state = &mut *self.state();
        let live = Holder::Connection(Live::new(new.addr, new.changes));
        let former = match std::mem::replace(&mut state.holder, live) {
            Holder::Registry(place) => Former::None(place),
            Holder::Connection(before) => {
                let is_settled = state.replace(before.addr, new.socket_id, now);
                let socket_id = std::mem::replace(&mut state.socket_id, new.socket_id);
                Former::Connection {
                    replaced: Replaced { addr: before.addr, socket_id },
                    is_settled,
                }
            }
        };
        if state.is_shared {
            // Another tab may have used it.
            state.socket_id = new.socket_id;
        }
        state.forget_twins(now);
        if let Some(twins) = state.past.as_mut().and_then(|past| past.twins.as_ref()) {
            state.positions.lower(&twins.positions);
        }
        (former, state.socket_id)
    }

    /// Handles the end of a connection. `ttl` returns for how long the events of a channel are kept.
    pub(super) fn ended(&self, addr: ConnectionAddr, app: &App) -> Worth {
        let state = &mut *self.state();
        if let Some(twins) = state.twins() {
            twins.closed(addr);
        }
        let is_holder = state.live(addr).is_some();
        let is_kept = matches!(state.holder, Holder::Registry(_));
        if !(is_holder || is_kept && state.is_shared) {
            return Worth::InUse;
        }
        let ttl = |channel: &ChannelName| app.history_of(channel).map(|rule| rule.ttl);
        state.positions.retain(|channel| ttl(channel).is_some());
        let longest = state.positions.iter().filter_map(|known| ttl(&known.channel)).max();
        longest.map_or(Worth::Nothing, Worth::Keep)
    }

    /// Lets the registry keep it. Returns its place before, if it was kept.
    pub(super) fn keep(&self, place: Place) -> Option<Place> {
        match std::mem::replace(&mut self.state().holder, Holder::Registry(place)) {
            Holder::Registry(before) => Some(before),
            Holder::Connection(_) => None,
        }
    }

    /// Handles that the page of a connection has been closed or left. Returns whether it can be forgotten:
    /// another tab may have the same id.
    pub(super) fn left(&self, addr: ConnectionAddr, now: Duration) -> bool {
        let state = &mut *self.state();
        state.forget_twins(now);
        if state.twins().is_some() {
            state.share();
        }
        !state.is_shared && state.live(addr).is_some()
    }

    /// Returns its size, with its places in the registry.
    pub(super) fn bytes(&self) -> usize {
        // Its counts, and entries of a hash table and a tree, which are not full.
        const OVERHEAD: usize = size_of::<Page>() + 2 * size_of::<usize>() + 16 + 28;
        OVERHEAD + self.state().positions.bytes()
    }

    /// Returns the size that it had when it was kept.
    pub(super) fn kept_bytes(&self) -> usize {
        match self.state().holder {
            Holder::Registry(place) => place.bytes as usize,
            Holder::Connection(_) => 0,
        }
    }

    /// Returns the position from which the page needs the events of a channel.
    pub(crate) fn since(&self, addr: ConnectionAddr, channel: &ChannelName) -> Option<PageSince> {
        let state = &mut *self.state();
        let is_holder = state.live(addr).is_some();
        let twins = state.twins().filter(|_| !is_holder);
        let position = twins.and_then(|twins| twins.positions.get(channel));
        let since = match position.or_else(|| state.positions.get(channel)) {
            Some(Position { offset: BEFORE_GAP, .. }) => Since::Invalid,
            Some(position) => Since::Position { position, socket_id: None },
            None if state.is_incomplete => Since::Invalid,
            None => return None,
        };
        let former = state.past.as_ref().map_or(&[][..], |past| &past.former);
        Some(PageSince { since, former: former.into() })
    }

    /// Records a subscription, which has been sent everything from one position to another. If the page knows
    /// the channel, its position stays until it acknowledges: a gap may be lost on its way, too. A page has
    /// at most twice `max` channels. Beyond that, all are forgotten that it has not subscribed to again;
    /// `subscribed` returns the others.
    pub(crate) fn subscribed(
        &self,
        addr: ConnectionAddr,
        channel: &ChannelName,
        replayed: Replayed,
        max: usize,
        subscribed: impl FnOnce() -> Positions,
    ) {
        let state = &mut *self.state();
        // It has got a gap if the channel was not known.
        let offset = if state.is_incomplete { BEFORE_GAP } else { replayed.from.offset };
        let from = Position { offset, ..replayed.from };
        let is_holder = state.live(addr).is_some();
        if !is_holder && !state.is_shared {
            if let Some(twins) = state.twins().filter(|twins| twins.contains(addr)) {
                twins.positions.get_or_add(channel, from);
            }
            return;
        }
        let known = state.positions.get_or_add(channel, from);
        if let Some(live) = state.live(addr) {
            live.is_behind |= known != replayed.to;
        }
        if state.positions.len() > max.max(1).saturating_mul(2) {
            let subscribed = subscribed();
            state.positions.retain(|known| known == channel || subscribed.get(known).is_some());
            state.is_incomplete = true;
        }
    }

    /// Forgets the position of a channel that the page has unsubscribed from.
    pub(crate) fn unsubscribed(&self, addr: ConnectionAddr, channel: &ChannelName) {
        let state = &mut *self.state();
        if state.is_shared {
            return;
        }
        let Some(live) = state.live(addr) else { return };
        live.unsubscribed(channel);
        state.positions.remove(channel);
    }

    /// Asks the page to acknowledge what its connection has been sent. `sent` returns the positions that have
    /// changed since a number of changes of the worker, of which there are `changes` in all, or all
    /// positions. Returns the number to put into the ping; `None` if there is nothing to acknowledge, or if
    /// the page may still reply to the last request.
    pub(crate) fn ask(
        &self,
        addr: ConnectionAddr,
        changes: u64,
        now: Duration,
        sent: impl FnOnce(Option<u64>) -> Positions,
    ) -> Option<u64> {
        let state = &mut *self.state();
        if state.is_shared {
            return None;
        }
        state.live(addr)?.ask(changes, now, sent)
    }

    /// Asks the replaced connection of a page whether it is another tab's: a reply shows that it is. Returns
    /// the number to put into the ping.
    pub(crate) fn ask_replaced(&self, addr: ConnectionAddr) -> Option<u64> {
        let state = &mut *self.state();
        let is_replaced =
            !state.is_shared && state.twins().is_some_and(|twins| twins.contains(addr));
        is_replaced.then_some(0)
    }

    /// Handles the pong to a request. Pongs of other numbers change nothing. Returns whether it is one.
    pub(crate) fn acknowledge(&self, addr: ConnectionAddr, number: u64) -> bool {
        let state = &mut *self.state();
        let Some(live) = state.live(addr) else { return state.replied(addr) };
        let Some(positions) = live.acknowledge(number) else { return false };
        if !state.is_shared {
            state.positions.advance(&positions);
        }
        true
    }

    /// Handles that another tab has the page's id, too.
    pub(super) fn share(&self) {
        self.state().share();
    }

    /// Handles a sign of life of a connection that may have been replaced.
    pub(crate) fn replied(&self, addr: ConnectionAddr) {
        self.state().replied(addr);
    }
}

impl PageState {
    /// Returns the page's connection, if it is this one.
    fn live(&mut self, addr: ConnectionAddr) -> Option<&mut Live> {
        match &mut self.holder {
            Holder::Connection(live) if live.addr == addr => Some(live),
            _ => None,
        }
    }

    fn twins(&mut self) -> Option<&mut Twins> {
        self.past.as_mut()?.twins.as_mut()
    }

    /// Replaces a connection that seems to be alive by one with another socket id. Returns whether the former
    /// may be closed. Tabs with one id would close each other forever.
    fn replace(&mut self, before: ConnectionAddr, socket_id: SocketId, now: Duration) -> bool {
        if self.is_shared {
            return false;
        }
        self.forget_twins(now);
        let past = self.past.get_or_insert_default();
        if past.former.len() == MAX_FORMER {
            past.former.remove(0);
        }
        past.former.retain(|former| *former != socket_id);
        past.former.push(self.socket_id);
        match &mut past.twins {
            Some(twins) => {
                twins.add(before, &self.positions, now);
                // If they are of different tabs, what excluded one of them is for the others.
                past.former.clear();
                false
            }
            None => {
                past.twins = Some(Twins::new(before, self.positions.clone(), now));
                true
            }
        }
    }

    /// Forgets the older connections, if none of them can be of another tab.
    fn forget_twins(&mut self, now: Duration) {
        if let Some(past) = &mut self.past {
            past.twins.take_if(|twins| !twins.may_return(now));
            self.past.take_if(|past| past.former.is_empty() && past.twins.is_none());
        }
    }

    /// Handles a sign of life of a connection. If it was replaced, several tabs have the page's id.
    fn replied(&mut self, addr: ConnectionAddr) -> bool {
        if !self.twins().is_some_and(|twins| twins.contains(addr)) {
            return false;
        }
        self.share();
        true
    }

    /// Makes it a page of several tabs.
    fn share(&mut self) {
        let twins = self.past.take().and_then(|past| past.twins);
        twins.into_iter().for_each(|twins| self.positions.lower(&twins.positions));
        self.is_shared = true;
        self.is_incomplete = true;
    }
}
