//! Logs, in every backend that keeps them.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use clarim_bus::suite::{self, Appended, Broker, LogBounds, LogBroker, Probe};
use clarim_bus::{
    BusError, BusEvent, FileBus, IdempotencyKey, Log, LogSupport, MemoryBus, PageLimit, Position,
    Retention,
};
use clarim_testing::{Guard, RedisCluster, Sentinels, redis, redis_with};
use tempfile::TempDir;

use crate::servers::{Server, bus, redis_bus};

fn log(name: &str) -> Log {
    Log::new(name, Retention::new(100, Duration::from_secs(600), 1 << 20))
}

#[tokio::test]
async fn memory_logs() {
    suite::run_logs(&MemoryBus::new().into(), LogBounds::All).await;
}

#[tokio::test]
async fn file_logs() {
    let folder = tempfile::tempdir().unwrap();
    let bus = FileBus::open(&folder.path().join("new/history.db")).unwrap();
    suite::run_logs(&bus.into(), LogBounds::All).await;
}

#[tokio::test(start_paused = true)]
async fn memory_log_that_nobody_uses_ends() {
    let bus = MemoryBus::new();
    let mut probe = Probe::connect(&bus.clone().into()).await;
    let log = log("idle");
    let first = probe.append_one(&log, "first", None, 1).await.position;
    for _ in 0..3 {
        tokio::time::sleep(log.retention().idle() - Duration::from_secs(1)).await;
        let page = probe.read(&log, 0, PageLimit { entries: 0, bytes: 0 }, 2).await;
        assert_eq!(page.current, first, "reading keeps it");
    }
    tokio::time::sleep(log.retention().idle() + Duration::from_secs(1)).await;
    let second = probe.append_one(&log, "second", None, 3).await.position;
    assert_ne!(second.epoch, first.epoch);
    bus.lose_logs();
    assert_ne!(probe.append_one(&log, "third", None, 4).await.position.epoch, second.epoch);
}

#[tokio::test]
async fn redis_logs() {
    let server = redis();
    suite::run_logs(&redis_bus(&server), LogBounds::All).await;
}

#[tokio::test]
async fn redis_sentinel_logs() {
    let servers = Sentinels::start();
    suite::run_logs(&bus(&servers.url()), LogBounds::All).await;
}

#[tokio::test]
async fn redis_cluster_logs() {
    let cluster = RedisCluster::start();
    suite::run_logs(&bus(&cluster.url()), LogBounds::All).await;
}

/// The rights that logs need, beside those of the bus.
const RIGHTS: &[&str] = &[
    "~{*",
    "+eval",
    "+evalsha",
    "+script|load",
    "+info",
    "+time",
    "+get",
    "+set",
    "+del",
    "+xadd",
    "+xlen",
    "+xrange",
    "+xtrim",
    "+pexpire",
];

#[tokio::test]
async fn redis_cluster_logs_with_a_restricted_user() {
    let user = [crate::backends::USER, &["+cluster|slots"], RIGHTS].concat();
    let cluster = RedisCluster::guarded(Guard::default(), &user);
    let url = cluster.url().replace("://", "://bus:secret@");
    suite::run_logs(&bus(&url), LogBounds::All).await;
}

#[tokio::test]
async fn a_redis_user_without_the_rights_has_a_bus_but_no_logs() {
    let server = redis_with(crate::backends::USER);
    let bus = bus(&format!("redis://bus:secret@127.0.0.1:{}", server.port));
    let LogSupport::Missing(error) = bus.check_logs(&log("check")).await.unwrap() else {
        panic!("it keeps logs")
    };
    assert!(error.to_string().contains("no permissions"), "{error}");
    let mut probe = Probe::connect(&bus).await;
    probe.subscribe("news").await;
    probe.append(&log("news"), "entry", None, 1);
    assert!(matches!(probe.appended(1).await, Appended::Refused(BusError::LogsUnsupported(_))));
    probe.publish("news", "message", 2);
    probe.expect_messages("news", &["message"]).await;
}

