//! Tests of the file: what a restart, a crash, a full disk, damage and another clock do.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

use super::clock::Clock;
use super::database::{Database, LastWriter};
use super::stored_log::StoredLog;
use super::writer::{NewEntry, Opening, Outcome, Request, Wanted};
use super::{FileBus, FileBusError};
use crate::bus::Bus;
use crate::error::BusError;
use crate::log::{IdempotencyKey, Log, LogPage, PageLimit, Position, Retention};
use crate::suite::{Appended, Probe};

const RETENTION: Retention =
    Retention { messages: 1_000, ttl: Duration::from_secs(600), bytes: 1 << 30 };

const ALL: PageLimit = PageLimit { entries: 10_000, bytes: 64 << 20 };

/// A directory with a file.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("history.db")
    }

    /// The files that a process finds after this one was killed.
    fn after_a_crash(&self) -> Self {
        let copy = Self::new();
        for entry in fs::read_dir(self.0.path()).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.0.path().join(entry.file_name())).unwrap();
        }
        copy
    }
}

fn opening(boot: &str) -> Opening {
    Opening { boot: boot.to_owned(), lacks_entries: false }
}

/// Opens a file on a machine that has been up since this boot.
fn open_in(path: &Path, boot: &str) -> Result<FileBus, FileBusError> {
    FileBus::start(path, Database::open(path)?, opening(boot))
}

fn open(path: &Path) -> FileBus {
    open_in(path, "this boot").unwrap()
}

fn log() -> Log {
    Log::new("orders", RETENTION)
}

fn key(text: &str) -> Option<IdempotencyKey> {
    Some(IdempotencyKey::new(text).unwrap())
}

async fn connect(bus: &FileBus) -> Probe {
    Probe::connect(&Bus::new(bus.clone())).await
}

async fn read(bus: &FileBus) -> LogPage {
    connect(bus).await.read(&log(), 0, ALL, 1).await
}

/// Appends entries with keys. Returns the position of the last one.
async fn append(bus: &FileBus, numbers: std::ops::Range<u32>) -> Position {
    let mut probe = connect(bus).await;
    let mut last = None;
    for n in numbers {
        last = Some(probe.append_one(&log(), n.to_string(), key(&n.to_string()), 1).await);
    }
    last.unwrap().position
}

fn numbers(page: &LogPage) -> Vec<u32> {
    let texts = page.entries.iter().map(|entry| std::str::from_utf8(&entry.payload).unwrap());
    texts.map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_restart_keeps_positions_entries_and_keys() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let last = append(&bus, 0..50).await;
    let before = read(&bus).await;
    drop(bus);
    // The end of a connection's task may come a moment later.
    let bus = reopen(&folder.path(), "another boot").await;
    assert!(!bus.found().is_incomplete, "it was closed");
    assert_eq!(read(&bus).await, before);
    let mut probe = connect(&bus).await;
    let again = probe.append_one(&log(), "again", key("49"), 1).await;
    assert_eq!((again.position, again.is_duplicate), (last, true));
    assert_eq!(append(&bus, 50..51).await, Position { offset: last.offset + 1, ..last });
}

