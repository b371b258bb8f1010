//! Slow consumers: some subscribers stop reading, which must not affect the others.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use crate::reports::report::{Pace, Report, Start};
use crate::servers::server::{SETTLE_PAUSE, Server, Target};
use crate::simulation::engine::{ClientId, Simulation};
use crate::simulation::schedule::Schedule;
use crate::wire::event_loop::CHANNEL;
use crate::wire::frames::MIN_SIZE;

/// Receive buffer of a slow consumer, in bytes. It is small, so that the server's send queue grows soon.
pub(crate) const RECEIVE_BUFFER: usize = 4_096;

/// Options of the load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Slow {
    #[arg(long, default_value_t = 1_000)]
    pub(crate) subscribers: usize,
    /// Percentage of subscribers that stop reading.
    #[arg(long, default_value_t = 1.0)]
    pub(crate) percent: f64,
    /// Bytes of an event's data.
    #[arg(long, default_value_t = 4_096)]
    pub(crate) size: usize,
    /// Events per second.
    #[arg(long, default_value_t = 20)]
    pub(crate) rate: u32,
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u32,
}

impl Slow {
    pub(crate) fn run(&self, server: &Server) -> Result<Report> {
        let (mut simulation, slow) = self.connect(&server.target)?;
        let before = server.settled_memory(|time| simulation.listen(time), SETTLE_PAUSE)?;
        let mut peak = before;
        let start = Start::now(server)?;
        self.publish(&mut simulation, || {
            peak = peak.max(server.memory()?);
            Ok(())
        })?;
        let phase = start.phase(server)?;
        let mut report = phase.judge(simulation.verdict()?, Pace::Open)?;
        report.set("CPU per delivery, µs", phase.each(simulation.counts.delivered));
        report.set_latency(&simulation.latency, simulation.late);
        report.set("growth of memory, at most, KiB", (peak - before) as f64 / 1024.0);
        for (fate, count) in fates(&mut simulation, &slow)? {
            report.set(&format!("slow readers {fate}"), count);
        }
        Ok(report)
    }

    /// Connects all subscribers. The slow ones are spread evenly, and read until all are subscribed.
    pub(crate) fn connect(&self, target: &Target) -> Result<(Simulation, Vec<ClientId>)> {
        ensure!(self.subscribers > 0, "--subscribers must be at least 1");
        ensure!(
            (0.0..100.0).contains(&self.percent),
            "--percent must be at least 0 and less than 100"
        );
        ensure!(self.size >= MIN_SIZE, "--size must be at least {MIN_SIZE}");
        let mut simulation = Simulation::new(target, 1, 1, self.size)?;
        let mut slow = Vec::new();
        for n in 0..self.subscribers {
            simulation.until(|c| n as u64 - c.joined < 100)?;
            let is_slow = is_slow(n, self.percent);
            let client = simulation.open(is_slow.then_some(RECEIVE_BUFFER))?;
            simulation.join(client, CHANNEL.to_owned(), None, vec![0])?;
            slow.extend(is_slow.then_some(client));
        }
        simulation.until(|c| c.joined == self.subscribers as u64)?;
        for client in &slow {
            simulation.stall(*client);
        }
        Ok((simulation, slow))
    }

    /// Publishes at the rate, and calls `each_second`.
    pub(crate) fn publish(
        &self,
        simulation: &mut Simulation,
        mut each_second: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        simulation.restart();
        let mut second = Duration::from_secs(1);
        for (_, due) in Schedule::new(self.seconds, &[f64::from(self.rate)]) {
            simulation.wait_until(due)?;
            simulation.publish(0, CHANNEL, due)?;
            if due >= second {
                each_second()?;
                second += Duration::from_secs(1);
            }
        }
        simulation.settle()?;
        each_second()
    }
}

/// Whether subscriber `n` is a slow one; they are spread evenly.
pub(crate) fn is_slow(n: usize, percent: f64) -> bool {
    let before = |n: usize| (n as f64 * percent / 100.0).floor();
    before(n + 1) > before(n)
}

/// What became of the slow subscribers, with their number.
pub(crate) fn fates(
    simulation: &mut Simulation,
    slow: &[ClientId],
) -> Result<BTreeMap<String, f64>> {
    let mut fates = BTreeMap::new();
    for client in slow {
        let fate = match simulation.fate(*client)? {
            None => "still open".to_owned(),
            Some(None) => "cut off".to_owned(),
            Some(Some(code)) => format!("closed with {code}"),
        };
        *fates.entry(fate).or_default() += 1.0;
    }
    Ok(fates)
}
