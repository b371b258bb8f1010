//! Tests of logs, with a broker that works.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::probe::{Appended, Probe};
use crate::bus::Bus;
use crate::log::{IdempotencyKey, Log, LogEntry, LogSupport, PageLimit, Retention};

/// How long and how much a log of these tests keeps.
pub(super) const RETENTION: Retention =
    Retention { messages: 10_000, ttl: Duration::from_secs(600), bytes: 1 << 30 };

/// A page with everything.
pub(super) const ALL: PageLimit = PageLimit { entries: 20_000, bytes: 32 << 20 };

/// The bounds of a [`Retention`] that a backend enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogBounds {
    /// All of them, exactly.
    All,
    /// The number of messages. It may keep them for longer, and more bytes of them. Entries that several
    /// connections append at once may arrive in another order, so that followers see a hole.
    Messages,
}

/// Runs all tests of logs that need nothing but a working broker, without logs.
///
/// # Panics
/// If the backend breaks a guarantee.
pub async fn run_logs(bus: &Bus, bounds: LogBounds) {
    let support = bus.check_logs(&log("check")).await.expect("the broker replies");
    assert!(matches!(support, LogSupport::Kept), "{support:?}");
    every_follower_receives_entries_with_their_positions(bus).await;
    an_empty_log_has_a_position(bus).await;
    concurrent_appends_have_one_order(bus, bounds).await;
    a_key_is_accepted_once(bus, bounds).await;
    a_log_keeps_the_newest_entries(bus).await;
    if bounds == LogBounds::All {
        entries_that_are_too_old_are_dropped(bus).await;
        a_log_keeps_a_number_of_bytes(bus).await;
    }
    pages_are_bounded(bus).await;
    a_reader_skips_no_entry_that_is_appended_while_it_reads(bus).await;
    names_and_payloads_are_arbitrary(bus).await;
    nothing_is_received_after_unfollowing(bus).await;
    logs_and_subjects_of_one_name_are_separate(bus).await;
}

/// A log with the retention of these tests.
pub(super) fn log(name: &str) -> Log {
    Log::new(name, RETENTION)
}

pub(super) fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::new(text).expect("it is short")
}

/// Asserts that nothing is missing between these entries, nor after the offset `seen`.
pub(super) fn assert_contiguous(entries: &[LogEntry], seen: u64) {
    let mut last = seen;
    for entry in entries {
        assert!(entry.previous <= last, "a hole after {last}: {entry:?}");
        assert!(entry.position.offset > last, "not in order after {last}: {entry:?}");
        last = entry.position.offset;
    }
}

pub(super) fn payloads(entries: &[LogEntry]) -> Vec<Bytes> {
    entries.iter().map(|entry| entry.payload.clone()).collect()
}

async fn every_follower_receives_entries_with_their_positions(bus: &Bus) {
    let log = log("followed");
    let mut a = Probe::connect(bus).await;
    let mut b = Probe::connect(bus).await;
    a.follow(&log).await;
    b.follow(&log).await;
    let first = a.append_one(&log, "one", None, 1).await;
    let second = b.append_one(&log, "two", None, 2).await;
    assert!(!first.is_duplicate && first.position.epoch == second.position.epoch);
    assert!(second.position.offset > first.position.offset);
    for probe in [&mut a, &mut b] {
        // The appending connection is a follower too.
        let entries = probe.entries(&log, 2).await;
        assert_eq!(payloads(&entries), ["one", "two"]);
        assert_eq!(entries[0].position, first.position);
        assert_eq!(entries[1].position, second.position);
        assert_contiguous(&entries, 0);
        assert_eq!(entries[1].previous, first.position.offset);
        let page = probe.read(&log, 0, ALL, 3).await;
        assert_eq!((page.current, page.start), (second.position, 0));
        assert_eq!(payloads(&page.entries), ["one", "two"]);
    }
}

