//! Histories in a file: what is there after a crash, a restart, and other settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clarim_testing::StoppedThread;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::apps_file::ONE;
use crate::restart::restart;
use crate::server::{Client, Process, eventually};

const RULE: &str = "kept:1000:600s";

/// A directory with the file.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("history.db")
    }

    fn start(&self) -> Process {
        let path = self.path();
        let settings =
            [("CLARIM_HISTORY_PATH", path.to_str().unwrap()), ("CLARIM_APP_HISTORY", RULE)];
        Process::start("", "", &settings)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    epoch: String,
    pub(crate) offset: u64,
}

/// The start of a subscription.
pub(crate) struct Started {
    pub(crate) position: Position,
    pub(crate) is_recovered: bool,
    pub(crate) missed: u64,
    pub(crate) client: Client,
}

/// Subscribes to the channel `kept`.
pub(crate) fn subscribe(process: &Process, since: Option<&Position>) -> Started {
    let mut client = begin(process, since);
    client.read_until("subscription_succeeded");
    let epoch = value(&mut client, "epoch");
    let offset = value(&mut client, "offset").parse().unwrap();
    let is_recovered = value(&mut client, "recovered") == "true";
    let missed = value(&mut client, "missed").parse().unwrap();
    Started { position: Position { epoch, offset }, is_recovered, missed, client }
}

/// Begins to subscribe.
fn begin(process: &Process, since: Option<&Position>) -> Client {
    let mut client = process.connect();
    client.read_until("connection_established");
    let since = since.map_or_else(String::new, |Position { epoch, offset }| {
        format!(r#","since":{{"epoch":"{epoch}","offset":{offset}}}"#)
    });
    client.say(&format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"kept"{since}}}}}"#));
    client
}