#[tokio::test]
async fn a_redis_that_removes_keys_keeps_logs_as_long_as_it_has_memory() {
    for (memory, policy, is_kept) in
        [("0", "allkeys-lru", true), ("9mb", "noeviction", true), ("9mb", "volatile-ttl", false)]
    {
        let server = redis_with(&["--maxmemory", memory, "--maxmemory-policy", policy]);
        let support = redis_bus(&server).check_logs(&log("check")).await.unwrap();
        let is_right = match &support {
            LogSupport::Kept => is_kept,
            LogSupport::Evicted { policy: found } => !is_kept && found == policy,
            _ => false,
        };
        assert!(is_right, "{policy}: {support:?}");
    }
}

#[tokio::test]
async fn a_full_redis_refuses_entries_and_goes_on_carrying_messages() {
    let server = redis_with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let support = redis_bus(&server).check_logs(&log("check")).await;
    assert!(!matches!(support, Ok(LogSupport::Missing(_))), "{support:?}");
    let mut probe = Probe::connect(&redis_bus(&server)).await;
    probe.subscribe("news").await;
    let log = Log::new("full", Retention::new(1000, Duration::from_secs(600), u64::MAX));
    let mut refusal = None;
    for id in 0..100 {
        probe.append(&log, vec![0; 100_000], None, id);
        if let Appended::Refused(error) = probe.appended(id).await {
            refusal = Some(error.to_string());
        }
    }
    let refusal = refusal.unwrap();
    assert!(refusal.contains("OOM"), "{refusal}");
    probe.publish("news", "message", 100);
    probe.expect_messages("news", &["message"]).await;
    let page = probe.read(&log, 0, PageLimit { entries: 1, bytes: 1 }, 101).await;
    assert_eq!(page.entries.len(), 1);
}

/// A Redis server that keeps its data.
struct PersistentRedis {
    server: Server,
    _folder: TempDir,
}

impl PersistentRedis {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_string_lossy().into_owned();
        let server = Server(redis_with(&["--appendonly", "yes", "--dir", &path]));
        Self { server, _folder: folder }
    }

    fn ask(&self, command: &[&str]) -> String {
        let port = self.server.0.port.to_string();
        let asked = Command::new("redis-cli").args(["-p", &port]).args(command).output().unwrap();
        assert!(asked.status.success());
        String::from_utf8(asked.stdout).unwrap()
    }
}

impl Broker for PersistentRedis {
    fn kill(&mut self) {
        self.server.kill();
    }

    fn restart(&mut self) {
        self.server.restart();
    }

    fn freeze(&mut self) {
        self.server.freeze();
    }

    fn thaw(&mut self) {
        self.server.thaw();
    }
}

impl LogBroker for PersistentRedis {
    fn lose_logs(&mut self) {
        self.ask(&["flushall"]);
    }
}

#[tokio::test]
async fn redis_log_outages() {
    let mut broker = PersistentRedis::start();
    suite::run_logs_with_outages(&redis_bus(&broker.server.0), &mut broker).await;
}

