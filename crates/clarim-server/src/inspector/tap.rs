//! Events as they go by, for who watches them.
//!
//! They go into a ring that is overwritten, and readers ask for what has come after what they know: nobody
//! who reads slowly, or stops, holds anything up. While nobody has asked for some seconds, nothing is kept,
//! and all it costs is one look at a flag.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clarim_protocol::SocketId;
use clarim_protocol::rest::Params;
use serde_json::{Value, json};

use crate::clock::now_ms;
use crate::http::answer::{Answer, Refused, json};
use crate::traffic::pretty;

/// Events that are kept; the oldest are overwritten.
const KEPT: usize = 1_000;

/// Events taken in a second. What comes beyond is counted only.
const PER_SECOND: u64 = 200;

/// Bytes shown of one event's data, and of a name.
const DATA: usize = 2_048;
const NAME: usize = 200;

/// Who has not asked for so many seconds does not watch any more.
const PATIENCE: u32 = 5;

#[derive(Debug)]
pub(crate) struct Tap {
    is_on: AtomicBool,
    began: Instant,
    /// The second in which somebody last asked.
    asked: AtomicU32,
    /// The second that is going by, and what was taken in it.
    second: AtomicU32,
    taken: AtomicU64,
    dropped: AtomicU64,
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<str>>,
    /// The number of the next event.
    next: u64,
}

/// What somebody who watches gets.
#[derive(Debug, Default)]
struct News {
    events: Vec<Arc<str>>,
    next: u64,
    /// Overwritten before they were asked for.
    missed: u64,
    /// Never kept, of all there were.
    dropped: u64,
}

impl Default for Tap {
    fn default() -> Self {
        Self {
            is_on: AtomicBool::new(false),
            began: Instant::now(),
            asked: AtomicU32::new(0),
            second: AtomicU32::new(0),
            taken: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            ring: Mutex::default(),
        }
    }
}

impl Tap {
    /// Whether somebody watches. The one thing that is asked on every message's way.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// A backend has published an event; `data` is its JSON string literal.
    #[cold]
    pub(crate) fn published(&self, app: &str, channel: &str, event: &str, data: &str) {
        if !self.takes(self.began.elapsed()) {
            return;
        }
        let inner = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
        self.keep(&json!({
            "at": now_ms(), "kind": "published", "app": app, "channel": cut(channel, NAME),
            "event": cut(event, NAME), "data": cut(&pretty(&inner), DATA),
        }));
    }

    /// A client has said something.
    #[cold]
    pub(crate) fn received(&self, app: &str, socket_id: SocketId, text: &str) {
        if !self.takes(self.began.elapsed()) {
            return;
        }
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let name = |value: &Value| value.as_str().map(|text| cut(text, NAME).to_owned());
        let channel = name(&message["channel"]).or_else(|| name(&message["data"]["channel"]));
        self.keep(&json!({
            "at": now_ms(), "kind": "received", "app": app, "channel": channel,
            "event": name(&message["event"]), "socket": socket_id, "data": cut(&pretty(text), DATA),
        }));
    }

    /// A connection has come or gone.
    pub(crate) fn connection(&self, kind: &str, app: &str, socket_id: SocketId) {
        if self.is_on() && self.takes(self.began.elapsed()) {
            self.keep(&json!({ "at": now_ms(), "kind": kind, "app": app, "socket": socket_id }));
        }
    }

    /// Whether there is room for one more. Only an estimate where threads meet, which is enough.
    fn takes(&self, now: Duration) -> bool {
        let now = seconds(now);
        if now.saturating_sub(self.asked.load(Ordering::Relaxed)) > PATIENCE {
            self.is_on.store(false, Ordering::Relaxed);
            self.ring().events = VecDeque::new();
            return false;
        }
        if self.second.load(Ordering::Relaxed) != now {
            self.second.store(now, Ordering::Relaxed);
            self.taken.store(0, Ordering::Relaxed);
        }
        let takes = self.taken.load(Ordering::Relaxed) < PER_SECOND;
        let count = if takes { &self.taken } else { &self.dropped };
        count.fetch_add(1, Ordering::Relaxed);
        takes
    }

    fn keep(&self, event: &Value) {
        let event = event.to_string().into();
        let mut ring = self.ring();
        if ring.events.len() == KEPT {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        ring.next += 1;
    }

    /// What has come after `after`; who does not know anything yet begins now.
    fn read(&self, after: Option<u64>, now: Duration) -> News {
        self.asked.store(seconds(now), Ordering::Relaxed);
        self.is_on.store(true, Ordering::Relaxed);
        let dropped = self.dropped.load(Ordering::Relaxed);
        let ring = self.ring();
        let next = ring.next;
        let first = next - ring.events.len() as u64;
        // A number that was never given is of a server before this one.
        let after = after.filter(|after| *after <= next).unwrap_or(next);
        let known = after.saturating_sub(first);
        let events = ring.events.iter().skip(known as usize).cloned().collect();
        News { events, next, missed: first.saturating_sub(after), dropped }
    }

    /// Held for as long as it takes to copy a list of references at most.
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET stream`: with `after`, which is what the answer before said in `next`.
pub(super) fn answer(tap: &Tap, query: &str) -> Result<Answer, Refused> {
    let params = Params::decode(query).map_err(|error| Refused::malformed(error.to_string()))?;
    let after = params.get("after").and_then(|after| after.parse().ok());
    let News { events, next, missed, dropped } = tap.read(after, tap.began.elapsed());
    // Each event is JSON already.
    Ok(json(format!(
        r#"{{"next":{next},"missed":{missed},"dropped":{dropped},"events":[{}]}}"#,
        events.join(",")
    )))
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_while_nobody_watches() {
        let tap = Tap::default();
        assert!(!tap.is_on());
        tap.read(None, Duration::from_secs(1));
        assert!(tap.is_on());
        tap.published("1", "news", "e", "\"{}\"");
        assert_eq!(tap.ring().next, 1);
        // Nobody has asked for a while: the next event ends it.
        assert!(!tap.takes(Duration::from_secs(10)));
        assert!(!tap.is_on() && tap.ring().events.is_empty());
    }

    #[test]
    fn what_comes_beyond_the_bounds_is_counted_and_shortened() {
        let tap = Tap::default();
        let begun = tap.read(None, Duration::ZERO).next;
        for _ in 0..PER_SECOND + 50 {
            tap.takes(Duration::from_secs(1));
        }
        assert_eq!(tap.read(Some(begun), Duration::from_secs(1)).dropped, 50);
        assert!(tap.takes(Duration::from_secs(2)), "a second later there is room again");
        let long = format!("\"{}\"", "é".repeat(50_000));
        tap.published("1", "news", &"e".repeat(10_000), &long);
        let news = tap.read(Some(begun), Duration::from_secs(2));
        assert!(news.events[0].len() < DATA + 2 * NAME + 100, "{}", news.events[0].len());
    }

    #[test]
    fn a_reader_who_stalls_misses_what_is_overwritten_and_is_told() {
        let tap = Tap::default();
        let begun = tap.read(None, Duration::ZERO).next;
        for n in 0..KEPT as u64 + 5 {
            tap.keep(&json!(n));
        }
        let news = tap.read(Some(begun), Duration::ZERO);
        assert_eq!((news.missed, news.events.len(), &*news.events[0]), (5, KEPT, "5"));
        assert_eq!(tap.read(Some(news.next), Duration::ZERO).events.len(), 0);
        let stranger = tap.read(Some(u64::MAX), Duration::ZERO);
        assert_eq!((stranger.events.len(), stranger.next), (0, news.next));
    }
}