/// The value of the next field with this name, in JSON within JSON.
fn value(client: &mut Client, name: &str) -> String {
    client.read_until(&format!(r#"{name}\":"#));
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || br#"\""#.contains(byte);
    while client.unread.iter().all(is_part) {
        client.read(name);
    }
    let end = client.unread.iter().position(|byte| !is_part(byte)).unwrap();
    let text: Vec<u8> = client.unread.drain(..end).collect();
    String::from_utf8(text).unwrap().replace(['\\', '"'], "")
}

fn publish(process: &Process, texts: impl IntoIterator<Item = u32>) {
    for text in texts {
        let answer = process.publish("kept", &format!("event {text}."));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn expect(client: &mut Client, texts: impl IntoIterator<Item = u32>) {
    for text in texts {
        client.read_until(&format!("event {text}."));
    }
}

#[test]
fn a_server_that_is_killed_loses_no_event_that_it_accepted() {
    let folder = Folder::new();
    let mut process = folder.start();
    let start = subscribe(&process, None).position;
    assert_eq!(start.offset, 0);
    publish(&process, 0..50);
    let once = process.publish_once("kept", "once.", "a key");
    assert!(once.starts_with("HTTP/1.1 200"), "{once}");
    process.signal(Signal::KILL);
    process.wait();
    let process = folder.start();
    let mut back = subscribe(&process, Some(&start));
    assert_eq!((&back.position, back.is_recovered, back.missed), (&start, true, 51));
    expect(&mut back.client, 0..50);
    back.client.read_until("once.");
    // The file knows its key, too.
    let repeated = process.publish_once("kept", "once.", "a key");
    assert!(repeated.starts_with("HTTP/1.1 200"), "{repeated}");
    publish(&process, 50..51);
    expect(&mut back.client, 50..51);
    let now = subscribe(&process, None).position;
    assert_eq!(now, Position { offset: 52, ..start });
    // Channels without history are not in it.
    let mut other = process.subscribe("news");
    assert!(process.publish("news", "hello").starts_with("HTTP/1.1 200"));
    other.read_until("hello");
}

/// Clients of other channels notice nothing of a disk that does not reply.
#[test]
fn a_disk_that_does_not_reply_holds_channels_with_history_alone() {
    let folder = Folder::new();
    let process = folder.start();
    let mut kept = subscribe(&process, None);
    publish(&process, 0..10);
    expect(&mut kept.client, 0..10);
    let mut other = process.subscribe("news");
    let disk = StoppedThread::of(process.id(), "clarim-history");
    let refused = process.publish_once("kept", "event 10.", "a key");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(process.publish("news", "hello").starts_with("HTTP/1.1 200"));
    other.read_until("hello");
    drop(disk);
    eventually("the disk replies", || {
        process.publish_once("kept", "event 10.", "a key").starts_with("HTTP/1.1 200")
    });
    publish(&process, 11..20);
    expect(&mut kept.client, 10..20);
    let mut back = subscribe(&process, Some(&kept.position));
    assert_eq!((&back.position, back.is_recovered, back.missed), (&kept.position, true, 20));
    expect(&mut back.client, 0..20);
}

#[test]
fn a_restart_goes_on_with_the_file() {
    let folder = Folder::new();
    let process = folder.start();
    let mut first = subscribe(&process, None);
    publish(&process, 0..10);
    for round in 1..4 {
        restart(&process);
        publish(&process, round * 10..round * 10 + 10);
    }
    expect(&mut first.client, 0..40);
    let mut back = subscribe(&process, Some(&first.position));
    assert_eq!((&back.position, back.is_recovered), (&first.position, true));
    expect(&mut back.client, 0..40);
}

#[test]
fn a_server_that_went_on_without_the_file_does_not_recover_from_it() {
    let folder = Folder::new();
    let process = Process::start("", "", &[("CLARIM_APP_HISTORY", RULE)]);
    let settings = process.directory.path().join("clarim.toml");
    let with_file = format!("[server]\nhistory_path = {:?}\n", folder.path());
    fs::write(&settings, &with_file).unwrap();
    restart(&process);
    let old = subscribe(&process, None).position;
    publish(&process, 0..5);
    fs::write(&settings, "").unwrap();
    restart(&process);
    publish(&process, 5..10);
    let mut live = subscribe(&process, None);
    fs::write(&settings, &with_file).unwrap();
    restart(&process);
    // Its position in memory is none in the file.
    live.client.read_until("clarim:gap");
    let mut back = subscribe(&process, Some(&old));
    assert_ne!(back.position.epoch, old.epoch);
    assert!(!back.is_recovered);
    back.client.read_until(r#"reason\":\"epoch"#);
    publish(&process, 10..11);
    expect(&mut live.client, 10..11);
    expect(&mut back.client, 10..11);
}

#[test]
fn a_rule_that_is_removed_and_added_again_begins_another_history() {
    let folder = Folder::new();
    let path = folder.path();
    for environment in [&[("CLARIM_HISTORY_PATH", path.to_str().unwrap())][..], &[]] {
        let ruled = format!("{ONE}history = ['{RULE}']\n");
        let process =
            Process::start(&format!("cat > clarim.toml <<'E'\n{ruled}E\n"), "", environment);
        let old = subscribe(&process, None).position;
        publish(&process, 0..5);
        reload(&process, ONE);
        publish(&process, 5..6);
        reload(&process, &ruled);
        let mut back = begin(&process, Some(&old));
        back.read_or_end(r#"reason\":\"epoch"#).unwrap();
        let start = String::from_utf8_lossy(&back.unread).into_owned();
        assert!(!start.contains(r#"recovered\":true"#), "{start}");
        back.read_until(r#"reason\":\"epoch"#);
        assert_ne!(value(&mut back, "epoch"), old.epoch);
        publish(&process, 6..7);
        expect(&mut back, 6..7);
    }
}

/// Reads apps anew.
fn reload(process: &Process, apps: &str) {
    let count = || process.read("err").matches("apps reloaded").count();
    let before = count();
    process.rewrite(apps);
    process.signal(Signal::HUP);
    eventually("they are read", || count() > before);
}

#[test]
fn subscribers_get_the_first_event_by_a_new_rule() {
    let folder = Folder::new();
    let path = folder.path();
    let environment = [("CLARIM_HISTORY_PATH", path.to_str().unwrap())];
    let process = Process::start(&format!("cat > clarim.toml <<'E'\n{ONE}E\n"), "", &environment);
    let ruled = format!("{ONE}history = ['{RULE}']\n");
    let mut client = process.subscribe("kept");
    for round in 0..5 {
        publish(&process, round * 10..round * 10 + 2);
        reload(&process, &ruled);
        publish(&process, round * 10 + 2..round * 10 + 5);
        expect(&mut client, round * 10..round * 10 + 5);
        reload(&process, ONE);
    }
}

#[test]
fn two_servers_cannot_use_one_file() {
    let folder = Folder::new();
    let process = folder.start();
    let second = start(process.directory.path(), &folder.path());
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8(second.stderr).unwrap();
    let path = folder.path().display().to_string();
    assert!(said.contains(&format!("another process uses {path}")), "{said}");
    publish(&process, 0..1);
}

/// Starts a server that ends.
fn start(directory: &Path, path: &Path) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_clarim"))
        .args(["start", "--port", "0", "--host", "127.0.0.1"])
        .current_dir(directory)
        .env_clear()
        .envs([("REVERB_APP_ID", "1"), ("REVERB_APP_KEY", "k"), ("REVERB_APP_SECRET", "s")])
        .env("CLARIM_APP_HISTORY", RULE)
        .env("CLARIM_HISTORY_PATH", path)
        .output()
        .unwrap()
}
