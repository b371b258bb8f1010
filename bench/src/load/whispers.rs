//! Client events: everybody in one channel talks to everybody else.

use anyhow::{Result, ensure};
use clap::Args;

use super::beats::Beats;
use crate::account::Stream;
use crate::frames::MIN_SIZE;
use crate::report::{Pace, Report, Start};
use crate::server::{Server, Target};
use crate::stage::{Stage, Ticket};

const CHANNEL: &str = "private-bench";

/// The load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Whispers {
    #[arg(long, default_value_t = 100)]
    pub(crate) clients: usize,
    /// Client events per second of each. Servers may allow ten.
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
        let (mut stage, tickets) = self.connect(&server.target)?;
        let start = Start::now(server)?;
        self.talk(&mut stage, &tickets)?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(stage.verdict()?, Pace::Open)?;
        report.set("CPU per delivery, µs", phase.each(stage.counts.delivered));
        report.set_latency(&stage);
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Stage, Vec<Ticket>)> {
        ensure!(self.clients > 1, "at least two clients are needed");
        ensure!(self.size >= MIN_SIZE, "an event needs {MIN_SIZE} bytes at least");
        let mut stage = Stage::new(target, 0, self.clients, self.size)?;
        let mut tickets = Vec::with_capacity(self.clients);
        let count = Stream::try_from(self.clients)?;
        for own in 0..count {
            let ticket = stage.open(None)?;
            let others = (0..count).filter(|stream| *stream != own).collect();
            stage.join(ticket, CHANNEL.to_owned(), None, others)?;
            tickets.push(ticket);
        }
        stage.until(|c| c.joined == self.clients as u64)?;
        Ok((stage, tickets))
    }

    pub(crate) fn talk(&self, stage: &mut Stage, tickets: &[Ticket]) -> Result<()> {
        stage.restart();
        let beats = Beats::new(self.seconds, &[self.rate * tickets.len() as f64]);
        for ((_, due), sender) in beats.zip((0..tickets.len()).cycle()) {
            stage.wait_until(due)?;
            stage.whisper(tickets[sender], Stream::try_from(sender)?, CHANNEL, due)?;
        }
        stage.settle()?;
        Ok(())
    }
}
