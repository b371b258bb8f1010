//! Events to all subscribers of one channel, or to none.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{Server, Target};
use crate::subscribers::fanout::Fanout;
use crate::wire::deliveries::Verdict;
use crate::wire::frames::MIN_SIZE;

/// Default number of deliveries of a closed loop.
const DELIVERIES: u64 = 4_000_000;

#[derive(Debug, Clone, Args)]
pub(crate) struct FanoutLoad {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Open loop: events per second.
    #[arg(long, default_value_t = 10)]
    pub(crate) rate: u32,
    /// Open loop: duration in seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Closed loop: publish the next event as soon as the oldest is delivered to all.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Closed loop: events in flight, each published over a connection of its own.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: usize,
    /// Closed loop: total number of events. Default: as many as make four million deliveries.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Offer permessage-deflate, which the server must accept.
    #[arg(long)]
    pub(crate) deflate: bool,
    /// Name page ids, so that each client acknowledges the events of a channel with history.
    #[arg(long)]
    pub(crate) pages: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Publish {
    #[arg(long, default_value_t = 100_000)]
    pub(crate) requests: u64,
    /// Number of keep-alive connections, each with one request at a time.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
}

impl FanoutLoad {
    pub(super) fn run_open(&self, server: &Server) -> Result<Report> {
        let mut fanout = self.connect(server, 1)?;
        let start = Start::now(server)?;
        fanout.open(self.rate, self.seconds)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(fanout.verdict()?, Pace::Open)?;
        report.set("CPU per delivery, µs", phase.each(fanout.delivered));
        report.set("wire bytes per delivery", fanout.wire_bytes_each());
        report.set_latency(&fanout.latency, fanout.late);
        Ok(report)
    }

    pub(super) fn run_closed(&self, server: &Server) -> Result<Report> {
        let mut fanout = self.connect(server, self.in_flight)?;
        let events = self.events.unwrap_or(DELIVERIES / self.subscribers as u64).max(1);
        let start = Start::now(server)?;
        fanout.closed(events, self.in_flight)?;
        let phase = start.phase(server)?;
        // Events of different publisher connections have no order.
        let verdict = Verdict { disordered: 0, ..fanout.verdict()? };
        let mut report = phase.judge(verdict, Pace::Closed)?;
        report.set("CPU per delivery, µs", phase.each(fanout.delivered));
        report.set("wire bytes per delivery", fanout.wire_bytes_each());
        phase.rate(&mut report, "deliveries/s", fanout.delivered);
        Ok(report)
    }

    fn connect(&self, server: &Server, publishers: usize) -> Result<Fanout> {
        ensure!(self.subscribers > 0, "--subscribers must be at least 1");
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let target = Target { deflate: self.deflate, pages: self.pages, ..server.target.clone() };
        Fanout::connect(&target, self.subscribers, publishers, self.size)
    }
}

impl Publish {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.requests > 0, "--requests must be at least 1");
        let mut fanout = Fanout::connect(&server.target, 0, self.connections, 128)?;
        let start = Start::now(server)?;
        fanout.closed(self.requests, self.connections)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(fanout.verdict()?, Pace::Closed)?;
        report.set("CPU per request, µs", phase.each(fanout.published));
        phase.rate(&mut report, "requests/s", fanout.published);
        Ok(report)
    }
}
