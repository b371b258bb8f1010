//! Events to all subscribers of one channel, or to none.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{Server, Target};
use crate::subscribers::fanout::Fanout;
use crate::wire::deliveries::Verdict;
use crate::wire::frames::MIN_SIZE;

/// Deliveries of a closed loop, unless it is told a number of events.
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
    /// Open loop: for how long.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Publish the next event as soon as the oldest has reached everybody.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Closed loop: events on their way at a time, each published over a connection of its own.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: usize,
    /// Closed loop: events in all; by default as many as make four million deliveries.
    #[arg(long)]
    pub(crate) events: Option<u64>,
    /// Subscribers offer permessage-deflate; the server must accept it.
    #[arg(long)]
    pub(crate) deflate: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Publish {
    #[arg(long, default_value_t = 100_000)]
    pub(crate) requests: u64,
    /// Keep-alive connections, each with one request at a time.
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
        // Events that overtake each other on different connections have no order to keep.
        let verdict = Verdict { disordered: 0, ..fanout.verdict()? };
        let mut report = phase.judge(verdict, Pace::Closed)?;
        report.set("CPU per delivery, µs", phase.each(fanout.delivered));
        report.set("wire bytes per delivery", fanout.wire_bytes_each());
        phase.rate(&mut report, "deliveries/s", fanout.delivered);
        Ok(report)
    }

    fn connect(&self, server: &Server, publishers: usize) -> Result<Fanout> {
        ensure!(self.subscribers > 0, "at least one subscriber is needed");
        ensure!(self.size >= MIN_SIZE, "an event needs {MIN_SIZE} bytes at least");
        let target = Target { deflate: self.deflate, ..server.target.clone() };
        Fanout::connect(&target, self.subscribers, publishers, self.size)
    }
}

impl Publish {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.requests > 0, "at least one request is needed");
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
