//! The last events of cache channels.

use std::collections::VecDeque;
use std::time::Duration;

use clarim_protocol::Frame;

use crate::address::ChannelKey;

/// How long a cache channel keeps its last event.
pub const CACHE_TTL: Duration = Duration::from_secs(30 * 60);

/// Maximum size of one shard's cached events. The oldest are dropped first.
const MAX_CACHED_BYTES: usize = 4 << 20;

/// Bytes per cached event for entries of maps and queues.
const CACHED_OVERHEAD: usize = 256;

/// The cached event of a channel.
#[derive(Debug)]
pub(crate) struct CachedEvent {
    pub(crate) frame: Frame,
    pub(crate) at: Duration,
    /// Of two events of a channel, the one with the greater number is the last, on all nodes.
    pub(crate) number: u64,
}

impl CachedEvent {
    pub(crate) fn expires_at(&self) -> Duration {
        self.at + CACHE_TTL
    }
}

/// The channels of a shard that have a cached event, in the order in which they got their first one.
#[derive(Debug, Default)]
pub(crate) struct CacheQueue {
    queue: VecDeque<(Duration, ChannelKey)>,
    bytes: usize,
}

impl CacheQueue {
    /// Accounts for an event that is now cached. `old` is the event that it replaces.
    pub(crate) fn add(
        &mut self,
        key: &ChannelKey,
        frame: &Frame,
        old: Option<&CachedEvent>,
        now: Duration,
    ) {
        self.bytes += cost(key, frame);
        match old {
            Some(old) => self.release(key, old),
            None => self.renew(key.clone(), now + CACHE_TTL),
        }
    }

    /// Accounts for an event that is no longer cached.
    pub(crate) fn release(&mut self, key: &ChannelKey, old: &CachedEvent) {
        self.bytes -= cost(key, &old.frame);
    }

    /// Takes the oldest channel while the cache is over its limit.
    pub(crate) fn pop_excess(&mut self) -> Option<ChannelKey> {
        if self.bytes <= MAX_CACHED_BYTES {
            return None;
        }
        self.queue.pop_front().map(|(_, key)| key)
    }

    /// Takes a channel whose event may have expired.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<ChannelKey> {
        self.queue.pop_front_if(|(due, _)| *due <= now).map(|(_, key)| key)
    }

    /// Looks at the channel again at `due`.
    pub(crate) fn renew(&mut self, key: ChannelKey, due: Duration) {
        self.queue.push_back((due, key));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Bytes that a cached event takes. Channel names count too: publishers choose them.
fn cost(key: &ChannelKey, frame: &Frame) -> usize {
    CACHED_OVERHEAD + 2 * key.name.as_str().len() + frame.bytes().len()
}