async fn an_empty_log_has_a_position(bus: &Bus) {
    let log = log("empty");
    let mut reader = Probe::connect(bus).await;
    let mut writer = Probe::connect(bus).await;
    let empty = reader.read(&log, 0, ALL, 1).await;
    assert_eq!(empty.entries, []);
    assert_eq!(empty.start, reader.read(&log, 0, ALL, 2).await.start);
    let first = writer.append_one(&log, "first", None, 1).await.position;
    assert_eq!(first.epoch, empty.current.epoch);
    assert!(first.offset > empty.current.offset);
    let page = reader.read(&log, empty.current.offset, ALL, 3).await;
    assert!(page.start <= empty.current.offset, "nothing is missing: {page:?}");
    assert_eq!((payloads(&page.entries), page.current), (vec!["first".into()], first));
    // Only the position.
    let page = reader.read(&log, 0, PageLimit { entries: 0, bytes: 0 }, 4).await;
    assert_eq!((page.entries, page.current), (vec![], first));
    // From the future.
    for after in [first.offset + 1, u64::MAX] {
        let page = reader.read(&log, after, ALL, 5).await;
        assert_eq!((page.entries, page.current), (vec![], first));
    }
}

/// Waits for entries that several connections append at once.
async fn concurrent_entries(
    follower: &mut Probe,
    log: &Log,
    count: usize,
    bounds: LogBounds,
) -> Vec<LogEntry> {
    let mut entries = follower.entries(log, count).await;
    if bounds == LogBounds::Messages {
        entries.sort_by_key(|entry| entry.position.offset);
    }
    assert_contiguous(&entries, 0);
    entries
}

async fn concurrent_appends_have_one_order(bus: &Bus, bounds: LogBounds) {
    let log = log("concurrent");
    let mut followers = [Probe::connect(bus).await, Probe::connect(bus).await];
    for follower in &mut followers {
        follower.follow(&log).await;
    }
    let mut appenders = Vec::new();
    for appender in 0..4 {
        let mut probe = Probe::connect(bus).await;
        let log = log.clone();
        appenders.push(tokio::spawn(async move {
            for id in 0..250 {
                probe.append(&log, format!("{appender}:{id}"), None, id);
            }
            for id in 0..250 {
                assert!(matches!(probe.appended(id).await, Appended::At(_)), "entry {id}");
            }
        }));
    }
    let mut orders = Vec::new();
    for follower in &mut followers {
        orders.push(concurrent_entries(follower, &log, 1000, bounds).await);
    }
    for appender in appenders {
        appender.await.expect("no appender failed");
    }
    assert!(orders[0] == orders[1], "all followers receive one order");
    let page = followers[0].read(&log, 0, ALL, 1).await;
    assert!(page.entries == orders[0], "followers receive the log's order");
    for appender in 0..4 {
        let prefix = format!("{appender}:");
        let own = payloads(&orders[0]).into_iter().filter(|p| p.starts_with(prefix.as_bytes()));
        let expected: Vec<String> = (0..250).map(|id| format!("{prefix}{id}")).collect();
        assert!(own.eq(expected), "entries of one connection keep their order");
    }
}

async fn a_key_is_accepted_once(bus: &Bus, bounds: LogBounds) {
    let log = log("keys");
    let mut follower = Probe::connect(bus).await;
    follower.follow(&log).await;
    let mut appenders = [Probe::connect(bus).await, Probe::connect(bus).await];
    for id in 0..100 {
        for (at, appender) in appenders.iter_mut().enumerate() {
            let key = key(&format!("key-{id}"));
            appender.append(&log, format!("{id} of {at}"), Some(key), id);
        }
    }
    for id in 0..100 {
        let mut positions = Vec::new();
        for appender in &mut appenders {
            positions.push(appender.position(id).await);
        }
        assert_eq!(positions[0].position, positions[1].position, "key {id}");
        assert!(positions[0].is_duplicate != positions[1].is_duplicate, "key {id}");
    }
    let longest = key(&"k".repeat(160));
    let first = appenders[0].append_one(&log, "longest", Some(longest.clone()), 100).await;
    let again = appenders[1].append_one(&log, "again", Some(longest.clone()), 100).await;
    assert_eq!((again.position, again.is_duplicate), (first.position, true));
    let other = super::logs::log("keys of another log");
    assert!(!appenders[0].append_one(&other, "other", Some(longest), 101).await.is_duplicate);
    let entries = concurrent_entries(&mut follower, &log, 101, bounds).await;
    assert!(follower.drain().await.is_empty(), "a duplicate is not delivered");
    let page = appenders[0].read(&log, 0, ALL, 102).await;
    assert!(page.entries == entries, "a duplicate is not stored");
}

