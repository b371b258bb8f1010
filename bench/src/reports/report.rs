//! What a load has cost, and whether the measurement is valid.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::servers::process::{Clock, Usage};
use crate::servers::server::Server;
use crate::wire::deliveries::Verdict;

/// Above this share of its core, the load generator limits the measurement.
const CLIENT_LIMIT: f64 = 0.95;
/// Above this share of the time waiting for a core, other processes have disturbed the run.
const WAITING_LIMIT: f64 = 0.05;

/// The outcome of one load.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Report {
    /// By name, which includes the unit.
    pub(crate) figures: BTreeMap<String, f64>,
    /// Notes on the figures.
    pub(crate) marks: Vec<String>,
}

impl Report {
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.figures.insert(name.to_owned(), value);
    }

    /// The delivery times of an open loop. `late`: by how much an event was published too late, at most.
    pub(crate) fn set_latency(&mut self, latency: &Histogram<u64>, late: Duration) {
        let milliseconds = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        self.set("p50, ms", milliseconds(0.5));
        self.set("p99, ms", milliseconds(0.99));
        self.set("p99.9, ms", milliseconds(0.999));
        self.set("published late, at most, ms", late.as_secs_f64() * 1e3);
    }

    /// Notes member events that repeat what the client knows. Client libraries ignore them, but an
    /// application may not.
    pub(crate) fn mark_repeated_members(&mut self, repeated: u64) {
        if repeated > 0 {
            self.marks
                .push(format!("{repeated} member events repeated what the client knew already"));
        }
    }
}

/// What sets the pace of a load. It decides whether a busy load generator invalidates the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// The clock. Latencies are the server's only while the load generator has time to read.
    Open,
    /// The responses. The rate is the server's only while the server is the slower one.
    Closed,
}

/// CPU and time used in a measured phase.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Phase {
    pub(crate) server: Usage,
    pub(crate) client: Usage,
    pub(crate) wall: Duration,
}

/// The start of a measured phase.
#[derive(Debug)]
pub(crate) struct Start {
    server: Clock,
    client: Clock,
    at: std::time::Instant,
}

impl Start {
    pub(crate) fn now(server: &Server) -> Result<Self> {
        let server = server.clock()?;
        let client = Clock::of("self")?;
        Ok(Self { server, client, at: std::time::Instant::now() })
    }

    /// Ends the phase.
    pub(crate) fn phase(&self, server: &Server) -> Result<Phase> {
        let wall = self.at.elapsed();
        let server = server.clock()?.since(&self.server);
        Ok(Phase { server, client: Clock::of("self")?.since(&self.client), wall })
    }
}

impl Phase {
    /// Server CPU in microseconds per item, for `count` items.
    pub(crate) fn each(&self, count: u64) -> f64 {
        self.server.on_core.as_secs_f64() * 1e6 / count as f64
    }

    /// Reports items per second, unless the load generator was the slower one.
    pub(crate) fn rate(&self, report: &mut Report, name: &str, count: u64) {
        if !self.is_clients_pace() {
            report.set(name, count as f64 / self.wall.as_secs_f64());
        }
    }

    fn is_clients_pace(&self) -> bool {
        self.client.on_core > self.server.on_core
    }

    pub(crate) fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.wall.as_secs_f64()
    }

    /// A report with the shares of the cores. Fails if the measurement is invalid.
    pub(crate) fn judge(&self, verdict: Verdict, pace: Pace) -> Result<Report> {
        ensure!(verdict.is_clean(), "invalid measurement: {verdict}");
        let client = self.share(self.client.on_core);
        ensure!(
            pace == Pace::Closed || client <= CLIENT_LIMIT,
            "invalid measurement: the load generator used {:.0} % of its core",
            client * 100.0
        );
        let mut report = Report::default();
        report.set("client, share of its core", client);
        report.set("server, share of its core", self.share(self.server.on_core));
        if pace == Pace::Closed && self.is_clients_pace() {
            let mark = "the load generator was the slower one, so the rate is not reported";
            report.marks.push(mark.to_owned());
        }
        report.marks.extend(self.disturbances());
        Ok(report)
    }

    /// Notes about processes that have waited for a core.
    pub(crate) fn disturbances(&self) -> Vec<String> {
        [("server", self.server), ("load generator", self.client)]
            .into_iter()
            .map(|(who, usage)| (who, self.share(usage.waiting)))
            .filter(|(_, waiting)| *waiting > WAITING_LIMIT)
            .map(|(who, waiting)| {
                format!("the {who} waited {:.0} % of the time for a core", waiting * 100.0)
            })
            .collect()
    }
}