/// Opens a file that is being closed.
async fn reopen(path: &Path, boot: &str) -> FileBus {
    loop {
        match open_in(path, boot) {
            Err(FileBusError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            opened => return opened.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_process_that_is_killed_loses_nothing_that_was_reported() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    append(&bus, 0..50).await;
    let before = read(&bus).await;
    let copy = folder.after_a_crash();
    let bus = open(&copy.path());
    assert!(!bus.found().is_incomplete);
    assert_eq!(read(&bus).await, before);
}

#[tokio::test]
async fn a_machine_that_went_down_begins_other_epochs() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let last = append(&bus, 0..50).await;
    let copy = folder.after_a_crash();
    let found = open_in(&copy.path(), "another boot").unwrap();
    assert!(found.found().is_incomplete);
    let page = read(&found).await;
    assert_ne!(page.current.epoch, last.epoch);
    assert_eq!(numbers(&page), Vec::from_iter(0..50), "what is there can be read");
    let new = append(&found, 50..51).await;
    assert_eq!(new, Position { offset: last.offset + 1, ..page.current });
    // The epoch stays from now on.
    let copy = copy.after_a_crash();
    let again = open_in(&copy.path(), "another boot").unwrap();
    assert_eq!(read(&again).await.current, new);
    // A system that does not name its boot.
    let unknown = open_in(&folder.after_a_crash().path(), "").unwrap();
    assert!(unknown.found().is_incomplete);
}

#[tokio::test]
async fn a_full_disk_refuses_entries_until_there_is_space() {
    let folder = Folder::new();
    let database = Database::open(&folder.path()).unwrap();
    database.limit_pages(100);
    let bus = FileBus::start(&folder.path(), database, opening("")).unwrap();
    let mut probe = connect(&bus).await;
    probe.subscribe("news").await;
    probe.follow(&log()).await;
    let mut stored = Vec::new();
    let mut refusal = None;
    for id in 0..100 {
        probe.append(&log(), vec![b'x'; 10_000], None, id);
        match probe.appended(id).await {
            Appended::At(at) => stored.push(at.position),
            Appended::Refused(error) => refusal = Some(error.to_string()),
            Appended::Lost => panic!("it has an outcome"),
        }
    }
    let refusal = refusal.unwrap();
    assert!(refusal.starts_with("no space for ") && refusal.contains("free space"), "{refusal}");
    assert!(!stored.is_empty());
    let delivered = probe.entries(&log(), stored.len()).await;
    assert!(delivered.iter().map(|entry| entry.position).eq(stored.iter().copied()));
    probe.publish("news", "message", 100);
    probe.expect_messages("news", &["message"]).await;
    let page = probe.read(&log(), 0, ALL, 101).await;
    assert_eq!(page.entries, delivered, "what was accepted is there");
    // A log that keeps less makes space.
    let short = Log::new("orders", Retention { messages: 2, ..RETENTION });
    probe.read(&short, 0, ALL, 102).await;
    let next = loop {
        probe.append(&short, vec![b'y'; 10_000], None, 103);
        match probe.appended(103).await {
            Appended::At(at) => break at.position,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(next.offset, page.current.offset + 1, "no offset is lost or given twice");
}

#[tokio::test]
async fn a_file_that_lacks_entries_begins_other_epochs() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let last = append(&bus, 0..5).await;
    drop(bus);
    drop(reopen(&folder.path(), "this boot").await);
    let bus = FileBus::open_incomplete(&folder.path()).unwrap();
    assert!(bus.found().is_incomplete);
    assert_ne!(read(&bus).await.current.epoch, last.epoch);
    let new = Folder::new();
    assert!(!FileBus::open_incomplete(&new.path()).unwrap().found().is_incomplete);
}

#[tokio::test]
async fn logs_that_are_not_kept_begin_anew() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let mut probe = connect(&bus).await;
    let other = Log::new("other", RETENTION);
    let kept = probe.append_one(&other, "kept", key("1"), 1).await.position;
    let last = append(&bus, 0..5).await;
    bus.retain_logs(|name| name == "other");
    let page = read(&bus).await;
    assert_ne!(page.current.epoch, last.epoch);
    assert_eq!((page.current.offset, numbers(&page)), (0, Vec::new()));
    let again = probe.append_one(&log(), "5", key("4"), 2).await;
    assert!(!again.is_duplicate, "the keys are gone, too");
    let page = probe.read(&other, 0, ALL, 3).await;
    assert_eq!((page.current, page.entries.len()), (kept, 1));
    // Those that are not used are removed from the file.
    bus.retain_logs(|_| false);
    drop((probe, bus));
    drop(reopen(&folder.path(), "this boot").await);
    let bus = open(&folder.path());
    assert_ne!(read(&bus).await.current.epoch, again.position.epoch);
}

#[tokio::test]
async fn entries_behind_the_removal_of_logs_are_kept() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let last = append(&bus, 0..5).await;
    let (reply, mut replies) = unbounded_channel();
    let append = |number: u64| {
        let wanted = Wanted { number, reply: reply.clone() };
        let payload = number.to_string().into();
        let entry = NewEntry { log: log(), payload, key: None, wanted };
        assert!(bus.file.send(Request::Append(entry)));
    };
    // Requests that come until the disk goes on are carried out together.
    let resume = hang(&bus);
    append(5);
    bus.retain_logs(|_| false);
    append(6);
    drop(resume);
    for number in [5, 6] {
        let reply = replies.recv().await.unwrap();
        let is_stored = matches!(reply.outcome, Outcome::Appended { is_duplicate: false, .. });
        assert!(reply.number == number && is_stored, "{reply:?}");
    }
    let page = read(&bus).await;
    assert_ne!(page.current.epoch, last.epoch);
    assert_eq!(numbers(&page), [6]);
}

/// Lets the disk hang until the result is dropped.
fn hang(bus: &FileBus) -> SyncSender<()> {
    let (resume, until) = sync_channel(0);
    assert!(bus.file.send(Request::Hang(until)));
    resume.send(()).unwrap();
    resume
}

#[tokio::test]
async fn a_disk_that_hangs_is_a_lost_connection() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let mut probe = connect(&bus).await;
    probe.subscribe("news").await;
    probe.append_one(&log(), "0", None, 0).await;
    let resume = hang(&bus);
    probe.append(&log(), "1", key("1"), 1);
    probe.request_page(&log(), 0, ALL, 2);
    probe.publish("news", "message", 3);
    probe.expect_messages("news", &["message"]).await;
    for id in [1, 2] {
        assert!(matches!(probe.appended(id).await, Appended::Lost), "{id}");
    }
    let reason = probe.disconnected().await;
    assert!(reason.starts_with("no reply from the disk of "), "{reason}");
    probe.append(&log(), "4", key("4"), 4);
    assert!(matches!(probe.appended(4).await, Appended::Lost), "nothing waits for the disk");
    drop(resume);
    probe.connected().await;
    let page = probe.read(&log(), 0, ALL, 5).await;
    assert_eq!(numbers(&page), [0, 1], "the disk may take what was lost");
    let repeated = probe.append_one(&log(), "1", key("1"), 6).await;
    assert_eq!((repeated.position, repeated.is_duplicate), (page.current, true));
}

