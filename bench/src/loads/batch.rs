//! Batches of events to a channel without subscribers.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::Server;
use crate::simulation::engine::Simulation;
use crate::wire::event_loop::CHANNEL;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Batch {
    #[arg(long, default_value_t = 20_000)]
    pub(crate) requests: u64,
    /// Events per request. Pusher allows ten.
    #[arg(long, default_value_t = 10)]
    pub(crate) events: u64,
    /// Number of keep-alive connections, each with one request at a time.
    #[arg(long, default_value_t = 8)]
    pub(crate) connections: usize,
}

impl Batch {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        ensure!(self.requests > 0, "--requests must be at least 1");
        ensure!(self.events > 1, "--events must be at least 2");
        ensure!(self.connections > 0, "--connections must be at least 1");
        let mut simulation = Simulation::new(&server.target, self.connections, 1, 128)?;
        let start = Start::now(server)?;
        for _ in 0..self.requests {
            simulation.until(|c| c.asked - c.answered < self.connections as u64)?;
            simulation.publish_batch(CHANNEL, self.events)?;
        }
        simulation.until(|c| c.asked == c.answered)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(simulation.verdict()?, Pace::Closed)?;
        report.set("CPU per request, µs", phase.each(self.requests));
        report.set("CPU per event, µs", phase.each(self.requests * self.events));
        phase.rate(&mut report, "events/s", self.requests * self.events);
        Ok(report)
    }
}
