//! Logs in NATS.

use std::time::Duration;

use clarim_bus::suite::{self, Appended, Broker, LogBounds, LogBroker, Probe};
use clarim_bus::{BusEvent, Log, LogSupport, PageLimit, Position, Retention};
use clarim_testing::{nats, nats_with_jetstream};
use tempfile::TempDir;

use crate::raw_nats::RawNats;
use crate::servers::{Server, nats_bus};

const RETENTION: (u32, Duration) = (100, Duration::from_secs(600));

const ALL: PageLimit = PageLimit { entries: 1000, bytes: 1 << 20 };

fn log(name: &str) -> Log {
    Log::new(name, Retention::new(RETENTION.0, RETENTION.1, 1 << 20))
}

/// Drops all entries of a stream, as their age does.
fn drop_all(client: &mut RawNats, Position { epoch, .. }: Position) {
    let messages = RETENTION.0;
    let ttl = RETENTION.1.as_millis();
    client.request(&format!("$JS.API.STREAM.PURGE.clarim-log-{messages}-{ttl}-{epoch:016x}"));
}

struct JetStream {
    server: Server,
    folder: TempDir,
}

impl JetStream {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server(nats_with_jetstream(folder.path(), &[]));
        Self { server, folder }
    }
}

impl Broker for JetStream {
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

impl LogBroker for JetStream {
    fn lose_logs(&mut self) {
        self.server.kill();
        std::fs::remove_dir_all(self.folder.path()).unwrap();
        self.server.restart();
    }
}

#[tokio::test]
async fn nats_logs() {
    let broker = JetStream::start();
    suite::run_logs(&nats_bus(&broker.server.0), LogBounds::Messages).await;
}

#[tokio::test]
async fn nats_log_outages() {
    let mut broker = JetStream::start();
    suite::run_logs_with_outages(&nats_bus(&broker.server.0), &mut broker).await;
}

#[tokio::test]
async fn nats_without_jetstream_says_how_to_start_it() {
    let server = nats(&[]);
    let bus = nats_bus(&server);
    let log = log("check");
    let LogSupport::Missing(error) = bus.check_logs(&log).await.unwrap() else {
        panic!("it keeps logs")
    };
    assert!(error.to_string().contains("nats-server -js"), "{error}");
    let mut probe = Probe::connect(&bus).await;
    probe.subscribe("news").await;
    for id in 0..3 {
        probe.append(&log, "entry", None, id);
        assert!(matches!(probe.appended(id).await, Appended::Refused(_)));
    }
    probe.publish("news", "message", 4);
    probe.expect_messages("news", &["message"]).await;
}

#[tokio::test]
async fn a_slow_jetstream_delays_no_messages() {
    let server = nats(&[]);
    let mut probe = Probe::connect(&nats_bus(&server)).await;
    probe.subscribe("news").await;
    let mut silent = RawNats::connect(server.port);
    silent.subscribe("$JS.API.>");
    for id in 0..2 {
        probe.append(&log("slow"), "entry", None, id);
    }
    probe.publish("news", "message", 2);
    let is_either =
        |event: &BusEvent| matches!(event, BusEvent::Message { .. } | BusEvent::Refused { .. });
    let first = probe.wait("a message or a refusal", is_either).await;
    assert!(matches!(first, BusEvent::Message { .. }), "{first:?}");
    for id in 0..2 {
        assert!(matches!(probe.appended(id).await, Appended::Refused(_)));
    }
}

#[tokio::test]
async fn a_reader_who_has_everything_misses_nothing_when_entries_are_dropped() {
    let broker = JetStream::start();
    let mut client = RawNats::connect(broker.server.0.port);
    let mut probe = Probe::connect(&nats_bus(&broker.server.0)).await;
    let [quiet, other] = ["quiet", "other"].map(log);
    probe.follow(&quiet).await;
    let seen = probe.append_one(&quiet, "seen", None, 1).await.position.offset;
    probe.append_one(&other, "later", None, 2).await;
    assert_eq!(probe.read(&quiet, seen, ALL, 3).await.current.offset, seen);
    let dropped = probe.append_one(&other, "dropped", None, 4).await.position;
    probe.read(&quiet, seen, ALL, 5).await;
    drop_all(&mut client, dropped);
    let page = probe.read(&quiet, seen, ALL, 6).await;
    assert!(page.start <= seen && page.entries.is_empty(), "after {seen}: {page:?}");
    assert_eq!(page.current.offset, seen, "there is nothing to read on: {page:?}");
    let page = probe.read(&quiet, seen, ALL, 9).await;
    assert!(page.start <= seen, "also for a reader who does not move on: {page:?}");
    // Entries that the reader could not read are missing.
    let known = page.current.offset.max(seen);
    let missed = probe.append_one(&quiet, "missed", None, 7).await.position;
    drop_all(&mut client, missed);
    let page = probe.read(&quiet, known, ALL, 8).await;
    assert!(page.start > known, "after {known}: {page:?}");
}

#[tokio::test]
async fn a_new_entry_after_dropped_ones_does_not_look_like_a_gap() {
    let broker = JetStream::start();
    let mut client = RawNats::connect(broker.server.0.port);
    let mut probe = Probe::connect(&nats_bus(&broker.server.0)).await;
    let [quiet, other] = ["quiet", "other"].map(log);
    probe.follow(&quiet).await;
    let seen = probe.append_one(&quiet, "seen", None, 1).await.position.offset;
    let dropped = probe.append_one(&other, "dropped", None, 2).await.position;
    probe.read(&quiet, seen, ALL, 3).await;
    drop_all(&mut client, dropped);
    let new = probe.append_one(&quiet, "new", None, 4).await.position;
    let page = probe.read(&quiet, seen, ALL, 5).await;
    assert!(page.start <= seen && page.entries[0].previous <= seen, "after {seen}: {page:?}");
    assert_eq!((page.entries[0].position, page.current), (new, new));
}

#[tokio::test]
async fn a_read_without_news_makes_no_consumer() {
    let broker = JetStream::start();
    let mut probe = Probe::connect(&nats_bus(&broker.server.0)).await;
    let seen = probe.append_one(&log("quiet"), "seen", None, 1).await.position.offset;
    probe.append_one(&log("other"), "later", None, 2).await;
    let mut spy = RawNats::connect(broker.server.0.port);
    spy.subscribe("$JS.API.>");
    probe.read(&log("quiet"), seen, ALL, 3).await;
    let requests = spy.received();
    assert_eq!(requests.len(), 2, "{requests:?}");
}
