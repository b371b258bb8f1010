//! Subscribers that are to reconnect, because they may have missed events.

use std::time::Duration;

use hashbrown::HashMap;

use super::subscribers::Subscribers;
use crate::address::ChannelKey;
use crate::connection::Connection;

/// Time after which subscribers need not reconnect any more: longer than their turns are spread over.
const RECONNECT_TIME: Duration = Duration::from_secs(30);

/// Maximum number of channels whose subscribers reconnect at a time. With more of them, all reconnect.
const MAX_CHANNELS: usize = 10_000;

/// The reconnects that have begun.
#[derive(Debug, Default)]
pub(super) struct Reconnects {
    /// When the last reconnect of all subscribers began.
    of_all: Option<Duration>,
    /// When that of a channel's subscribers began.
    by_channel: HashMap<ChannelKey, Duration, foldhash::fast::RandomState>,
}

impl Reconnects {
    /// Begins a reconnect of a channel's subscribers, or of all.
    pub(super) fn begin(&mut self, channel: Option<ChannelKey>, now: Duration) {
        match channel.filter(|_| self.by_channel.len() < MAX_CHANNELS) {
            Some(channel) => drop(self.by_channel.insert(channel, now)),
            None => self.of_all = Some(now),
        }
    }

    /// Returns when the last reconnect began. After a hand-over, all subscribers make it.
    pub(super) fn last(&self) -> Option<Duration> {
        self.by_channel.values().copied().max().max(self.of_all)
    }

    /// Restores what [`last`](Self::last) has returned.
    pub(super) fn restore(&mut self, last: Option<Duration>) {
        self.of_all = self.of_all.max(last);
    }

    /// Forgets reconnects that are over.
    pub(super) fn end_due(&mut self, now: Duration) {
        self.of_all = self.of_all.filter(|at| now < *at + RECONNECT_TIME);
        if !self.by_channel.is_empty() {
            self.by_channel.retain(|_, at| now < *at + RECONNECT_TIME);
            if self.by_channel.is_empty() {
                self.by_channel = HashMap::default();
            }
        }
    }

    /// Whether it is a connection's turn to reconnect.
    pub(super) fn include(
        &self,
        connection: &Connection,
        subscribers: &Subscribers,
        now: Duration,
    ) -> bool {
        let must_since = |at: &Duration| connection.must_reconnect(*at, now);
        self.of_all.as_ref().is_some_and(must_since)
            || (!self.by_channel.is_empty()
                && connection.subscriptions.iter().any(|subscription| {
                    let channel = subscribers.key(subscription.position.channel);
                    self.by_channel.get(channel).is_some_and(must_since)
                }))
    }
}