#[tokio::test]
async fn closing_the_file_does_not_wait_for_a_disk_that_hangs() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let resume = hang(&bus);
    drop(bus);
    drop(resume);
    drop(reopen(&folder.path(), "this boot").await);
}

#[tokio::test]
async fn a_file_has_one_process() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let error = FileBus::open(&folder.path()).unwrap_err();
    assert!(matches!(error, FileBusError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another process uses"), "{error}");
    drop(bus);
    open(&folder.path());
}

#[tokio::test]
async fn other_files_are_refused() {
    let folder = Folder::new();
    fs::write(folder.path(), [b'x'; 10_000]).unwrap();
    let error = FileBus::open(&folder.path()).unwrap_err();
    assert!(matches!(error, FileBusError::Damaged { .. }), "{error}");
    assert_eq!(fs::read(folder.path()).unwrap(), [b'x'; 10_000], "it is left as it is");
    fs::remove_file(folder.path()).unwrap();
    let other = rusqlite::Connection::open(folder.path()).unwrap();
    other.execute_batch("CREATE TABLE other (id INTEGER)").unwrap();
    drop(other);
    let error = FileBus::open(&folder.path()).unwrap_err();
    assert!(matches!(error, FileBusError::Foreign { .. }), "{error}");
    let error = FileBus::open(folder.0.path()).unwrap_err();
    assert!(matches!(error, FileBusError::Unusable { .. }), "a directory: {error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_panic() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    append(&bus, 0..200).await;
    drop(bus);
    drop(reopen(&folder.path(), "this boot").await);
    let intact = fs::read(folder.path()).unwrap();
    for at in (100..intact.len()).step_by(997) {
        let mut bytes = intact.clone();
        let end = bytes.len().min(at + 300);
        bytes[at..end].fill(0xa5);
        let damaged = Folder::new();
        fs::write(damaged.path(), &bytes).unwrap();
        let Ok(bus) = FileBus::open(&damaged.path()) else { continue };
        let mut probe = connect(&bus).await;
        probe.append(&log(), "1", key("new"), 1);
        if let Appended::Refused(error) = probe.appended(1).await {
            assert!(matches!(error, BusError::Backend(_)), "{error}");
        }
        probe.request_page(&log(), 0, ALL, 2);
        // The thread still answers.
        probe.append(&log(), "3", key("newer"), 3);
        assert!(!matches!(probe.appended(3).await, Appended::Lost), "damaged at {at}");
    }
}

#[tokio::test]
async fn space_of_what_is_not_kept_is_used_again() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    let mut probe = connect(&bus).await;
    let log = Log::new("orders", Retention { messages: 10, ..RETENTION });
    for _ in 0..20 {
        for id in 0..100 {
            probe.append(&log, vec![b'x'; 10_000], None, id);
        }
        for id in 0..100 {
            assert!(matches!(probe.appended(id).await, Appended::At(_)));
        }
    }
    drop((probe, bus));
    drop(reopen(&folder.path(), "this boot").await);
    let size = fs::metadata(folder.path()).unwrap().len();
    assert!(size < 4 << 20, "20 MB were written, the file has {size} bytes");
}

#[tokio::test]
async fn a_clock_that_was_set_back_drops_nothing() {
    let folder = Folder::new();
    let bus = open(&folder.path());
    append(&bus, 0..5).await;
    drop(bus);
    drop(reopen(&folder.path(), "this boot").await);
    let ahead = super::clock::time_of_day() + Duration::from_secs(300);
    let database = Database::open(&folder.path()).unwrap();
    let boot = "this boot".to_owned();
    let last = LastWriter { boot, is_open: false, era: 0, at: ahead };
    database.set_writer(&last).unwrap();
    drop(database);
    let bus = open(&folder.path());
    let behind = bus.found().clock_behind;
    assert!(behind > Duration::from_secs(200), "{behind:?}");
    append(&bus, 5..6).await;
    assert_eq!(numbers(&read(&bus).await), [0, 1, 2, 3, 4, 5]);
}

#[test]
fn the_clock_goes_on_behind_what_the_file_has() {
    let [early, late] = [1_000, 2_000].map(Duration::from_secs);
    let (clock, behind) = Clock::after(late, early);
    assert!(clock.now() >= late);
    assert_eq!(behind, late - early);
    let (clock, behind) = Clock::after(early, late);
    assert!(clock.now() >= late);
    assert_eq!(behind, Duration::ZERO);
}

#[test]
fn a_log_ends_when_nobody_has_used_it() {
    let now = Duration::from_secs(1_000_000);
    let mut log = StoredLog::new(1, 0);
    assert!(!log.has_ended(now));
    log.touch(RETENTION, now);
    // It has no entries.
    let unused = RETENTION.ttl / 2 + Duration::from_secs(300);
    assert!(!log.has_ended(now + unused - Duration::from_millis(1)));
    assert!(log.has_ended(now + unused));
    log.append(1, RETENTION, now);
    log.touch(RETENTION, now);
    assert!(!log.has_ended(now + unused));
    assert!(log.has_ended(now + RETENTION.idle()));
    assert!(log.save().ends_at >= now + RETENTION.idle());
    log.touch(RETENTION, now + RETENTION.idle() / 100);
    assert!(!log.is_dirty, "a small step is not stored");
    log.touch(RETENTION, now + RETENTION.idle() / 10);
    assert!(log.is_dirty);
}
