//! The event log: recent events, for people who watch them.
//!
//! Events go into a ring buffer that is overwritten, and readers ask for the events after the last they
//! know. So a slow reader delays nobody. Nothing is recorded unless somebody has asked within the last
//! seconds; then the log costs one read of a flag.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clarim_hub::app::App;
use clarim_protocol::SocketId;
use clarim_protocol::rest::Params;
use serde_json::{Value, json};

use crate::clock::now_ms;
use crate::http::response::{ApiError, ApiResponse, json};
use crate::redact::pretty;
use crate::runtime::{Observer, PublishedEvent};

/// Maximum number of events kept. The oldest are overwritten.
const MAX_EVENTS: usize = 1_000;

/// Maximum number of events recorded in a second. Others are only counted.
const PER_SECOND: u64 = 200;

/// Maximum size of an event's data and of a name, in bytes.
const MAX_DATA: usize = 2_048;
const MAX_NAME: usize = 200;

/// Seconds without a request after which nobody watches any more.
const WATCH_TIMEOUT: u32 = 5;

/// The log of recent events.
#[derive(Debug)]
pub(crate) struct EventLog {
    is_on: AtomicBool,
    began: Instant,
    /// The second of the last request.
    asked: AtomicU32,
    /// The current second, and the number of events recorded in it.
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

/// The events for one request.
#[derive(Debug, Default)]
struct NewEvents {
    events: Vec<Arc<str>>,
    next: u64,
    /// Events overwritten before the request.
    missed: u64,
    /// Events never recorded, since the server started.
    dropped: u64,
}

impl Default for EventLog {
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

impl EventLog {
    /// Whether somebody watches. Read for every message.
    #[inline]
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Whether one more event is recorded. An estimate is enough where threads race.
    fn takes(&self, now: Duration) -> bool {
        let now = seconds(now);
        if now.saturating_sub(self.asked.load(Ordering::Relaxed)) > WATCH_TIMEOUT {
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

    fn record(&self, event: &Value) {
        let event = event.to_string().into();
        let mut ring = self.ring();
        if ring.events.len() == MAX_EVENTS {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
        ring.next += 1;
    }

    /// Returns the events after number `after`, or starts with the next event.
    fn read(&self, after: Option<u64>, now: Duration) -> NewEvents {
        self.asked.store(seconds(now), Ordering::Relaxed);
        self.is_on.store(true, Ordering::Relaxed);
        let dropped = self.dropped.load(Ordering::Relaxed);
        let ring = self.ring();
        let next = ring.next;
        let first = next - ring.events.len() as u64;
        // A number that was never given is from before a restart.
        let after = after.filter(|after| *after <= next).unwrap_or(next);
        let known = after.saturating_sub(first);
        let events = ring.events.iter().skip(known as usize).cloned().collect();
        NewEvents { events, next, missed: first.saturating_sub(after), dropped }
    }

    /// Locks the ring. Held at most while a list of references is copied.
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for EventLog {
    fn connected(&self, app: &App, socket_id: SocketId) {
        self.record_connection("connected", app, socket_id);
    }

    fn received(&self, app: &App, socket_id: SocketId, text: &str) {
        if self.is_on() {
            self.record_message(app, socket_id, text);
        }
    }

    fn closed(&self, app: &App, socket_id: SocketId) {
        self.record_connection("closed", app, socket_id);
    }

    fn published(&self, event: PublishedEvent<'_>) {
        if self.is_on() {
            self.record_published(event);
        }
    }
}

impl EventLog {
    #[cold]
    fn record_published(&self, event: PublishedEvent<'_>) {
        if !self.takes(self.began.elapsed()) {
            return;
        }
        let PublishedEvent { app, channel, name, data } = event;
        let inner = serde_json::from_str::<String>(data).unwrap_or_else(|_| data.to_owned());
        self.record(&json!({
            "at": now_ms(), "kind": "published", "app": app.id,
            "channel": cut(channel.as_str(), MAX_NAME), "event": cut(name, MAX_NAME),
            "data": cut(&pretty(&inner), MAX_DATA),
        }));
    }

    #[cold]
    fn record_message(&self, app: &App, socket_id: SocketId, text: &str) {
        if !self.takes(self.began.elapsed()) {
            return;
        }
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        let name = |value: &Value| value.as_str().map(|text| cut(text, MAX_NAME).to_owned());
        let channel = name(&message["channel"]).or_else(|| name(&message["data"]["channel"]));
        self.record(&json!({
            "at": now_ms(), "kind": "received", "app": app.id, "channel": channel,
            "event": name(&message["event"]), "socket": socket_id,
            "data": cut(&pretty(text), MAX_DATA),
        }));
    }

    fn record_connection(&self, kind: &str, app: &App, socket_id: SocketId) {
        if self.is_on() && self.takes(self.began.elapsed()) {
            self.record(
                &json!({ "at": now_ms(), "kind": kind, "app": app.id, "socket": socket_id }),
            );
        }
    }
}

/// `GET stream`: with `after`, which is the previous response's `next`.
pub(super) fn show(log: &EventLog, query: &str) -> Result<ApiResponse, ApiError> {
    let params = Params::decode(query).map_err(|error| ApiError::malformed(error.to_string()))?;
    let after = params.get("after").and_then(|after| after.parse().ok());
    let NewEvents { events, next, missed, dropped } = log.read(after, log.began.elapsed());
    // Each event is JSON already.
    Ok(json(format!(
        r#"{{"next":{next},"missed":{missed},"dropped":{dropped},"events":[{}]}}"#,
        events.join(",")
    )))
}

fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use clarim_protocol::ChannelName;

    use super::*;

    fn publish(log: &EventLog, name: &str, data: &str) {
        let app = App::new("1", "key", "secret");
        let channel = ChannelName::parse("news", 200).unwrap();
        log.published(PublishedEvent { app: &app, channel: &channel, name, data });
    }

    #[test]
    fn nothing_is_recorded_while_nobody_watches() {
        let log = EventLog::default();
        assert!(!log.is_on());
        log.read(None, Duration::from_secs(1));
        assert!(log.is_on());
        publish(&log, "e", "\"{}\"");
        assert_eq!(log.ring().next, 1);
        // Nobody has asked for a while, so the next event ends the recording.
        assert!(!log.takes(Duration::from_secs(10)));
        assert!(!log.is_on() && log.ring().events.is_empty());
    }

    #[test]
    fn events_beyond_the_limit_are_counted_and_long_ones_are_cut() {
        let log = EventLog::default();
        let begun = log.read(None, Duration::ZERO).next;
        for _ in 0..PER_SECOND + 50 {
            log.takes(Duration::from_secs(1));
        }
        assert_eq!(log.read(Some(begun), Duration::from_secs(1)).dropped, 50);
        assert!(log.takes(Duration::from_secs(2)), "the limit is per second");
        let long = format!("\"{}\"", "é".repeat(50_000));
        publish(&log, &"e".repeat(10_000), &long);
        let news = log.read(Some(begun), Duration::from_secs(2));
        assert!(news.events[0].len() < MAX_DATA + 2 * MAX_NAME + 100, "{}", news.events[0].len());
    }

    #[test]
    fn a_slow_reader_gets_the_number_of_missed_events() {
        let log = EventLog::default();
        let begun = log.read(None, Duration::ZERO).next;
        for n in 0..MAX_EVENTS as u64 + 5 {
            log.record(&json!(n));
        }
        let news = log.read(Some(begun), Duration::ZERO);
        assert_eq!((news.missed, news.events.len(), &*news.events[0]), (5, MAX_EVENTS, "5"));
        assert_eq!(log.read(Some(news.next), Duration::ZERO).events.len(), 0);
        let stranger = log.read(Some(u64::MAX), Duration::ZERO);
        assert_eq!((stranger.events.len(), stranger.next), (0, news.next));
    }
}