/// Appends entries with keys, each until the log has it, and returns their positions.
async fn append_all(probe: &mut Probe, log: &Log, texts: std::ops::Range<u32>) -> Vec<Position> {
    let mut positions = Vec::new();
    for text in texts {
        let key = IdempotencyKey::new(text.to_string()).unwrap();
        loop {
            probe.append(log, text.to_string(), Some(key.clone()), 1);
            if let Appended::At(at) = probe.appended(1).await {
                positions.push(at.position);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    positions
}

const ALL: PageLimit = PageLimit { entries: 1000, bytes: 1 << 20 };

#[tokio::test]
async fn a_redis_that_has_lost_its_last_entries_gives_their_positions_to_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_string_lossy().into_owned();
    let server = Server(redis_with(&["--dir", &path]));
    let mut broker = PersistentRedis { server, _folder: folder };
    let mut probe = Probe::connect(&redis_bus(&broker.server.0)).await;
    let log = log("snapshot");
    let kept = append_all(&mut probe, &log, 0..2).await[1];
    broker.ask(&["save"]);
    let lost = append_all(&mut probe, &log, 2..3).await[0];
    broker.server.restart();
    probe.connected().await;
    // A reader who comes first changes nothing.
    assert_eq!(probe.read(&log, 0, ALL, 1).await.current, kept);
    let next = append_all(&mut probe, &log, 3..4).await[0];
    assert_eq!(next.epoch, lost.epoch, "what is kept can be read on");
    assert!(next.offset > lost.offset + 1000, "{next:?} after {lost:?}");
    let page = probe.read(&log, kept.offset, ALL, 2).await;
    assert_eq!((page.entries[0].position, page.entries[0].previous), (next, kept.offset));
    let page = probe.read(&log, lost.offset, ALL, 3).await;
    assert!(page.entries[0].previous < lost.offset, "the loss of what was seen shows");
    let after = append_all(&mut probe, &log, 4..5).await[0];
    assert_eq!(after.offset, next.offset + 1);
}

#[tokio::test]
async fn redis_sentinel_failover_gives_a_position_only_once() {
    let mut servers = Sentinels::start();
    let bus = bus(&servers.url());
    let mut appender = Probe::connect(&bus).await;
    let mut follower = Probe::connect(&bus).await;
    let log = Log::new("failover", Retention::new(1000, Duration::from_secs(600), 1 << 20));
    follower.follow(&log).await;
    append_all(&mut appender, &log, 0..100).await;
    servers.servers[0].kill();
    append_all(&mut appender, &log, 100..200).await;
    follower.disconnected().await;
    follower.connected().await;
    append_all(&mut appender, &log, 200..201).await;
    let page = follower.read(&log, 0, ALL, 1).await;
    let mut received = page.entries.clone();
    for event in follower.drain().await {
        if let BusEvent::Entry { entry, .. } = event {
            received.push(entry);
        }
    }
    let mut seen: HashMap<Position, Bytes> = HashMap::new();
    for entry in received {
        let first = seen.entry(entry.position).or_insert_with(|| entry.payload.clone());
        assert_eq!(*first, entry.payload, "{:?} stands for two entries", entry.position);
    }
    let last = page.entries.last().unwrap();
    assert_eq!((last.position, &*last.payload), (page.current, &b"200"[..]));
}

#[tokio::test]
async fn redis_cluster_moves_a_slot_with_a_log() {
    let cluster = RedisCluster::start();
    let bus = bus(&cluster.url());
    let mut appender = Probe::connect(&bus).await;
    let mut follower = Probe::connect(&bus).await;
    let log = log("moves");
    follower.follow(&log).await;
    let before = append_all(&mut appender, &log, 0..20).await[19];
    let from = cluster.master_of("moves");
    let to = cluster.other_master(from);
    cluster.move_slot(cluster.slot("moves"), from, to);
    let after = append_all(&mut appender, &log, 20..40).await[19];
    assert_eq!(after.epoch, before.epoch);
    follower.disconnected().await;
    follower.connected().await;
    let page = follower.read(&log, 0, ALL, 1).await;
    let expected: Vec<String> = (0..40).map(|text| text.to_string()).collect();
    assert!(page.entries.iter().map(|entry| &entry.payload).eq(&expected), "{page:?}");
    let last = append_all(&mut appender, &log, 40..41).await[0];
    while follower.entries(&log, 1).await[0].position != last {}
}

#[tokio::test]
async fn redis_scripts_that_were_flushed_are_sent_again() {
    let broker = PersistentRedis::start();
    let mut probe = Probe::connect(&redis_bus(&broker.server.0)).await;
    let log = log("flushed");
    probe.follow(&log).await;
    for id in 0..3 {
        broker.ask(&["script", "flush"]);
        probe.append(&log, id.to_string(), None, id);
        probe.append(&log, "next", None, id + 10);
        assert_eq!(probe.entries(&log, 2).await[0].payload, id.to_string());
    }
}

#[tokio::test]
async fn redis_forgets_a_log_without_entries_early() {
    let broker = PersistentRedis::start();
    let mut probe = Probe::connect(&redis_bus(&broker.server.0)).await;
    let log = Log::new("unused", Retention::new(100, Duration::from_secs(604_800), 1 << 20));
    let expiry = || {
        let millis = broker.ask(&["pttl", "{unused}:log:about"]);
        Duration::from_millis(millis.trim().parse().unwrap())
    };
    for id in 0..2 {
        probe.read(&log, 0, ALL, id).await;
        assert!(expiry() <= log.retention().ttl, "{:?}", expiry());
    }
    let epoch = probe.append_one(&log, "entry", None, 2).await.position.epoch;
    assert_eq!(probe.read(&log, 0, ALL, 3).await.current.epoch, epoch);
    assert!(expiry() > log.retention().ttl, "{:?}", expiry());
}
