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

/// The channels of a shard that have a cached event, by the time at which it expires. A channel that gets
/// another event keeps its place until it is looked at, so publishing does not search the queue.
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

    /// Takes the first channel while the cache is over its limit.
    pub(crate) fn pop_excess(&mut self) -> Option<(Duration, ChannelKey)> {
        if self.bytes <= MAX_CACHED_BYTES {
            return None;
        }
        self.queue.pop_front()
    }

    /// Takes a channel whose event may have expired.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<ChannelKey> {
        self.queue.pop_front_if(|(due, _)| *due <= now).map(|(_, key)| key)
    }

    /// Looks at the channel again at `due`.
    pub(crate) fn renew(&mut self, key: ChannelKey, due: Duration) {
        let place = self.queue.partition_point(|(other, _)| *other <= due);
        self.queue.insert(place, (due, key));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

/// Bytes that a cached event takes. Channel names count too: publishers choose them.
fn cost(key: &ChannelKey, frame: &Frame) -> usize {
    CACHED_OVERHEAD + 2 * key.name.as_str().len() + frame.bytes().len()
}

#[cfg(test)]
mod tests {
    use clarim_protocol::ChannelName;

    use super::*;
    use crate::app::{App, Apps};

    #[test]
    fn the_channel_with_the_oldest_event_is_the_first_to_go() {
        let app = Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap();
        let [old, renewed, new] = ["cache-old", "cache-renewed", "cache-new"]
            .map(|name| ChannelKey { app, name: ChannelName::parse(name, 200).unwrap() });
        let second = Duration::from_secs(1);
        let small = Frame::text(b"{}");
        let mut queue = CacheQueue::default();
        queue.add(&renewed, &small, None, Duration::ZERO);
        queue.add(&old, &small, None, second);
        let first = CachedEvent { frame: small.clone(), at: Duration::ZERO, number: 1 };
        queue.add(&renewed, &small, Some(&first), 2 * second);
        assert!(queue.pop_excess().is_none());
        queue.add(&new, &Frame::text(&vec![b'x'; MAX_CACHED_BYTES]), None, 3 * second);
        // Its place is that of its first event. It gets the one of its last event.
        let (due, key) = queue.pop_excess().unwrap();
        assert!(key == renewed && due == CACHE_TTL);
        queue.renew(key, 2 * second + CACHE_TTL);
        let order = [0; 3].map(|_| queue.pop_excess().unwrap().1);
        assert!(order == [old, renewed, new]);
    }
}
