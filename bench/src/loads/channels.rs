//! Many channels with one subscriber each.

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{SETTLE_PAUSE, Server, Target};
use crate::simulation::account::Stream;
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::schedule::Schedule;
use crate::wire::deliveries::Verdict;
use crate::wire::frames::MIN_SIZE;

/// Maximum number of handshakes or subscriptions in flight.
const AT_ONCE: u64 = 100;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Channels {
    #[arg(long, default_value_t = 100_000)]
    pub(crate) channels: usize,
    /// Number of connections, each with its share of the channels.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) connections: usize,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 128)]
    pub(crate) size: usize,
    /// Open loop: events per second, each to a random channel.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) rate: u32,
    /// Open loop: duration in seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u32,
    /// Closed loop: publish the next event as soon as one is delivered.
    #[arg(long)]
    pub(crate) closed: bool,
    /// Closed loop: events in flight, each published over a connection of its own.
    #[arg(long, default_value_t = 8)]
    pub(crate) in_flight: usize,
    /// Closed loop: total number of events.
    #[arg(long, default_value_t = 200_000)]
    pub(crate) events: u64,
}

impl Channels {
    pub(super) fn run(&self, server: &Server) -> Result<Report> {
        let (mut simulation, clients) = self.connect(&server.target)?;
        let before = server.settled_memory(|time| simulation.listen(time), SETTLE_PAUSE)?;
        self.subscribe(&mut simulation, &clients)?;
        let after = server.settled_memory(|time| simulation.listen(time), SETTLE_PAUSE)?;
        simulation.restart();
        let start = Start::now(server)?;
        let pace =
            if self.closed { self.closed(&mut simulation) } else { self.open(&mut simulation) }?;
        let phase = start.phase(server)?;
        let mut verdict = simulation.verdict()?;
        if self.closed {
            // Events of different publisher connections have no order.
            verdict = Verdict { disordered: 0, ..verdict };
        }
        let mut report = phase.judge(verdict, pace)?;
        let each = after.saturating_sub(before) as f64 / self.channels as f64;
        report.set("bytes per subscription", each);
        report.set("CPU per delivery, µs", phase.each(simulation.counts.delivered));
        if self.closed {
            phase.rate(&mut report, "deliveries/s", simulation.counts.delivered);
        } else {
            report.set_latency(&simulation.latency, simulation.late);
        }
        Ok(report)
    }

    pub(crate) fn connect(&self, target: &Target) -> Result<(Simulation, Vec<ClientId>)> {
        ensure!(
            self.channels >= self.connections,
            "--channels must not be less than --connections"
        );
        ensure!(self.connections > 0, "--connections must be at least 1");
        ensure!(self.in_flight > 0, "--in-flight must be at least 1");
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let publishers = if self.closed { self.in_flight } else { 1 };
        let mut simulation = Simulation::new(target, publishers, self.channels, self.size)?;
        let mut clients = Vec::with_capacity(self.connections);
        for n in 0..self.connections as u64 {
            simulation.until(|c| n - c.connected < AT_ONCE)?;
            clients.push(simulation.open(None)?);
        }
        simulation.until(|c| c.connected == self.connections as u64)?;
        Ok((simulation, clients))
    }

    pub(crate) fn subscribe(
        &self,
        simulation: &mut Simulation,
        clients: &[ClientId],
    ) -> Result<()> {
        for channel in 0..self.channels {
            let stream = Stream::try_from(channel)?;
            simulation.join(clients[channel % clients.len()], name(stream), None, vec![stream])?;
            simulation.until(|c| channel as u64 + 1 - c.joined < AT_ONCE)?;
        }
        simulation.until(|c| c.joined == self.channels as u64)
    }

    pub(crate) fn open(&self, simulation: &mut Simulation) -> Result<Pace> {
        let mut random = fastrand::Rng::with_seed(1);
        for (_, due) in Schedule::new(self.seconds, &[f64::from(self.rate)]) {
            simulation.wait_until(due)?;
            let stream = random.u32(..u32::try_from(self.channels)?);
            simulation.publish(stream, &name(stream), due)?;
        }
        simulation.settle()?;
        Ok(Pace::Open)
    }

    pub(crate) fn closed(&self, simulation: &mut Simulation) -> Result<Pace> {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..self.events {
            simulation.until(|c| c.sent.saturating_sub(c.delivered) < self.in_flight as u64)?;
            let stream = random.u32(..u32::try_from(self.channels)?);
            simulation.publish(stream, &name(stream), simulation.now())?;
        }
        simulation.until(|c| c.delivered >= c.sent && c.answered == c.asked)?;
        Ok(Pace::Closed)
    }
}

/// A channel name of fixed length, so that the mark has the same offset in all events.
fn name(stream: Stream) -> String {
    format!("bench-{stream:08}")
}
