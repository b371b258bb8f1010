//! Logs in NATS.

use std::time::Duration;

use clarim_bus::suite::{self, Appended, Broker, LogBounds, LogBroker, Probe};
use clarim_bus::{Log, Retention};
use clarim_testing::{nats, nats_with_jetstream};
use tempfile::TempDir;

use crate::servers::{Server, nats_bus};

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
    let log = Log::new("check", Retention::new(100, Duration::from_secs(600), 1 << 20));
    let error = bus.check_logs(&log).await.unwrap_err();
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
