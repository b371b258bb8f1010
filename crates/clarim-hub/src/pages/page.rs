//! A page: its socket id, and the positions that it has acknowledged.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clarim_protocol::{ChannelName, Position, Since, SocketId};

use crate::address::{AppIndex, ConnectionAddr};
use crate::app::App;
use crate::outputs::Replayed;

/// Time after which a connection that has replaced another one may be replaced, too. Two tabs with the same
/// id would otherwise close each other forever.
const REPLACE_PAUSE: Duration = Duration::from_secs(10);

/// Bytes of a page that is kept, without its channels.
const OVERHEAD: usize = 160;

/// A keyed hash of an app and a page id. It is shorter than the id, and the id cannot be derived from it.
/// Without the keys, a client cannot find two ids with the same hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageKey(pub(super) [u64; 2]);

/// The time at which a kept page expires, and a number that tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    pub(super) seconds: u32,
    pub(super) number: u32,
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
    /// That of the connection before, if it had another one.
    former: Option<Box<SocketId>>,
    /// In the order of the last subscriptions.
    channels: Vec<Acknowledged>,
}

#[derive(Debug)]
enum Holder {
    Connection(Box<Live>),
    /// No connection: the registry keeps it until then.
    Registry(Due),
}

/// A live connection of a page.
#[derive(Debug)]
struct Live {
    addr: ConnectionAddr,
    /// When it replaced another live connection of the page.
    replaced_at: Option<Duration>,
    /// Of its worker's changes: the last that the page has been asked to acknowledge.
    asked_until: u64,
    /// It has got past events or a gap, which its worker does not count as changes.
    is_behind: bool,
    /// The request that it has not replied to.
    asked: Option<Box<Asked>>,
}

#[derive(Debug)]
struct Asked {
    number: u64,
    channels: Vec<Acknowledged>,
}

/// A channel with history, and the position behind the last event that the page has acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Acknowledged {
    pub(crate) channel: ChannelName,
    pub(crate) position: Position,
}

impl Acknowledged {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.channel.as_str().len()
    }
}

/// The state of a page before its new connection.
#[derive(Debug)]
pub(super) enum Former {
    /// A live connection. `is_settled`: it may be closed.
    Connection { replaced: Replaced, is_settled: bool },
    /// No connection.
    None(Due),
}