async fn a_log_keeps_the_newest_entries(bus: &Bus) {
    let log = Log::new("newest", Retention { messages: 5, ..RETENTION });
    let mut probe = Probe::connect(bus).await;
    let mut positions = Vec::new();
    for id in 0..120 {
        positions.push(probe.append_one(&log, id.to_string(), None, id).await.position);
    }
    let page = probe.read(&log, 0, ALL, 1).await;
    assert_eq!(payloads(&page.entries), ["115", "116", "117", "118", "119"]);
    assert_eq!(page.current, positions[119]);
    assert_eq!(page.start, positions[114].offset);
    // A reader that has seen enough misses nothing, another one learns it.
    let page = probe.read(&log, positions[116].offset, ALL, 2).await;
    assert_eq!(payloads(&page.entries), ["117", "118", "119"]);
    assert!(page.start <= positions[116].offset);
    let page = probe.read(&log, positions[113].offset, ALL, 3).await;
    assert!(page.start > positions[113].offset);
}

async fn entries_that_are_too_old_are_dropped(bus: &Bus) {
    let ttl = Duration::from_secs(2);
    let log = Log::new("old", Retention { ttl, ..RETENTION });
    let mut probe = Probe::connect(bus).await;
    let mut last = probe.append_one(&log, "0", None, 0).await.position;
    for id in 1..100 {
        last = probe.append_one(&log, "old", None, id).await.position;
    }
    // Time is the subject here.
    sleep(ttl).await;
    let page = probe.read(&log, last.offset, ALL, 1).await;
    assert_eq!((page.entries.len(), page.current.epoch), (0, last.epoch));
    assert!(page.start >= last.offset, "all entries are too old: {page:?}");
    let new = probe.append_one(&log, "new", None, 100).await.position;
    let page = probe.read(&log, 0, ALL, 2).await;
    assert_eq!((payloads(&page.entries), page.current), (vec!["new".into()], new));
    assert!(page.start >= last.offset && page.start < new.offset, "{page:?}");
}

async fn a_log_keeps_a_number_of_bytes(bus: &Bus) {
    let log = Log::new("bytes", Retention { bytes: 10_000, ..RETENTION });
    let mut probe = Probe::connect(bus).await;
    for id in 0..300 {
        probe.append_one(&log, vec![b'x'; 1000], None, id).await;
    }
    let page = probe.read(&log, 0, ALL, 1).await;
    assert_eq!(page.entries.len(), 10);
    assert_eq!(page.start, page.entries[0].previous);
    // One that is larger than the bound is kept until the next one.
    let large = probe.append_one(&log, vec![b'y'; 20_000], None, 300).await.position;
    let page = probe.read(&log, 0, ALL, 2).await;
    assert_eq!((page.entries.len(), page.entries[0].position), (1, large));
    let small = probe.append_one(&log, "z", None, 301).await.position;
    let page = probe.read(&log, 0, ALL, 3).await;
    assert_eq!((page.entries.len(), page.entries[0].position), (1, small));
    assert_eq!(page.start, large.offset);
}

async fn pages_are_bounded(bus: &Bus) {
    let log = log("pages");
    let mut probe = Probe::connect(bus).await;
    for id in 0..257 {
        probe.append(&log, format!("{id:0100}"), None, id);
    }
    for id in 0..257 {
        probe.position(id).await;
    }
    let mut after = 0;
    let mut sizes = Vec::new();
    let mut entries = Vec::new();
    let by_number = PageLimit { entries: 100, bytes: 1 << 20 };
    let by_bytes = PageLimit { entries: 1000, bytes: 2_550 };
    let by_entry = PageLimit { entries: 1000, bytes: 1 };
    for limit in [by_number, by_bytes, by_entry, by_number, by_number] {
        let page = probe.read(&log, after, limit, 1000).await;
        after = page.entries.last().expect("there are more").position.offset;
        sizes.push(page.entries.len());
        entries.extend(page.entries);
        if after == page.current.offset {
            break;
        }
    }
    assert_eq!(sizes, [100, 25, 1, 100, 31]);
    assert_contiguous(&entries, 0);
    let expected: Vec<String> = (0..257).map(|id| format!("{id:0100}")).collect();
    assert_eq!(payloads(&entries), expected);
}

