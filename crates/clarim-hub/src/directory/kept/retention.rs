//! What a shard keeps for later subscribers, cached events and histories: its size by app, and when it
//! expires.

use std::collections::VecDeque;
use std::time::Duration;

use hashbrown::HashMap;

use crate::address::{AppIndex, ChannelKey};
use crate::app::HistoryRule;

/// Maximum number of bytes that a shard keeps for one app. There are 64 shards.
const MAX_APP_BYTES: usize = HistoryRule::MAX_BYTES;

/// Maximum number of bytes that a shard keeps for all apps. The largest ones lose something first.
const MAX_BYTES: usize = 16 << 20;

/// The channels of a shard that keep something, with the time at which the first of it expires.
///
/// A channel is in the queue once. When it gets another event it keeps its place until it is looked at, so
/// publishing does not search the queue.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    apps: HashMap<AppIndex, Kept, foldhash::fast::RandomState>,
    bytes: usize,
}

/// The channels of one app.
#[derive(Debug, Default)]
struct Kept {
    queue: VecDeque<(Duration, ChannelKey)>,
    bytes: usize,
}

impl Retention {
    /// Accounts for a change in what a channel keeps.
    pub(crate) fn resize(&mut self, app: AppIndex, before: usize, after: usize) {
        let kept = self.apps.entry(app).or_default();
        kept.bytes = kept.bytes + after - before;
        self.bytes = self.bytes + after - before;
    }

    /// Looks at the channel at `due`. It must not be in the queue.
    pub(crate) fn add(&mut self, key: ChannelKey, due: Duration) {
        let queue = &mut self.apps.entry(key.app).or_default().queue;
        let place = queue.partition_point(|(other, _)| *other <= due);
        queue.insert(place, (due, key));
    }

    /// Looks at a restored channel at `due`. Call [`sort`](Self::sort) after the last one.
    pub(crate) fn restore(&mut self, key: ChannelKey, due: Duration, bytes: usize) {
        let app = key.app;
        self.apps.entry(app).or_default().queue.push_back((due, key));
        self.resize(app, 0, bytes);
    }

    /// Puts the queues in order.
    pub(crate) fn sort(&mut self) {
        for kept in self.apps.values_mut() {
            kept.queue.make_contiguous().sort_by_key(|(due, _)| *due);
        }
    }

    /// Looks at the channel no longer at `due`.
    pub(crate) fn remove(&mut self, key: &ChannelKey, due: Duration) {
        let Some(Kept { queue, .. }) = self.apps.get_mut(&key.app) else { return };
        let first = queue.partition_point(|(other, _)| *other < due);
        let mut same = queue.range(first..).take_while(|(other, _)| *other == due);
        if let Some(at) = same.position(|(_, other)| other == key) {
            queue.remove(first + at);
        }
    }

    /// Returns the time at which the last channel of an app is looked at.
    pub(crate) fn last_due(&self, app: AppIndex) -> Duration {
        let kept = self.apps.get(&app);
        kept.and_then(|kept| kept.queue.back()).map_or(Duration::ZERO, |(due, _)| *due)
    }

    /// Takes a channel of the app that has too much, with the time at which it was to be looked at.
    pub(crate) fn pop_excess(&mut self, app: AppIndex) -> Option<(Duration, ChannelKey)> {
        let kept = self.apps.get_mut(&app)?;
        if kept.bytes > MAX_APP_BYTES {
            return kept.queue.pop_front();
        }
        if self.bytes <= MAX_BYTES {
            return None;
        }
        self.apps.values_mut().max_by_key(|kept| kept.bytes)?.queue.pop_front()
    }

    /// Takes a channel in which something may have expired.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<(Duration, ChannelKey)> {
        let mut apps = self.apps.values_mut();
        apps.find_map(|kept| kept.queue.pop_front_if(|(due, _)| *due <= now))
    }

    /// Forgets the apps for which nothing is kept any more.
    pub(crate) fn shrink(&mut self) {
        self.apps.retain(|_, kept| !kept.queue.is_empty());
    }

    /// Returns the size of everything that is kept, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0 && self.apps.values().all(|kept| kept.queue.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use clarim_protocol::ChannelName;

    use super::*;
    use crate::app::{App, Apps};

    const SECOND: Duration = Duration::from_secs(1);

    fn key(app: AppIndex, name: &str) -> ChannelKey {
        ChannelKey { app, name: ChannelName::parse(name, 200).unwrap() }
    }

    #[test]
    fn an_app_over_its_limit_loses_what_expires_first() {
        let app = Apps::new([App::new("1", "key", "secret")]).find_by_id("1").unwrap();
        let [old, new] = ["cache-old", "cache-new"].map(|name| key(app, name));
        let mut retention = Retention::default();
        retention.resize(app, 0, MAX_APP_BYTES);
        retention.add(new.clone(), 3 * SECOND);
        retention.add(old.clone(), 2 * SECOND);
        assert!(retention.pop_excess(app).is_none());
        retention.resize(app, 0, 1);
        assert!(retention.pop_excess(app).unwrap() == (2 * SECOND, old));
        retention.resize(app, 1, 0);
        assert!(retention.pop_excess(app).is_none());
        assert!(retention.pop_due(2 * SECOND).is_none());
        assert!(retention.pop_due(3 * SECOND).unwrap().1 == new);
    }

    #[test]
    fn of_several_apps_the_one_with_the_most_loses_something() {
        let apps = Apps::new((1..=9).map(|n| App::new(n.to_string(), format!("k{n}"), "secret")));
        let index = |n: u32| apps.find_by_id(&n.to_string()).unwrap();
        let mut retention = Retention::default();
        for n in 1..=9 {
            let bytes = if n == 5 { 3 << 20 } else { MAX_BYTES / 9 + 1 };
            retention.resize(index(n), 0, bytes);
            retention.add(key(index(n), "cache-x"), SECOND * n);
        }
        assert!(retention.pop_excess(index(1)).unwrap().1.app == index(5));
    }
}