impl Page {
    /// Makes a page with its first connection.
    pub(super) fn new(key: PageKey, new: Newcomer) -> Self {
        let holder = Holder::Connection(Box::new(Live::new(new)));
        let socket_id = new.socket_id;
        let state = PageState { holder, socket_id, former: None, channels: Vec::new() };
        Self { app: new.app, key, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, PageState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the page to a new connection. It gets the page's socket id if that is unused.
    pub(super) fn give_to(&self, new: Newcomer, now: Duration) -> Former {
        let state = &mut *self.state();
        let mut live = Box::new(Live::new(new));
        let former = match &state.holder {
            Holder::Registry(due) => Former::None(*due),
            Holder::Connection(before) => {
                let is_settled = before.replaced_at.is_none_or(|at| at + REPLACE_PAUSE <= now);
                live.replaced_at = Some(now);
                let socket_id = std::mem::replace(&mut state.socket_id, new.socket_id);
                state.former = Some(Box::new(socket_id));
                let replaced = Replaced { addr: before.addr, socket_id };
                Former::Connection { replaced, is_settled }
            }
        };
        state.holder = Holder::Connection(live);
        former
    }

    /// Returns for how long the page is worth keeping without a connection, if it is.
    pub(super) fn worth_keeping(&self, app: &App) -> Option<Duration> {
        let channels = &mut self.state().channels;
        let ttl = |known: &Acknowledged| app.history_of(&known.channel).map(|rule| rule.ttl);
        channels.retain(|known| ttl(known).is_some());
        channels.shrink_to_fit();
        channels.iter().filter_map(ttl).max()
    }

    pub(super) fn keep(&self, due: Due) {
        self.state().holder = Holder::Registry(due);
    }

    /// Whether the page is this connection's.
    pub(super) fn is_held_by(&self, addr: ConnectionAddr) -> bool {
        self.state().live(addr).is_some()
    }

    pub(super) fn socket_id(&self) -> SocketId {
        self.state().socket_id
    }

    pub(super) fn bytes(&self) -> usize {
        self.state().bytes()
    }

    /// Returns the position from which the page needs the events of a channel.
    pub(crate) fn since(&self, addr: ConnectionAddr, channel: &ChannelName) -> Option<Since> {
        let state = &mut *self.state();
        state.live(addr)?;
        let known = state.channels.iter().find(|known| known.channel == *channel)?;
        let socket_id = state.former.as_deref().copied();
        Some(Since::Position { position: known.position, socket_id })
    }

    /// Records a subscription, which has been sent everything from one position to another. If the page knows
    /// the channel, its position stays until it acknowledges: a gap may be lost on its way, too. A page has
    /// at most `max` channels; those that it has not subscribed to again are forgotten first.
    pub(crate) fn subscribed(
        &self,
        addr: ConnectionAddr,
        channel: &ChannelName,
        replayed: Replayed,
        max: usize,
    ) {
        let state = &mut *self.state();
        if state.live(addr).is_none() {
            return;
        }
        let at = state.channels.iter().position(|known| known.channel == *channel);
        let known = match at {
            Some(at) => state.channels.remove(at),
            None => Acknowledged { channel: channel.clone(), position: replayed.from },
        };
        let is_behind = known.position != replayed.to;
        if state.channels.len() >= max.max(1) {
            state.channels.remove(0);
        }
        state.channels.push(known);
        if let Some(live) = state.live(addr) {
            live.is_behind |= is_behind;
        }
    }

    /// Forgets the position of a channel that the page has unsubscribed from.
    pub(crate) fn unsubscribed(&self, addr: ConnectionAddr, channel: &ChannelName) {
        let state = &mut *self.state();
        let Some(live) = state.live(addr) else { return };
        // The page may subscribe again, from another position, before it acknowledges.
        if let Some(asked) = &mut live.asked {
            asked.channels.retain(|known| known.channel != *channel);
        }
        state.channels.retain(|known| known.channel != *channel);
    }

    /// Asks the page to acknowledge what its connection has been sent. `sent` returns the positions that have
    /// changed since a number of changes of the worker, of which there are `changes` in all, or all
    /// positions. Returns the number to put into the ping; `None` if there is nothing to acknowledge, or if
    /// the page has not acknowledged the last request yet.
    pub(crate) fn ask(
        &self,
        addr: ConnectionAddr,
        changes: u64,
        sent: impl FnOnce(Option<u64>) -> Vec<Acknowledged>,
    ) -> Option<u64> {
        let state = &mut *self.state();
        let live = state.live(addr).filter(|live| live.asked.is_none())?;
        if live.asked_until == changes && !live.is_behind {
            return None;
        }
        let channels = sent((!live.is_behind).then_some(live.asked_until));
        live.asked_until = changes;
        live.is_behind = false;
        if channels.is_empty() {
            return None;
        }
        live.asked = Some(Box::new(Asked { number: changes, channels }));
        Some(changes)
    }

    /// Handles the pong to a request. Pongs of other numbers change nothing. Returns whether it is one.
    pub(crate) fn acknowledge(&self, addr: ConnectionAddr, number: u64) -> bool {
        let state = &mut *self.state();
        let Some(live) = state.live(addr) else { return false };
        let Some(asked) = live.asked.take_if(|asked| asked.number == number) else { return false };
        for acknowledged in asked.channels {
            let known = state.channels.iter_mut().find(|it| it.channel == acknowledged.channel);
            if let Some(known) = known {
                known.position = acknowledged.position;
            }
        }
        true
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

    fn bytes(&self) -> usize {
        OVERHEAD + self.channels.iter().map(Acknowledged::bytes).sum::<usize>()
    }
}

impl Live {
    fn new(new: Newcomer) -> Self {
        let Newcomer { addr, changes, .. } = new;
        Self { addr, replaced_at: None, asked_until: changes, is_behind: false, asked: None }
    }
}
