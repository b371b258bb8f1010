//! Client events from each client of a channel to all others.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{Server, Target};
use crate::simulation::account::Stream;
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::schedule::Schedule;
use crate::wire::frames::MIN_SIZE;

const CHANNEL: &str = "private-bench";

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Whispers {
    #[arg(long, default_value_t = 100)]
    pub(crate) clients: usize,
    /// Client events per second of each client. Servers may limit it to ten.
    #[arg(long, default_value_t = 8.0)]
    pub(crate) rate: f64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
}

impl Whispers {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        let (mut simulation, clients) = self.connect(&server.target)?;
        let start = Start::now(server)?;
        self.talk(&mut simulation, &clients)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(simulation.verdict()?, Pace::Open)?;
        report.set("CPU per delivery, µs", phase.each(simulation.counts.delivered));
        report.set_latency(&simulation.latency, simulation.late);
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Simulation, Vec<ClientId>)> {
        ensure!(self.clients > 1, "--clients must be at least 2");
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let mut simulation = Simulation::new(target, 0, self.clients, self.size)?;
        let mut clients = Vec::with_capacity(self.clients);
        let count = Stream::try_from(self.clients)?;
        for own in 0..count {
            let client = simulation.open(None)?;
            let others = (0..count).filter(|stream| *stream != own).collect();
            simulation.join(client, CHANNEL.to_owned(), None, others)?;
            clients.push(client);
        }
        simulation.until(|c| c.joined == self.clients as u64)?;
        Ok((simulation, clients))
    }

    pub(crate) fn talk(&self, simulation: &mut Simulation, clients: &[ClientId]) -> Result<()> {
        simulation.restart();
        let beats = Schedule::new(self.seconds, &[self.rate * clients.len() as f64]);
        for ((_, due), sender) in beats.zip((0..clients.len()).cycle()) {
            simulation.wait_until(due)?;
            simulation.whisper(clients[sender], Stream::try_from(sender)?, CHANNEL, due)?;
        }
        simulation.settle()?;
        Ok(())
    }
}