async fn a_reader_skips_no_entry_that_is_appended_while_it_reads(bus: &Bus) {
    let log = log("read");
    let mut reader = Probe::connect(bus).await;
    let mut writer = Probe::connect(bus).await;
    let start = writer.append_one(&log, "first", None, 0).await.position.offset;
    let appended = log.clone();
    let mut writer = Some(tokio::spawn(async move {
        let mut last = start;
        for id in 1..200 {
            // So that most reads find nothing, and an entry comes at any time of a read.
            sleep(Duration::from_millis(1)).await;
            last = writer.append_one(&appended, id.to_string(), None, id).await.position.offset;
        }
        last
    }));
    let mut after = start;
    let mut count = 0;
    let mut end = None;
    while end != Some(after) {
        if let Some(done) = writer.take_if(|writer| writer.is_finished()) {
            end = Some(done.await.expect("every entry is appended"));
        }
        let page = reader.read(&log, after, ALL, 1).await;
        let last = page.entries.last().map(|entry| entry.position.offset);
        count += page.entries.len();
        // As a reader who goes on after the last entry, or has everything until `current`.
        after = last.unwrap_or_else(|| after.max(page.current.offset));
        assert!(end.is_none_or(|end| after <= end), "{page:?}");
    }
    assert_eq!(count, 199, "every entry is read");
}

async fn names_and_payloads_are_arbitrary(bus: &Bus) {
    let mut probe = Probe::connect(bus).await;
    let long = "x".repeat(4_000);
    let names =
        ["a b", "a.b", "*", ">", "a:{b}:c", "{}", "}", "é 漢字", "per%cent", "}:log", &long];
    for name in names {
        probe.follow(&log(name)).await;
    }
    let big = Bytes::from(vec![0xff; 600_000]);
    for (id, name) in (0..).zip(names) {
        let log = log(name);
        let all = [Bytes::new(), Bytes::from_static(b"\r\n\0$5:"), big.clone()];
        for (number, payload) in all.iter().enumerate() {
            let key = key(&format!("{number} {{}}:* é"));
            assert!(!probe.append_one(&log, payload.clone(), Some(key), id).await.is_duplicate);
        }
        let entries = probe.entries(&log, 3).await;
        assert!(payloads(&entries) == all, "delivered on {name}");
        assert!(probe.read(&log, 0, ALL, id).await.entries == entries, "stored in {name}");
    }
}

async fn nothing_is_received_after_unfollowing(bus: &Bus) {
    let [left, kept] = ["log left", "log kept"].map(log);
    let mut probe = Probe::connect(bus).await;
    probe.follow(&left).await;
    probe.unfollow(&left);
    probe.follow(&kept).await;
    probe.append_one(&left, "late", None, 1).await;
    probe.append_one(&kept, "on time", None, 2).await;
    assert_eq!(payloads(&probe.entries(&kept, 1).await), ["on time"]);
    assert!(probe.drain().await.is_empty());
    probe.follow(&left).await;
    probe.append_one(&left, "again", None, 3).await;
    assert_eq!(payloads(&probe.entries(&left, 1).await), ["again"]);
}

async fn logs_and_subjects_of_one_name_are_separate(bus: &Bus) {
    let log = log("same");
    let mut subscriber = Probe::connect(bus).await;
    let mut follower = Probe::connect(bus).await;
    subscriber.subscribe("same").await;
    follower.follow(&log).await;
    follower.append_one(&log, "entry", None, 1).await;
    follower.publish("same", "message", 2);
    subscriber.expect_messages("same", &["message"]).await;
    assert_eq!(payloads(&follower.entries(&log, 1).await), ["entry"]);
    follower.outcome(2).await;
    for probe in [&mut subscriber, &mut follower] {
        assert!(probe.drain().await.is_empty());
    }
}
