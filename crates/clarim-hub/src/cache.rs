//! The last events of cache channels.

use std::time::Duration;

use clarim_protocol::Frame;

use crate::channel::Cached;
use crate::entry::{ChannelKey, Outputs};
use crate::shard::{CACHE_TTL, Shard};

/// Cached events of one shard take at most this many bytes; over it the oldest go.
const MAX_CACHED_BYTES: usize = 4 << 20;

/// Of a remembered event, beside its frame and the name of its channel: entries of maps and queues.
const CACHED_OVERHEAD: usize = 256;

impl Shard {
    pub(crate) fn last_kept(&self, key: &ChannelKey) -> u64 {
        let channel = self.channels.get(key);
        channel.and_then(|channel| channel.cached.as_ref()).map_or(0, |cached| cached.number)
    }

    pub(crate) fn remember(
        &mut self,
        key: &ChannelKey,
        frame: &Frame,
        (number, now): (u64, Duration),
        post: &impl Outputs,
    ) {
        if number <= self.last_kept(key) {
            return;
        }
        let channel = self.open(key, now, post);
        let old = channel.cached.replace(Cached { frame: frame.clone(), at: now, number });
        self.cached_bytes += cost(key, frame);
        match old {
            Some(old) => self.cached_bytes -= cost(key, &old.frame),
            None => self.cached.push_back((now + CACHE_TTL, key.clone())),
        }
        while self.cached_bytes > MAX_CACHED_BYTES
            && let Some((_, oldest)) = self.cached.pop_front()
        {
            self.forget(&oldest, now, post);
        }
    }

    pub(crate) fn forget(&mut self, key: &ChannelKey, now: Duration, post: &impl Outputs) {
        let Some(channel) = self.channels.get_mut(key) else {
            return;
        };
        if let Some(old) = channel.cached.take() {
            self.cached_bytes -= cost(key, &old.frame);
        }
        self.remove_if_empty(key, now, post);
    }
}

/// Bytes that remembering an event takes: names of channels are the publisher's choice, and as many as it
/// likes.
fn cost(key: &ChannelKey, frame: &Frame) -> usize {
    CACHED_OVERHEAD + 2 * key.name.as_str().len() + frame.bytes().len()
}
