//! One connection: its state between messages, its keepalive, rate limit, and rejections.

mod keepalive;
mod rate_limit;
mod rejection;

use std::time::Duration;

use clarim_protocol::user::{User, UserId};
use clarim_protocol::{Code, SocketId};
use smallvec::SmallVec;

pub(crate) use keepalive::{Keepalive, Silence};
pub(crate) use rate_limit::Rate;
pub(crate) use rejection::Rejection;

use crate::address::{AppIndex, ConnectionAddr};
use crate::app::{App, RateLimit};
use crate::snapshot::SavedConnection;
use keepalive::seconds;
use rate_limit::RateWindow;

/// Time over which subscribers that are to reconnect are closed, because their return costs their backend an
/// authorization for each channel.
const RECONNECT_SPREAD: Duration = Duration::from_secs(4);

/// A connection. Kept small: there is one per client, and most are idle.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) app: AppIndex,
    pub(crate) socket_id: SocketId,
    /// The node's time at which it was opened, in whole seconds.
    opened: u32,
    pub(crate) keepalive: Keepalive,
    pub(crate) subscriptions: SmallVec<[Subscription; 1]>,
    pub(crate) user: Option<Box<User>>,
    rate: Option<Box<RateWindow>>,
}

/// How a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client has sent a close frame, perhaps with a code.
    ByClient(Option<Code>),
    /// The server has closed it.
    ByServer(Code),
    /// It has broken.
    Lost,
}

impl End {
    /// Whether the client is expected to come back at once.
    pub(crate) fn is_abrupt(self) -> bool {
        match self {
            Self::ByClient(_) => false,
            // Pusher's clients return after 4100 to 4299.
            Self::ByServer(code) => (4100..4300).contains(&code.get()),
            Self::Lost => true,
        }
    }
}

/// A subscription of a connection.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) position: Position,
    /// The connection's user id on this presence channel.
    pub(crate) member: Option<Box<UserId>>,
}

/// A channel's index in its worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChannelIndex(pub(crate) u32);

/// A connection's position in a channel's list of subscribers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Position {
    pub(crate) channel: ChannelIndex,
    pub(crate) offset: u32,
}

impl Connection {
    pub(crate) fn new(app: AppIndex, socket_id: SocketId, now: Duration) -> Self {
        Self {
            app,
            socket_id,
            opened: seconds(now),
            keepalive: Keepalive::new(now),
            subscriptions: SmallVec::new(),
            user: None,
            rate: None,
        }
    }

    /// Returns what a snapshot keeps of it, without its user and subscriptions.
    pub(crate) fn save(&self, addr: ConnectionAddr, app: &App) -> SavedConnection {
        SavedConnection {
            worker: addr.worker.0,
            slot: addr.connection.0,
            app: app.id.clone(),
            socket_id: self.socket_id,
            opened: self.opened,
            keepalive: self.keepalive.save(),
            rate: self.rate.as_ref().map(|rate| rate.save()),
            user: None,
            subscriptions: Vec::new(),
            pending: Vec::new(),
            page: None,
        }
    }

    /// Makes a connection as it was saved, without user and subscriptions.
    pub(crate) fn restored(app: AppIndex, saved: &SavedConnection) -> Self {
        Self {
            app,
            socket_id: saved.socket_id,
            opened: saved.opened,
            keepalive: Keepalive::restored(saved.keepalive),
            subscriptions: SmallVec::new(),
            user: None,
            rate: saved.rate.map(|rate| Box::new(RateWindow::restored(rate))),
        }
    }

    /// Returns how long it has been open.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        Duration::from_secs(u64::from(seconds(now).saturating_sub(self.opened)))
    }

    /// Whether it is the connection's turn to reconnect, if all subscribers are to reconnect since `at`. The
    /// turns are spread evenly.
    pub(crate) fn must_reconnect(&self, at: Duration, now: Duration) -> bool {
        // Nonces are random.
        let share = (self.socket_id.nonce % 1024) as u32;
        let is_older = self.opened <= seconds(at);
        // `opened` is in whole seconds: connections that are back must not count as older.
        let first = Duration::from_secs(u64::from(seconds(at)) + 1);
        is_older && !self.subscriptions.is_empty() && now >= first + RECONNECT_SPREAD * share / 1024
    }

    /// Counts a message for the rate limit.
    pub(crate) fn count_message(&mut self, limit: RateLimit, now: Duration) -> Rate {
        self.rate.get_or_insert_with(|| Box::new(RateWindow::new(now))).count(limit, now)
    }

    pub(crate) fn subscription(&self, channel: ChannelIndex) -> Option<&Subscription> {
        self.subscriptions.iter().find(|s| s.position.channel == channel)
    }

    pub(crate) fn take_subscription(&mut self, channel: ChannelIndex) -> Option<Subscription> {
        let at = self.subscriptions.iter().position(|s| s.position.channel == channel)?;
        Some(self.subscriptions.swap_remove(at))
    }

    /// Updates the connection's position in a channel's list.
    pub(crate) fn set_position(&mut self, position: Position) {
        if let Some(s) =
            self.subscriptions.iter_mut().find(|s| s.position.channel == position.channel)
        {
            s.position = position;
        }
    }

    /// Whether this is a connection of the user: signed in as the user, or present as the user on a channel.
    pub(crate) fn is_of_user(&self, user: &str) -> bool {
        self.user.as_ref().is_some_and(|signed_in| signed_in.member.id.as_str() == user)
            || self.subscriptions.iter().flat_map(|s| &s.member).any(|id| id.as_str() == user)
    }
}
